//! Connections over a limit: for a short time, they may ask for a page or call built-in commands.
//!
//! An operator has to reach a server that is full. What such a connection asks is answered by an ordinary
//! connection, which reads it through a [`Sieve`].

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rpc_core::{Peer, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Host, run, sniff};
use crate::access::Policy;
use crate::limit::{Seat, Settled};

/// Longest line, or head of a request over HTTP.
const ASKED_BYTES_MAX: usize = 8 * 1024;

/// How a connection at the reserve has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// What it asked for was answered, or cut at the end of its time.
    Served,
    /// It asked for something else, or for nothing in time; it can be told that there is no place for it.
    Refused,
    /// The same, of a connection that speaks HTTP.
    RefusedHttp,
}

/// Answers what a connection over a limit asks, within this time: a page, or built-in commands.
///
/// # Cancel safety
/// Dropping the future leaves `io` as it is then; a reply may be written in part.
pub(crate) async fn run_at_reserve<IO>(
    io: &mut IO,
    peer: Arc<Peer>,
    host: Arc<Host>,
    policy: Arc<Policy>,
    seat: &mut Seat,
    time: Duration,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    // What may be asked over HTTP are pages.
    let policy = Arc::new(Policy {
        http_calls: false,
        ..Policy::clone(&policy)
    });
    let mut sieve = Sieve::new(io, seat.settled());
    let policy = match policy.http_calls {
        true => Arc::new(policy.without_http_calls()),
        false => policy,
    };

    let is_answered = {
        let answering = pin!(run(&mut sieve, peer, host, policy));
        tokio::select! {
            biased;
            () = answering => true,
            () = seat.lost() => false,
            () = tokio::time::sleep(time) => false,
        }
    };

    let is_refused = match is_answered {
        true => sieve.state == State::Refused,
        // A further line could be in the middle of another one.
        false => !sieve.has_written,
    };
    match is_refused {
        false => Ended::Served,
        true if !sieve.has_begun && sniff::is_http(&sieve.held) => Ended::RefusedHttp,
        true => Ended::Refused,
    }
}

/// What a [`Sieve`] lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Further lines, each by itself.
    Open,
    /// No more is read: the request for a page is whole, or the peer has ended its side.
    Ended,
    /// No more is read: something else was asked for.
    Refused,
}

/// A byte stream of which only requests for pages and built-in commands are read. Behind them it ends.
struct Sieve<'a, IO> {
    io: &'a mut IO,
    /// What was read, and not yet taken.
    held: Vec<u8>,
    /// How much of it may be taken.
    passed: usize,
    state: State,
    /// Whether anything was let through before.
    has_begun: bool,
    has_written: bool,
    settled: Settled,
}

impl<'a, IO> Sieve<'a, IO> {
    fn new(io: &'a mut IO, settled: Settled) -> Self {
        Self {
            io,
            held: Vec::new(),
            passed: 0,
            state: State::Open,
            has_begun: false,
            has_written: false,
            settled,
        }
    }

    /// Judges what was read: whole lines, and the whole head of a request for a page.
    fn judge(&mut self) {
        if !self.has_begun && sniff::may_be_page_request(&self.held) {
            if let Some(length) = head_length(&self.held) {
                self.pass(length);
                self.end();
            }
        } else {
            self.judge_lines();
        }

        if self.state == State::Open && self.held.len() - self.passed >= ASKED_BYTES_MAX {
            self.state = State::Refused;
        }
    }

    fn judge_lines(&mut self) {
        while let Some(length) = self.held[self.passed..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line = &self.held[self.passed..][..length];
            if !is_built_in(line) {
                self.state = State::Refused;
                return;
            }

            self.pass(length + 1);
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.passed += bytes;
        self.has_begun = true;
    }

    /// The peer is answered, and does not ask again: that takes no longer than the peer takes to read.
    fn end(&mut self) {
        self.state = State::Ended;
        self.settled.set();
    }
}

/// Whether a line calls a built-in command that is answered.
fn is_built_in(line: &[u8]) -> bool {
    Request::decode(line)
        .is_ok_and(|request| request.cmdid.is_built_in() && !request.cmdid.is_control())
}

/// Length of the head of a request over HTTP, where it is whole: it ends with an empty line (RFC 9112 section 2.1),
/// of which some clients write the line feeds alone. The line after it may be a request of another kind.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let ends_at = |end: &[u8]| {
        let start = bytes.windows(end.len()).position(|part| part == end)?;
        Some(start + end.len())
    };

    [ends_at(b"\r\n\r\n"), ends_at(b"\n\n")]
        .into_iter()
        .flatten()
        .min()
}

impl<IO: AsyncRead + Unpin> AsyncRead for Sieve<'_, IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passed > 0 {
                let length = self.passed.min(buf.remaining());
                buf.put_slice(&self.held[..length]);
                self.held.drain(..length);
                self.passed -= length;
                return Poll::Ready(Ok(()));
            }

            if self.state != State::Open {
                return Poll::Ready(Ok(()));
            }

            let mut bytes = [0; 1024];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *self.io).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // What was begun and not ended is answered as on any connection.
                let rest = self.held.len();
                self.pass(rest);
                self.end();
            } else {
                self.held.extend_from_slice(read.filled());
                self.judge();
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Sieve<'_, IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.io).poll_write(cx, buf))?;
        self.has_written |= written > 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    /// Leaves the stream open: its peer may have to be told that there is no place for it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests;
