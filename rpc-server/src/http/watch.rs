//! The stream of an HTTP connection, watched for a peer that does not go on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a connection waits for, where that may not take for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The rest of the head of a request.
    Head,
    /// The peer takes further bytes, after this number.
    Write(u64),
}

/// What a connection is about. One task writes and reads it, so all operations are relaxed.
#[derive(Default)]
pub(super) struct Watch {
    /// Bytes of a request have come that has not been read to the end of its head.
    has_begun: AtomicBool,
    /// A request is being answered.
    is_answering: AtomicBool,
    /// A stream is being sent.
    is_streaming: AtomicBool,
    is_write_blocked: AtomicBool,
    written: AtomicU64,
}

impl Watch {
    /// The head of a request has been read.
    pub(super) fn begin_answer(&self) {
        self.is_answering.store(true, Ordering::Relaxed);
    }

    /// The head of the response, and all of its body but that of a stream, is on its way.
    pub(super) fn end_answer(&self) {
        self.is_answering.store(false, Ordering::Relaxed);
        self.has_begun.store(false, Ordering::Relaxed);
    }

    pub(super) fn begin_stream(&self) {
        self.is_streaming.store(true, Ordering::Relaxed);
    }

    pub(super) fn end_stream(&self) {
        self.is_streaming.store(false, Ordering::Relaxed);
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_answering.load(Ordering::Relaxed) || self.is_streaming.load(Ordering::Relaxed)
    }

    /// Whether the peer has to take bytes before others are written. When it has, the task is woken.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.is_write_blocked.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        if self.is_write_blocked() {
            return Some(Waiting::Write(self.written.load(Ordering::Relaxed)));
        }

        let is_in_head = self.has_begun.load(Ordering::Relaxed) && !self.is_busy();
        is_in_head.then_some(Waiting::Head)
    }
}

/// A stream that begins with what was read of it already.
pub(super) struct Watched<IO> {
    read: Vec<u8>,
    taken: usize,
    io: IO,
    watch: Arc<Watch>,
    /// Whether something was written since the last flush.
    needs_flush: bool,
}

impl<IO> Watched<IO> {
    pub(super) fn new(read: Vec<u8>, io: IO, watch: &Arc<Watch>) -> Self {
        Self {
            read,
            taken: 0,
            io,
            watch: Arc::clone(watch),
            needs_flush: false,
        }
    }

    pub(super) fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.read[self.taken..];
        if !left.is_empty() {
            let length = left.len().min(buf.remaining());
            buf.put_slice(&left[..length]);
            self.taken += length;
            self.watch.has_begun.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }

        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.has_begun.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.note(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// Flushes what was written. hyper asks for that again and again, and with nothing to flush that costs a call of the
    /// system each time.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<IO> Watched<IO> {
    /// Notes what became of a write.
    fn note(
        &mut self,
        cx: &Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.needs_flush = true;
        let is_blocked = written.is_pending();
        let was_blocked = self
            .watch
            .is_write_blocked
            .swap(is_blocked, Ordering::Relaxed);
        if was_blocked && !is_blocked {
            cx.waker().wake_by_ref();
        }

        if let Poll::Ready(Ok(bytes)) = &written {
            let bytes = *bytes as u64;
            self.watch.written.fetch_add(bytes, Ordering::Relaxed);
        }
        written
    }
}
