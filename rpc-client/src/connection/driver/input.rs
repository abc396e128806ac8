//! Reading replies, and handing them to their callers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rpc_core::codec::Step;
use rpc_core::frame::FromServer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Driver;
use super::end::Ended;
use crate::connection::in_flight::Taken;

/// What one read takes at most; a connection keeps one buffer of this size, and a larger one only
/// while a longer reply passes through.
const READ_BYTES: usize = 64 * 1024;
/// Items of streams that are delivered before their readers get to run: few readers take many items, and each of
/// their turns has its cost.
const ITEMS_PER_CHUNK: usize = 256;

/// Room for the first reads: a connection for a few calls never needs more.
pub(super) const READ_BYTES_MIN: usize = 4 * 1024;

/// Replies delivered before the callers that they woke get to run, and so frames in one write: a quarter of
/// the calls in flight, so that four such chunks are under way between the two sides, within these bounds.
const CHUNK_MIN: usize = 4;
const CHUNK_MAX: usize = 128;

/// From this number of calls in flight on, half of them where callers and driver share one thread: two long chunks keep
/// both sides at work, and cost fewer system calls. On several threads they would leave some without work.
const CALLS_FOR_LONG_CHUNKS: usize = 96;
const LONG_CHUNK_MAX: usize = 256;

impl<IO> Driver<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }

        if self.end == 0 && self.input.len() > READ_BYTES {
            self.input = Vec::new();
        }

        if self.input.len() - self.end < self.room_wanted / 2 {
            self.input.resize(self.end + self.room_wanted, 0);
        }

        let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();

        self.liveness.has_received();
        self.end += read;
        self.spinning_since = None;
        if self.end == self.input.len() {
            self.room_wanted = READ_BYTES;
        }

        Poll::Ready(Ok(read))
    }

    /// Hands one chunk of replies to their callers, and says how many they were.
    pub(super) fn deliver(&mut self) -> Result<usize, String> {
        if self.start == self.end {
            return Ok(0);
        }

        let (mut delivered, mut items) = (0, 0);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();

        let chunk = match state.calls.len() {
            many if self.is_on_one_thread && many >= CALLS_FOR_LONG_CHUNKS => {
                (many / 2).min(LONG_CHUNK_MAX)
            }
            some => (some / 4).clamp(CHUNK_MIN, CHUNK_MAX),
        };

        let outcome = loop {
            if delivered >= chunk || items >= ITEMS_PER_CHUNK {
                break Ok(());
            }

            let step = match self.replies.step(&self.input[self.start..self.end]) {
                Ok(step) => step,
                Err(nonsense) => break Err(nonsense),
            };

            match step {
                Step::Line { line, consumed } => {
                    self.start += consumed;
                    if line.is_empty() {
                        continue;
                    }

                    match state.take_fast(line, &shared.common.config, &mut self.woken) {
                        Taken::Reply => {
                            delivered += 1;
                            continue;
                        }
                        Taken::Item => {
                            items += 1;
                            continue;
                        }
                        Taken::Nothing => delivered += 1,
                    }

                    let line =
                        FromServer::decode(line).map_err(|bad| self.replies.shown(bad, line));
                    if let Err(nonsense) =
                        state.take_line(line, &shared, &mut self.woken, &mut self.close_reason)
                    {
                        break Err(nonsense);
                    }
                }
                Step::TooLong { .. } => {
                    let limit = shared.common.config.limits.frame_bytes_max;
                    break Err(format!(
                        "a reply is longer than `limits.frame_bytes_max` of {limit} bytes"
                    ));
                }
                Step::Partial { consumed } => {
                    self.start += consumed;
                    break Ok(());
                }
            }
        };

        state.tally.publish(&shared.common.metrics);
        if delivered + items > 0 {
            // A reply may have taken a tombstone away, or been a goaway.
            state.tell_of_room(&shared.room);
        }

        drop(state);
        for waker in self.woken.drain(..) {
            waker.wake();
        }

        outcome.map(|()| delivered + items)
    }

    /// Reading is over, and perhaps writing was told the reason already: the
    /// system tells each error once. Where the server closed the connection, writing says no more than that.
    pub(super) fn end_of_input(&mut self) -> io::Result<Ended> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};

        match self.write_error.take() {
            Some(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset) => Err(error),
            _ => Ok(Ended::ByServer),
        }
    }
}
