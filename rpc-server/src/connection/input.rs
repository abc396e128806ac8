//! The input of a connection: bytes that were read and not executed, and what they wait for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;
use tokio_util::bytes::BufMut;

use super::room::Room;
use super::scratch;

/// What one read of a long line takes at most.
const LONG_READ_BYTES_MAX: usize = 256 * 1024;

/// What was read and not executed: a part of a line, or whole lines that wait for room.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// What the whole line at the front waits for; without one, the bytes are a part of a line.
    wait: Option<Wait>,
}

/// The wait of a whole line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) room: Room,
    /// When the line was received, from when on its time counts.
    pub(super) received: Instant,
}

/// Where the bytes are that one read has brought, behind those that were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// So many bytes at the front of the thread's buffer.
    Scratch(usize),
    /// In the input itself.
    Own,
}

/// One read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    /// How many bytes came; none at the end of the stream.
    pub(super) bytes: usize,
    pub(super) filled: Filled,
}

/// How much one read may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// The length of the longest line, without its line break.
    pub(super) line_bytes_max: usize,
    /// Bytes that there is room for.
    pub(super) read_bytes_max: usize,
}

impl Input {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that it holds in memory.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
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
        self.release();
        self.wait = None;
    }

    /// Reads once. Bytes that were there come first: a short part of a line is copied into the thread's buffer, and
    /// a long line gathers in place.
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
        if self.bytes.len() > scratch.len() / 2 {
            return self.poll_read_long(io, cx, scratch.len(), limits);
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
        scratch_len: usize,
        limits: ReadLimits,
    ) -> Poll<io::Result<Read>>
    where
        IO: AsyncRead + Unpin,
    {
        if self.bytes.capacity() < scratch_len {
            let mut long = scratch::take_long();
            long.extend_from_slice(&self.bytes);
            self.bytes = long;
        }

        let held = self.bytes.len();
        let room = limits.line_bytes_max.saturating_add(2).saturating_sub(held);
        let room = room.min(limits.read_bytes_max);
        let room = room.clamp(1, held.clamp(scratch_len, LONG_READ_BYTES_MAX));
        self.bytes.reserve_exact(room);

        // No more, however large the buffer is: what follows the line may have to wait, and is moved to the front
        // each time that some of it need not wait any longer.
        let mut limited = (&mut self.bytes).limit(room);
        let bytes = ready!(tokio_util::io::poll_read_buf(
            Pin::new(io),
            cx,
            &mut limited
        ))?;

        Poll::Ready(Ok(Read {
            bytes,
            filled: Filled::Own,
        }))
    }

    /// Keeps what was not executed of bytes that are not its own.
    pub(super) fn keep(&mut self, rest: &[u8], wait: Option<Wait>) {
        self.bytes.clear();
        self.bytes.extend_from_slice(rest);
        self.wait = wait;
    }

    /// Drops what was executed of its own bytes.
    pub(super) fn consume(&mut self, consumed: usize, wait: Option<Wait>) {
        self.bytes.drain(..consumed);
        self.wait = wait;
    }

    /// Gives an empty buffer back to the thread.
    pub(super) fn release(&mut self) {
        if self.bytes.is_empty() {
            scratch::give_back_long(std::mem::take(&mut self.bytes));
        }
    }
}
