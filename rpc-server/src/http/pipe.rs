//! The two ends of a connection in memory, both of which are polled by one task.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may wait to be taken out, as in the buffer of a socket: what is over that the connection holds, and
/// counts.
const OUTPUT_BYTES: usize = 64 * 1024;

/// What is in the pipe.
#[derive(Default)]
struct Content {
    input: Vec<u8>,
    /// How much of the input the connection has read.
    taken: usize,
    output: Vec<u8>,
    /// The connection has ended its side: then the other side ends as well.
    is_ended: bool,
}

/// The connection's end. It wakes no task: its task polls the connection whenever it has used the [`NearEnd`].
pub(crate) struct Pipe(Arc<Mutex<Content>>);

/// The end that lines are put into.
pub(super) struct NearEnd(Arc<Mutex<Content>>);

/// Both ends of a pipe.
pub(super) fn pipe() -> (NearEnd, Pipe) {
    let content = Arc::<Mutex<Content>>::default();
    (NearEnd(Arc::clone(&content)), Pipe(content))
}

/// The lock is held for as long as it takes to copy bytes, and is never waited for.
fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NearEnd {
    /// Puts lines into the pipe.
    pub(super) fn put(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut content = lock(&self.0);
        if content.taken == content.input.len() {
            content.input.clear();
            content.taken = 0;
        }
        write(&mut content.input);
    }

    /// Appends what the connection has written to `bytes`. Returns whether there was anything.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> bool {
        let mut content = lock(&self.0);
        let is_some = !content.output.is_empty();
        if bytes.is_empty() {
            std::mem::swap(bytes, &mut content.output);
        } else {
            bytes.append(&mut content.output);
        }

        is_some
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut content = lock(&self.0);
        let left = &content.input[content.taken..];
        if left.is_empty() {
            return match content.is_ended {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        }

        let length = left.len().min(buf.remaining());
        buf.put_slice(&left[..length]);
        content.taken += length;
        if content.taken == content.input.len() && content.taken > OUTPUT_BYTES {
            // A long line leaves no buffer of its length behind.
            content.input = Vec::new();
            content.taken = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut content = lock(&self.0);
        let room = OUTPUT_BYTES.saturating_sub(content.output.len());
        if room == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }

        let length = bytes.len().min(room);
        content.output.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).is_ended = true;
        Poll::Ready(Ok(()))
    }
}
