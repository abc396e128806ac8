//! The rest of a long line while it comes, in pieces of a few sizes.
//!
//! One buffer that grows leaves its former selves to the allocator, as holes that fit nothing: with hundreds of long
//! lines under way that is half as much again. A piece stays where it is, and is used again as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncRead;
use tokio_util::bytes::BufMut;

use super::scratch::SCRATCH_BYTES;

/// The largest piece.
const PIECE_BYTES_MAX: usize = 256 * 1024;

/// The smallest one, where there is little memory.
const PIECE_BYTES_MIN: usize = 4 * 1024;

/// What has come of a line behind its first bytes, with no line break in it.
#[derive(Default)]
pub(super) struct Pieces {
    /// Each but the last one is full.
    all: Vec<Vec<u8>>,
    len: usize,
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that they hold in memory.
    #[inline]
    pub(super) fn held_bytes(&self) -> usize {
        self.all.iter().map(Vec::capacity).sum()
    }

    /// Reads once, at most `room` bytes, to continue a line of which some bytes have come. Returns what has come.
    pub(super) fn poll_read<IO>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        line_bytes: usize,
        room: usize,
    ) -> Poll<io::Result<&[u8]>>
    where
        IO: AsyncRead + Unpin,
    {
        if self.all.last().is_none_or(is_full) {
            self.all
                .push(Vec::with_capacity(piece_bytes(line_bytes, room)));
        }

        let last = self.all.last_mut().expect("one was just added");
        let before = last.len();
        let spare = last.capacity() - before;
        // The time is looked at after each read: it takes no more than one into the thread's buffer.
        let most = room.min(spare).min(SCRATCH_BYTES);
        let mut limited = (&mut *last).limit(most);
        let bytes = ready!(tokio_util::io::poll_read_buf(
            Pin::new(io),
            cx,
            &mut limited
        ))?;

        self.len += bytes;
        Poll::Ready(Ok(&last[before..]))
    }

    /// Appends all of them to the beginning of their line.
    pub(super) fn join(&mut self, line: &mut Vec<u8>) {
        for piece in self.all.drain(..) {
            line.extend_from_slice(&piece);
        }
        *self = Self::default();
    }
}

fn is_full(piece: &Vec<u8>) -> bool {
    piece.len() == piece.capacity()
}

/// The size of a further piece: the larger the longer the line is, and a power of two, so that the pieces of all
/// lines fit into each other's places.
fn piece_bytes(line_bytes: usize, room: usize) -> usize {
    let wanted = line_bytes.clamp(SCRATCH_BYTES, PIECE_BYTES_MAX).min(room);
    let power = wanted.checked_ilog2().unwrap_or(0);
    (1_usize << power).max(PIECE_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_few_sizes_and_no_more_than_there_is_room_for() {
        const KIB: usize = 1024;

        for (line_bytes, room, expected) in [
            (40 * KIB, usize::MAX, 64 * KIB),
            (150 * KIB, usize::MAX, 128 * KIB),
            (900 * KIB, usize::MAX, 256 * KIB),
            (900 * KIB, 100 * KIB, 64 * KIB),
            (900 * KIB, 1, 4 * KIB),
        ] {
            assert_eq!(piece_bytes(line_bytes, room), expected);
        }
    }

    #[tokio::test]
    async fn what_comes_is_joined_to_its_line_in_its_order() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut pieces, mut rest) = (Pieces::default(), &bytes[100..]);

        while !rest.is_empty() {
            let (before, line_bytes) = (pieces.len(), 100 + pieces.len());
            let read = std::future::poll_fn(|cx| {
                let read = pieces.poll_read(&mut rest, cx, line_bytes, 1_000_000);
                read.map_ok(<[u8]>::to_vec)
            });
            let read = read.await.unwrap();
            assert_eq!(read, bytes[line_bytes..line_bytes + read.len()]);
            assert_eq!(pieces.len(), before + read.len());
        }
        assert!(pieces.held_bytes() < 900_000, "{}", pieces.held_bytes());

        let mut line = bytes[..100].to_vec();
        pieces.join(&mut line);
        assert!(line == bytes);
        assert_eq!((pieces.len(), pieces.held_bytes()), (0, 0));
    }
}
