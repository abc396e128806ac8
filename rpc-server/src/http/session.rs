//! A connection in memory that executes the calls of an HTTP connection, one at a time.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::body::Bytes;
use rpc_core::frame::encode_request;
use rpc_core::{CmdId, Peer, RawJson, Request};
use serde_json::json;

use super::Open;
use super::line::{Line, Said};
use super::pipe::{NearEnd, pipe};

/// A connection in memory, and what was read of it.
pub(super) struct Session {
    near: NearEnd,
    /// None once the connection is over.
    run: Option<BoxFuture<'static, ()>>,
    /// The token that was shown to it.
    token: Option<String>,
    last_id: u64,
    /// Whole lines that are not read yet.
    lines: Bytes,
    /// The line that has come in part.
    part: Vec<u8>,
    /// It takes no further calls.
    is_leaving: bool,
}

impl Session {
    /// Opens a connection. Its peer is a copy: an identity that a token gives it is not that of the HTTP connection,
    /// which may carry the requests of several callers.
    pub(super) fn open(open: &Open, peer: &Peer, token: Option<String>) -> Self {
        let (near, far) = pipe();
        Self {
            near,
            run: Some(open(far, Arc::new(peer.clone()))),
            token,
            last_id: 0,
            lines: Bytes::new(),
            part: Vec::new(),
            is_leaving: false,
        }
    }

    /// Whether calls of a request with this token may go over it.
    pub(super) fn is_for(&self, token: Option<&str>) -> bool {
        self.token.as_deref() == token && !self.is_leaving && self.run.is_some()
    }

    /// Whether it takes no further calls.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving || self.run.is_none()
    }

    /// Bytes that were taken out of it and wait to be sent.
    pub(super) fn held_bytes(&self) -> usize {
        self.lines.len() + self.part.len()
    }

    /// Shows the token. The answer is that of a call.
    pub(super) fn authenticate(&mut self) {
        let params = RawJson::serialize(&json!({ "token": self.token }))
            .expect("an object of a string has a JSON form");
        self.begin(&Request::new(CmdId::AUTHENTICATE, params));
    }

    /// Begins a call.
    pub(super) fn begin(&mut self, request: &Request<'_>) {
        self.last_id += 1;
        let id = self.last_id;
        self.near
            .put(|lines| encode_request(lines, Some(id), request));
    }

    /// The next line about the call that was begun last; none where the connection has ended without it.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Line>> {
        loop {
            while let Some(line) = self.next_line() {
                match Said::read(&line, self.last_id) {
                    Said::Answer(line) => return Poll::Ready(Some(line)),
                    Said::Goaway => self.is_leaving = true,
                    Said::Nothing => {}
                }
            }

            if !self.poll_run(cx) {
                return match self.run {
                    Some(_) => Poll::Pending,
                    None => Poll::Ready(None),
                };
            }
        }
    }

    /// Lets the connection do what it has to do between calls.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) {
        while self.poll_answer(cx).is_ready() {
            if self.run.is_none() {
                return;
            }

            // Without a call in flight, a failure is the connection's own: it is about to end.
            self.is_leaving = true;
        }
    }

    /// Polls the connection. Returns whether it has written anything.
    fn poll_run(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(run) = &mut self.run
            && run.as_mut().poll(cx).is_ready()
        {
            self.run = None;
        }

        if !self.near.take(&mut self.part) {
            return false;
        }

        if let Some(last) = self.part.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.part.split_off(last + 1);
            self.lines = std::mem::replace(&mut self.part, rest).into();
        }
        true
    }

    /// The next whole line, without its line break.
    fn next_line(&mut self) -> Option<Bytes> {
        let end = self.lines.iter().position(|byte| *byte == b'\n')?;
        let mut line = self.lines.split_to(end + 1);
        line.truncate(end);
        Some(line)
    }
}
