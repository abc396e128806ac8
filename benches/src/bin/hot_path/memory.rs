//! A connection in memory whose far end is a few lines of code.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the far end does. It takes everything, at once.
pub(crate) trait Far: Unpin {
    /// Puts what the near end reads now into `buf`; nothing for the end of the stream. Pending if there is nothing to
    /// read before the near end has written more.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> Poll<()>;

    /// Takes what the near end has written.
    fn take(&mut self, bytes: &[u8]);
}

/// The near end, with its far end in it.
pub(crate) struct Near<F> {
    far: F,
    reader: Option<Waker>,
}

impl<F: Far> Near<F> {
    pub(crate) fn of(far: F) -> Self {
        Self { far, reader: None }
    }
}

impl<F: Far> AsyncRead for Near<F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.far.give(buf).is_pending() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }

        Poll::Ready(Ok(()))
    }
}

impl<F: Far> AsyncWrite for Near<F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.far.take(buf);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }

        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
