//! The input of a connection: bytes that were read and not executed, and what they wait for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;
use tokio_util::bytes::BufMut;
use tokio_util::io::poll_read_buf;

use super::back_pressure::BackPressure;
use super::pieces::Pieces;
use super::scratch::{self, LONG_KEPT_MAX, SCRATCH_BYTES};

/// What was read and not executed: a part of a line, or whole lines that wait for room.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// What follows them of a long line under way, once they have no more room. Most connections never have any.
    pieces: Option<Box<Pieces>>,
    /// What the whole line at the front waits for; without one, the bytes are a part of a line.
    wait: Option<Wait>,
}

/// The wait of a whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) room: BackPressure,
    /// When the line was received, from when on its time counts.
    pub(super) received: Instant,
}

/// Where the bytes are that one read has brought, behind those that were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// This number of bytes at the front of the thread's buffer.
    Scratch(usize),
    /// In the input itself.
    Own,
    /// In a long line that has not come to its end, and may never do, so that there is nothing to execute.
    Part,
}

/// One read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    /// How many bytes came; none at the end of the stream.
    pub(super) bytes: usize,
    pub(super) filled: Filled,
}

/// A part of a line that is longer than this is not copied into the thread's buffer and back.
const LONG_BYTES: usize = SCRATCH_BYTES / 2;

/// How much one read may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// The length of the longest line, without its line break.
    pub(super) line_bytes_max: usize,
    /// Bytes that there is room for; [`usize::MAX`] where there is enough for any line.
    pub(super) read_bytes_max: usize,
}

impl Input {
    /// What may be executed: a line that still comes in pieces is no part of it but for its beginning.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.pieces.as_ref().map_or(0, |pieces| pieces.len())
    }

    /// Puts a line in pieces together.
    pub(super) fn join(&mut self) {
        if let Some(mut pieces) = self.pieces.take() {
            // The thread's buffer is as large as most lines may be, and has room for the next one, if that is a bit longer.
            let len = self.bytes.len() + pieces.len();
            if self.bytes.capacity() < len {
                let mut long = scratch::take_long();
                long.reserve_exact(len.max((len + len / 8).min(LONG_KEPT_MAX)));
                long.extend_from_slice(&self.bytes);
                self.bytes = long;
            }
            pieces.join(&mut self.bytes);
        }
    }

    /// Whether it is in the middle of a line that is longer than others.
    #[inline]
    pub(super) fn is_long(&self) -> bool {
        self.bytes.len() > LONG_BYTES && self.wait.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that it holds in memory.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        let of_pieces = self.pieces.as_ref().map_or(0, |pieces| pieces.held_bytes());
        self.bytes.capacity() + of_pieces
    }

    pub(super) fn wait(&self) -> Option<Wait> {
        self.wait
    }

    /// The bytes, from their owner: the connection is handed over with them.
    #[cfg(feature = "http")]
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Forgets all of it, and gives its room back.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.pieces = None;
        self.release();
        self.wait = None;
    }

    /// Reads once. Bytes that were there come first: a short part of a line is copied into the thread's buffer, and
    /// a long line gathers in pieces.
    pub(super) fn poll_read<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        limits: ReadLimits,
    ) -> Poll<io::Result<Read>>
    where
        IO: AsyncRead + Unpin,
    {
        if self.bytes.len() > LONG_BYTES {
            return self.poll_read_long(io, cx, limits);
        }

        // The usual case: lines are executed out of the thread's buffer.
        let held = self.bytes.len();
        scratch[..held].copy_from_slice(&self.bytes);
        let most = limits.read_bytes_max.clamp(1, scratch.len() - held);
        let mut buffer = ReadBuf::new(&mut scratch[held..held + most]);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;

        let bytes = buffer.filled().len();
        Poll::Ready(Ok(Read {
            bytes,
            filled: Filled::Scratch(held + bytes),
        }))
    }

    /// Reads with no copy to and fro, and the more at a time the longer the line is.
    fn poll_read_long<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        limits: ReadLimits,
    ) -> Poll<io::Result<Read>>
    where
        IO: AsyncRead + Unpin,
    {
        let held = self.len();
        // No more, however large the piece is: what follows the line may have to wait, and is moved to the front
        // each time that some of it need not wait any longer.
        let room = limits.line_bytes_max.saturating_add(2).saturating_sub(held);
        let room = room.min(limits.read_bytes_max).max(1);

        if limits.read_bytes_max == usize::MAX {
            self.take_long_buffer(room);
        }
        let (bytes, has_end) = if self.pieces.is_none() && self.spare() > 0 {
            // The time is looked at after each read: it takes no more than what is copied in some 20 µs.
            let most = room.min(self.spare()).min(2 * SCRATCH_BYTES);
            let mut limited = (&mut self.bytes).limit(most);
            let bytes = ready!(poll_read_buf(Pin::new(io), cx, &mut limited))?;
            (bytes, has_line_end(&self.bytes[held..]))
        } else {
            let pieces = self.pieces.get_or_insert_default();
            let read = ready!(pieces.poll_read(io, cx, held, room))?;
            (read.len(), has_line_end(read))
        };

        // A line that is too long is executed, too; the part of one at the end of the stream is only refused.
        let is_whole = has_end || held + bytes > limits.line_bytes_max;
        let filled = match is_whole {
            true => Filled::Own,
            false => Filled::Part,
        };
        if is_whole {
            self.join();
        }

        Poll::Ready(Ok(Read { bytes, filled }))
    }

    /// Takes the thread's buffer for long lines, unless another connection has it: a line that begins to be long is read
    /// there with no copy.
    fn take_long_buffer(&mut self, room: usize) {
        if self.pieces.is_some() || self.spare() > 0 {
            return;
        }

        let mut long = scratch::take_long();
        let held = self.bytes.len();
        // All of it counts.
        if (held + 1..=held + room).contains(&long.capacity()) {
            long.extend_from_slice(&self.bytes);
            std::mem::swap(&mut self.bytes, &mut long);
        }
        scratch::give_back_long(long);
    }

    fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Keeps what was not executed of bytes that are not its own.
    pub(super) fn keep(&mut self, rest: &[u8], wait: Option<Wait>) {
        self.bytes.clear();
        // Its room counts, and that may be all that there is.
        self.bytes.reserve_exact(rest.len());
        self.bytes.extend_from_slice(rest);
        self.wait = wait;
    }

    /// Drops what was executed of its own bytes. A short rest does not keep the buffer of a long line.
    pub(super) fn consume(&mut self, consumed: usize, wait: Option<Wait>) {
        self.bytes.drain(..consumed);
        self.wait = wait;
        if !self.bytes.is_empty() && self.bytes.len() <= LONG_BYTES {
            self.give_back_room();
        }
    }

    /// Gives much room behind its bytes back.
    pub(super) fn give_back_room(&mut self) {
        if self.spare() >= SCRATCH_BYTES {
            let bytes = self.bytes.as_slice().to_vec();
            scratch::give_back_long(std::mem::replace(&mut self.bytes, bytes));
        }
    }

    /// Gives an empty buffer back to the thread.
    pub(super) fn release(&mut self) {
        if self.bytes.is_empty() {
            scratch::give_back_long(std::mem::take(&mut self.bytes));
        }
    }
}

/// Several times as fast as `contains` of a slice.
fn has_line_end(bytes: &[u8]) -> bool {
    memchr::memchr(b'\n', bytes).is_some()
}

#[cfg(test)]
mod tests;
