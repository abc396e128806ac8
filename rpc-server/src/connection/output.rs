//! The output of a connection: replies that wait to be written, and how far they are.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::scratch;

/// What an empty buffer may keep of its room. A larger one goes back to the allocator, as it counts among the bytes
/// that the connection holds.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Replies from here on get the room that they need, and not the double of it.
const LARGE_REPLY_BYTES: usize = 64 * 1024;

/// Maximum number of bytes around the data of a reply; `limits.output_bytes_hard_max` does not count it.
pub(super) const ENVELOPE_BYTES: usize = 256;

/// Replies that wait to be written.
#[derive(Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    /// How much of the buffer has been written.
    written: usize,
    /// Whether something was written and may not have left yet.
    needs_flush: bool,
}

/// The outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: usize,
    pub(super) state: Writing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// All is written and has left.
    Done,
    /// The socket takes no more for now.
    Stalled,
}

impl Output {
    /// The buffer that replies are written into.
    #[inline]
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Makes room for a reply with this number of bytes of data.
    #[inline]
    pub(super) fn make_room_for(&mut self, data_bytes: usize) {
        if data_bytes >= LARGE_REPLY_BYTES {
            self.buffer.reserve_exact(data_bytes + ENVELOPE_BYTES);
        }
    }

    /// Bytes that wait to be written.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// The length of the buffer, written bytes among it: it only grows between two writes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that the buffer holds in memory. Of one that fits the thread's only what it is filled with counts.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        match self.buffer.capacity() {
            ..=scratch::SCRATCH_BYTES => self.buffer.len(),
            large => large,
        }
    }

    /// Whether everything is written, and has left.
    pub(super) fn is_done(&self) -> bool {
        self.waiting() == 0 && !self.needs_flush
    }

    /// Takes a buffer of the thread, where it has none.
    #[inline]
    pub(super) fn take_buffer(&mut self) {
        if self.buffer.capacity() == 0 {
            self.buffer = scratch::take_output();
        }
    }

    /// Gives an empty buffer back to the thread.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            scratch::give_back_output(mem::take(&mut self.buffer));
        }
    }

    /// Writes what the socket takes; what it does not take waits.
    pub(super) fn poll_write<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> io::Result<Written>
    where
        IO: AsyncWrite + Unpin,
    {
        let mut bytes = 0;
        while self.waiting() > 0 {
            match Pin::new(&mut *io).poll_write(cx, &self.buffer[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.needs_flush = true;
                    bytes += n;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    // Dropped once it is the larger part: each byte is moved once at most.
                    if self.written > self.buffer.len() / 2 {
                        self.buffer.drain(..self.written);
                        self.written = 0;
                    }

                    return Ok(Written {
                        bytes,
                        state: Writing::Stalled,
                    });
                }
            }
        }

        self.buffer.clear();
        self.written = 0;
        if self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = Vec::new();
        }

        // A stream with a buffer of its own, as TLS has, keeps what it has taken until it is told.
        let mut state = Writing::Done;
        if self.needs_flush {
            if Pin::new(io).poll_flush(cx)?.is_ready() {
                self.needs_flush = false;
            } else {
                state = Writing::Stalled;
            }
        }

        Ok(Written { bytes, state })
    }
}
