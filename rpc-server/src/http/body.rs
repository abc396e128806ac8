//! Bodies: those of requests, read within limits, and those of responses.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use rpc_core::{Cursor, Resume, Status};

use super::desk::Desk;
use super::line::Line;
use super::outcome::HttpRefusal;
use crate::metrics::add;

/// Maximum number of bytes of items that are sent together.
const CHUNK_BYTES: usize = 32 * 1024;

/// Reads the body of a request.
///
/// # Errors
/// It is too long, does not end in time, or there is no memory for it.
pub(super) async fn read(body: Incoming, desk: &Desk) -> Result<Bytes, HttpRefusal> {
    let config = &desk.http.reporter.config;
    let limit = config.limits.frame_bytes_max;
    let declared = hyper::body::Body::size_hint(&body).lower();
    if usize::try_from(declared).map_or(true, |declared| declared > limit) {
        return Err(too_long(limit));
    }

    // Most bodies have come with their heads.
    let mut gathering = Box::pin(gather(body, desk, limit));
    if let Some(read) = gathering.as_mut().now_or_never() {
        return read;
    }

    let read = tokio::time::timeout(config.timeouts.frame_timeout(), gathering).await;
    read.unwrap_or_else(|_| {
        add(&desk.http.reporter.metrics.limits.frame_timeouts, 1);
        let failure = Status::deadline_exceeded(format!(
            "the body did not end within `timeouts.frame_timeout_ms` of {} ms",
            config.timeouts.frame_timeout_ms
        ));
        Err(HttpRefusal::new(StatusCode::REQUEST_TIMEOUT, failure))
    })
}

fn too_long(limit: usize) -> HttpRefusal {
    let failure = Status::resource_exhausted(format!(
        "the body is longer than the limit `limits.frame_bytes_max` of {limit} bytes"
    ));
    HttpRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, failure)
}

async fn gather(mut body: Incoming, desk: &Desk, limit: usize) -> Result<Bytes, HttpRefusal> {
    let mut first = Bytes::new();
    let mut all = Vec::new();

    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            HttpRefusal::of(Status::invalid_argument(format!(
                "the body ended too early: {error}"
            )))
        })?;
        let Ok(chunk) = frame.into_data() else {
            continue;
        };

        let length = first.len() + all.len() + chunk.len();
        if length > limit {
            return Err(too_long(limit));
        }
        desk.hold_request(length).map_err(HttpRefusal::of)?;

        if first.is_empty() && all.is_empty() {
            first = chunk;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&chunk);
        }
    }

    Ok(match all.is_empty() {
        true => first,
        false => all.into(),
    })
}

/// The body of a response.
pub(super) enum Body {
    Whole(Bytes),
    Stream(Box<StreamBody>),
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

/// How the items of a stream are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A line each.
    Lines,
    /// Server-sent events; those of a resumable stream with these members as ids.
    Events(Option<Arc<[Resume]>>),
}

impl Form {
    fn push_item(&self, out: &mut Vec<u8>, item: &[u8]) {
        let Self::Events(resumable) = self else {
            out.extend_from_slice(item);
            out.push(b'\n');
            return;
        };

        let cursor = resumable
            .as_ref()
            .and_then(|members| Cursor::behind(members, item));
        if let Some(cursor) = cursor {
            out.extend_from_slice(format!("id: {cursor}\n").as_bytes());
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(item);
        out.extend_from_slice(b"\n\n");
    }

    /// What a stream ends with that succeeded.
    fn push_success(&self, out: &mut Vec<u8>) {
        if *self != Self::Lines {
            out.extend_from_slice(b"event: end\ndata: {\"code\":0}\n\n");
        }
    }

    fn push_failure(&self, out: &mut Vec<u8>, failure: &[u8]) {
        if *self == Self::Lines {
            out.extend_from_slice(failure);
            out.push(b'\n');
            return;
        }

        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(failure);
        out.extend_from_slice(b"\n\n");
    }
}

/// The items of a stream as they come.
pub(super) struct StreamBody {
    desk: Arc<Desk>,
    form: Form,
    state: State,
    /// What is written and not sent.
    out: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    GoesOn,
    Ends,
    /// The last line is to be sent; then the body breaks off.
    Fails,
    /// The last line was sent, and is written before the body breaks off.
    BreaksOff,
}

/// A stream of lines that failed: the body breaks off, so that it cannot be taken for a whole one.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream failed")
    }
}

impl std::error::Error for BrokenOff {}

impl StreamBody {
    /// A stream that begins with this line.
    pub(super) fn new(desk: Arc<Desk>, form: Form, first: Line) -> Self {
        desk.watch.begin_stream();
        let mut body = Self {
            desk,
            form,
            state: State::GoesOn,
            out: Vec::new(),
        };
        body.push(Some(first));
        body
    }

    /// Writes a line; none where the connection has ended without the end of the stream.
    fn push(&mut self, line: Option<Line>) {
        match line {
            Some(Line::Begun) => {}
            Some(Line::Item(item)) => self.form.push_item(&mut self.out, &item),
            Some(Line::Success(_)) => {
                self.form.push_success(&mut self.out);
                self.state = State::Ends;
            }
            Some(Line::Failure(failure)) => self.fail(&failure.body),
            None => {
                self.fail(br#"{"code":14,"message":"the server ended the connection"}"#);
            }
        }
    }

    fn fail(&mut self, failure: &[u8]) {
        self.form.push_failure(&mut self.out, failure);
        self.state = match self.form {
            Form::Lines => State::Fails,
            Form::Events(_) => State::Ends,
        };
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        while self.state == State::GoesOn && self.out.len() < CHUNK_BYTES {
            let Poll::Ready(line) = self.desk.poll_answer(cx) else {
                break;
            };
            self.push(line);
        }

        if !self.out.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.out).into())));
        }

        match self.state {
            State::GoesOn => Poll::Pending,
            State::Ends => Poll::Ready(None),
            State::Fails => {
                self.state = State::BreaksOff;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::BreaksOff if self.desk.watch.is_write_blocked() => Poll::Pending,
            State::BreaksOff => Poll::Ready(Some(Err(BrokenOff))),
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if self.state == State::GoesOn {
            // Without a reader, the call is cut.
            self.desk.end_session();
        }
        self.desk.watch.end_stream();
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
