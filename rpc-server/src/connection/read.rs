//! From the socket to whole lines: when it is read, and how far what was read is executed.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rpc_core::Status;
use rpc_core::codec::Step;
use rpc_core::frame::id_of_part;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::bytes::BufMut;

use super::timers::Timer;
use super::{
    BYTES_PER_WRITE, Connection, FRAMES_PER_LOOK, FRAMES_PER_WRITE, Handle, Phase, Room, SHARE,
    scratch, sniff,
};
use crate::metrics::add;

/// What one read of a long line takes at most.
const LONG_READ_BYTES_MAX: usize = 256 * 1024;

/// How far the lines of one read have come, which says when the next look at the time and the next write are due.
struct Pace {
    /// What the read brought, with the part of a line before it.
    bytes: usize,
    /// Frames that were executed.
    frames: usize,
    /// How much output there was after the last write.
    output_at_write: usize,
    /// None before the first frame, whose length decides.
    frames_per_write: Option<usize>,
}

impl Pace {
    fn of(bytes: usize, output: usize) -> Self {
        Self {
            bytes,
            frames: 0,
            output_at_write: output,
            frames_per_write: None,
        }
    }
}

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads once and executes what came. Pending where nothing came, or nothing may be read now.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cheap.is_paused() && self.phase != Phase::Lingering {
            self.timers.stop(Timer::Line);
            return Poll::Pending;
        }
        if let Some((room, received)) = self.lines_wait_for {
            if !self.has(room) && (room == Room::InOutput || !self.is_held_by_streams()) {
                return Poll::Pending;
            }

            self.clock = Instant::now();
            if room != Room::InTime {
                let waited = self.clock.saturating_duration_since(received);
                self.stats.shard().waited_for_room.record(waited, 1);
            }

            self.lines_wait_for = None;
            let mut input = mem::take(&mut self.input);
            let consumed = self.execute(cx, &input, received);
            input.drain(..consumed);
            self.input = input;

            return Poll::Ready(Ok(()));
        }

        let reads = match self.phase {
            Phase::Open | Phase::Retiring | Phase::Draining => self.has(Room::InOutput),
            Phase::Lingering => true,
            Phase::Finishing | Phase::Closed => false,
        };
        if !reads {
            // While this side does not read, the peer cannot be late.
            self.timers.stop(Timer::Line);
            return Poll::Pending;
        }

        if !self.input.is_empty() && self.phase != Phase::Lingering {
            let limit = self.host.config.frame_timeout();
            self.timers.set_once(Timer::Line, || Instant::now() + limit);
        }

        let mut scratch = scratch::take();
        let read = self.read_and_execute(cx, &mut scratch);
        scratch::give_back(scratch);

        let read = match ready!(read) {
            // A TLS peer that ends its stream without a goodbye: a line is whole or it is not, so nothing
            // can be cut short unnoticed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };

        match read {
            0 => self.peer_has_ended(),
            n => {
                self.stats.read(n);
            }
        }

        Poll::Ready(Ok(()))
    }

    pub(super) fn read_and_execute(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.input.len() > scratch.len() / 2 {
            // A long line: it gathers in place, with no copy to and fro, and more is read at a time the longer it is.
            if self.input.capacity() < scratch.len() {
                let mut long = scratch::take_long();
                long.extend_from_slice(&self.input);
                self.input = long;
            }

            let held = self.input.len();
            let room = self
                .host
                .config
                .frame_bytes_max
                .saturating_add(2)
                .saturating_sub(held);
            let room = room.clamp(1, held.clamp(scratch.len(), LONG_READ_BYTES_MAX));
            self.input.reserve_exact(room);

            // No more, however large the buffer is: what follows the line may have to wait, and is moved to the front
            // each time that some of it need not wait any longer.
            let mut input = (&mut self.input).limit(room);
            let read = ready!(tokio_util::io::poll_read_buf(
                Pin::new(&mut self.io),
                cx,
                &mut input
            ))?;

            let mut input = mem::take(&mut self.input);
            self.clock = Instant::now();
            let consumed = self.execute(cx, &input, self.clock);
            input.drain(..consumed);
            self.input = input;
            return Poll::Ready(Ok(read));
        }

        // The usual case: lines are executed out of the thread's buffer, and only the part of a
        // line at the end is kept.
        let held = self.input.len();
        scratch[..held].copy_from_slice(&self.input);
        let mut buffer = ReadBuf::new(&mut scratch[held..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;

        let read = buffer.filled().len();
        let bytes = &scratch[..held + read];
        self.clock = Instant::now();
        let consumed = self.execute(cx, bytes, self.clock);
        self.input.clear();
        self.input.extend_from_slice(&bytes[consumed..]);
        Poll::Ready(Ok(read))
    }

    /// Executes the whole lines at the front of `bytes`, as far as there is room, and says how many
    /// bytes they were. Their time counts from when they were `received`, however long they wait for room.
    pub(super) fn execute(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        received: Instant,
    ) -> usize {
        if self.phase == Phase::Lingering {
            return bytes.len();
        }

        if !self.has_spoken
            && let Some(consumed) = self.leave_to_others(bytes)
        {
            return consumed;
        }

        self.share_ends.get_or_insert_with(|| self.clock + SHARE);
        let mut consumed = 0;
        let mut pace = Pace::of(bytes.len(), self.output.len());

        loop {
            if !self.phase.takes_requests() {
                self.timers.stop(Timer::Line);
                return bytes.len();
            }

            if let Some(room) = self.missing_room() {
                self.hold(room, received);
                return consumed;
            }

            match self.lines.step(&bytes[consumed..]) {
                Step::Line {
                    line,
                    consumed: length,
                } => {
                    let has_no_place = !self.has(Room::ForACall) && self.needs_room(line);
                    if has_no_place && !self.is_held_by_streams() {
                        add(&self.host.metrics.limits.in_flight_pauses, 1);
                        self.hold(Room::ForACall, received);
                        return consumed;
                    }

                    self.sheds_line = has_no_place;
                    consumed += length;
                    self.timers.stop(Timer::Line);

                    if line.is_empty() {
                        self.spend_cheap();
                        continue;
                    }

                    self.frame(cx, line, received);
                    self.look_and_write(cx, &mut pace, length);
                }

                Step::TooLong {
                    start,
                    consumed: length,
                } => {
                    consumed += length;
                    self.too_long(start);
                }

                Step::Partial { consumed: length } => {
                    consumed += length;
                    if consumed == bytes.len() {
                        self.timers.stop(Timer::Line);
                    } else {
                        let end = self.clock + self.host.config.frame_timeout();
                        self.timers.set_once(Timer::Line, || end);
                    }
                    return consumed;
                }
            }
        }
    }

    /// Looks at the time, and writes the replies that have gathered, each after its number of frames. The last frame
    /// was `length` bytes long.
    // As a call of its own it costs each frame 18 instructions.
    #[inline]
    fn look_and_write(&mut self, cx: &mut Context<'_>, pace: &mut Pace, length: usize) {
        pace.frames += 1;

        let is_much = self.output.len() >= pace.output_at_write + BYTES_PER_WRITE;
        if pace.frames.is_multiple_of(FRAMES_PER_LOOK) || is_much {
            self.clock = Instant::now();
        }

        // As many as they would be if all were as long as the first one: counting them costs more.
        let frames_per_write = *pace.frames_per_write.get_or_insert_with(|| {
            let (least, most) = FRAMES_PER_WRITE.into_inner();
            (pace.bytes / length / self.writes_per_read).clamp(least, most)
        });
        if pace.frames.is_multiple_of(frames_per_write) || is_much {
            if self.poll_write(cx).is_err() {
                self.enter(Phase::Closed, None);
            }
            pace.output_at_write = self.output.len();
        }
    }

    /// Recognizes the first bytes of another protocol: TLS is refused, and a request for a page leaves the
    /// connection to the pages. Returns how many bytes are done with; none where it is this protocol.
    fn leave_to_others(&mut self, bytes: &[u8]) -> Option<usize> {
        if sniff::is_tls_hello(bytes) {
            tracing::warn!(peer = %self.peer, "a TLS client hello on a port without TLS; closed");
            self.enter(Phase::Finishing, None);
            return Some(bytes.len());
        }

        #[cfg(feature = "admin")]
        if sniff::is_page_request(bytes)
            && self.is_at_its_start()
            && self.host.pages_for(&self.policy, &self.peer).is_some()
        {
            self.wants_pages = true;
            self.enter(Phase::Closed, None);
            return Some(0);
        }

        None
    }

    /// What the next line has to wait for, whatever it says.
    fn missing_room(&self) -> Option<Room> {
        if self.cheap.is_paused() {
            // Nothing but time is wanting, and that is looked at before.
            return Some(Room::InOutput);
        }

        if self.share_is_used_up() {
            return Some(Room::InTime);
        }

        if !self.has(Room::InOutput) {
            add(&self.host.metrics.limits.output_pauses, 1);
            return Some(Room::InOutput);
        }

        None
    }

    /// What is not executed yet waits for room, and is not late for that.
    fn hold(&mut self, room: Room, received: Instant) {
        self.lines_wait_for = Some((room, received));
        self.timers.stop(Timer::Line);
    }

    /// Whether the other tasks of the thread come first now.
    pub(super) fn share_is_used_up(&self) -> bool {
        self.share_ends.is_some_and(|end| self.clock >= end)
    }

    /// Whether what is at hand are the connection's first bytes: the part that was kept is all that came before.
    #[cfg(feature = "admin")]
    fn is_at_its_start(&self) -> bool {
        self.stats.bytes_in == self.input.len() as u64
    }

    /// Replies that wait, calls in flight and the bytes of both are bounded. One call always has room, so that a
    /// connection never waits for itself.
    pub(super) fn has(&self, room: Room) -> bool {
        if room == Room::InTime {
            return true;
        }

        let config = &self.host.config;
        self.waiting_output() < config.output_bytes_soft_max
            && (room == Room::InOutput
                || self.in_flight() == 0
                || self.in_flight() < config.in_flight_per_connection
                    && self.held_bytes() < config.connection_bytes_max)
    }

    /// Bytes that the connection holds: the line being read, the params of its calls in flight, and its output.
    fn held_bytes(&self) -> usize {
        self.input.capacity() + self.params_bytes + self.waiting_output()
    }

    /// Whether all places are taken by streams, or by ordered calls behind one. Nothing of that has to end by
    /// itself: the credit or the cancel that it may wait for can stand behind the line that waits for a
    /// place, and so does the end of the stream.
    fn is_held_by_streams(&self) -> bool {
        self.has(Room::InOutput)
            && self
                .parked
                .as_ref()
                .is_some_and(|parked| parked.calls.is_empty())
    }

    /// Whether the server has as many calls in flight as it may, those of this connection that its count
    /// does not have yet among them.
    pub(super) fn server_is_full(&self) -> bool {
        self.sheds_line || self.in_flight_published.is_full(self.in_flight())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.parked.as_ref().map_or(0, |parked| parked.len()) + self.ordered.len()
    }

    /// The call with this id, if it is not over.
    pub(super) fn handle(&self, id: u64) -> Option<&Handle> {
        self.parked.as_ref()?.ids.get(&id)
    }

    /// The peer ended its side, perhaps only that one: what it asked for is still answered.
    pub(super) fn peer_has_ended(&mut self) {
        if self.phase == Phase::Lingering {
            self.phase = Phase::Closed;
            return;
        }

        self.has_peer_ended = true;
        if self.input.is_empty() {
            self.enter(Phase::Finishing, None);
        } else {
            self.stats.bad_frame();
            self.refuse_part(&Status::invalid_argument(
                "the stream ended in the middle of a line; a frame ends with \\n",
            ));
        }
    }

    /// Answers the part of a line that has come, with its id where that was in it, and takes no more.
    pub(super) fn refuse_part(&mut self, status: &Status) {
        let id = id_of_part(&self.input);
        self.input.clear();
        self.verdict(id, status);
        self.enter(Phase::Finishing, None);
    }
}
