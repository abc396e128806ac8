//! From the socket to the lines: when it is read, and what becomes of the bytes.

use std::io;
use std::task::{Context, Poll, ready};

use rpc_core::Status;
use rpc_core::frame::id_of_part;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::back_pressure::BackPressure;
use super::execute::{Begins, Executed, Opening};
use super::input::{Filled, ReadLimits, Wait};
use super::lifecycle::Phase;
use super::timers::Timer;
use super::{Connection, scratch};

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads once and executes what came. Pending where nothing came, or nothing may be read now.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.input.is_long() && !self.session.budget.is_enough() {
            self.input.give_back_room();
            self.session.input_bytes = self.input.held_bytes();
        }

        let phase = self.session.lifecycle.phase();
        if self.session.throttle.is_paused() && phase != Phase::Lingering {
            self.session.timers.stop(Timer::Line);
            self.session.look_for_peer_later();
            return Poll::Pending;
        }

        if let Some(wait) = self.input.wait() {
            return self.poll_waiting(cx, wait).map(Ok);
        }

        let reads = match phase {
            Phase::Open | Phase::Retiring | Phase::Draining | Phase::Breached => {
                self.session.reads_on()
            }
            Phase::Lingering => true,
            Phase::Finishing | Phase::Closed => false,
        };
        if !reads {
            // While this side does not read, the peer cannot be late; but a line that waits for memory holds some.
            if self.session.budget.is_enough() || self.input.is_empty() {
                self.session.timers.stop(Timer::Line);
            }
            self.session.retry_for_memory();
            self.session.look_for_peer_later();
            return Poll::Pending;
        }

        let is_in_a_line = !self.input.is_empty() || self.session.lines.is_skipping();
        if is_in_a_line && phase != Phase::Lingering {
            let limit = self.session.host.config.timeouts.frame_timeout();
            let timers = &mut self.session.timers;
            timers.set_once(Timer::Line, || Instant::now() + limit);
        }

        let mut scratch = scratch::take();
        let read = self.read_and_execute(cx, &mut scratch);
        scratch::give_back(scratch);

        let bytes = match ready!(read) {
            // A TLS peer that ends its stream without a goodbye: a line is whole or it is not, so nothing
            // can be cut short unnoticed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };

        match bytes {
            0 => self.peer_has_ended(),
            bytes => {
                self.session.stats.read(bytes);
                self.session.linger_on();
            }
        }

        Poll::Ready(Ok(()))
    }

    /// Executes the lines that wait, where there is room for them now.
    fn poll_waiting(&mut self, cx: &mut Context<'_>, wait: Wait) -> Poll<()> {
        let session = &mut self.session;
        let Wait { room, received } = wait;
        let goes_on =
            session.has_room(room) || room == BackPressure::Calls && session.is_held_by_streams();
        if !goes_on {
            session.look_for_peer_later();
            return Poll::Pending;
        }

        let now = session.clock.look();
        if room != BackPressure::Yield {
            let waited = now.saturating_duration_since(received);
            session.stats.shard().waited_for_room.record(waited, 1);
        }

        let done = session.execute(cx, self.input.bytes(), received);
        self.input.consume(done.consumed, done.wait);
        Poll::Ready(())
    }

    fn read_and_execute(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Self { input, session, .. } = self;
        let held = input.len();
        let limits = ReadLimits {
            line_bytes_max: session.host.config.limits.frame_bytes_max,
            read_bytes_max: session.read_bytes_max(),
        };
        let read = ready!(input.poll_read(&mut session.io, cx, scratch, limits))?;

        let received = session.clock.look();
        session.input_bytes = input.held_bytes();
        let begins = match session.stats.bytes_in == held as u64 {
            true => Begins::WithConnection,
            false => Begins::WithLine,
        };

        match read.filled {
            Filled::Scratch(length) => {
                let bytes = &scratch[..length];
                let done = self.take(cx, bytes, received, begins);
                self.input.keep(&bytes[done.consumed..], done.wait);
            }
            Filled::Own => {
                // The end of a long line was looked for in each of its parts.
                session.lines.skip_searched(held);
                let done = session.execute(cx, input.bytes(), received);
                input.consume(done.consumed, done.wait);
            }
            // Its timer runs, and to read it takes time as well.
            Filled::Part => session.clock.begin_share(&session.host.crowd),
        }

        self.session.input_bytes = self.input.held_bytes();
        Poll::Ready(Ok(read.bytes))
    }

    /// Executes what was read, or leaves it to what it is for.
    #[inline]
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        received: Instant,
        begins: Begins,
    ) -> Executed {
        let done = Executed {
            consumed: bytes.len(),
            wait: None,
        };
        let lifecycle = &self.session.lifecycle;
        if !lifecycle.has_spoken() && lifecycle.phase().takes_requests() {
            match self.session.recognize(bytes, begins) {
                Opening::Lines => {}
                Opening::Tls => {
                    self.session.refuse_tls();
                    return done;
                }
                Opening::Http => {
                    self.speaks_http = true;
                    self.session.enter(Phase::Closed, None);
                    return Executed {
                        consumed: 0,
                        wait: None,
                    };
                }
            }
        }

        self.session.execute(cx, bytes, received)
    }

    /// The peer ended its side, perhaps only that one: what it asked for is still answered.
    fn peer_has_ended(&mut self) {
        if self.session.lifecycle.phase() == Phase::Lingering {
            self.session.enter(Phase::Closed, None);
            return;
        }

        self.session.lifecycle.peer_has_ended();
        if self.input.is_empty() {
            self.session.enter(Phase::Finishing, None);
        } else {
            self.session.stats.bad_frame();
            // As a rule the id comes first, so that a long line need not be put together.
            if id_of_part(self.input.bytes()).is_none() {
                self.input.join();
            }
            self.refuse_part(&Status::invalid_argument(
                "the stream ended in the middle of a line; a frame ends with \\n",
            ));
        }
    }

    /// Answers the part of a line that has come, with its id where that was in it, and takes no more.
    pub(super) fn refuse_part(&mut self, status: &Status) {
        // Of a long line that comes in pieces its first 32 KiB and more, with which the id stands as a rule: there may be
        // hundreds of them at one time.
        let id = id_of_part(self.input.bytes());
        self.input.clear();
        self.session.input_bytes = 0;
        self.session.verdict(id, status);
        self.session.enter(Phase::Finishing, None);
    }
}
