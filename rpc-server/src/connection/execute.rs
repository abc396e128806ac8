//! From bytes to lines: how far what was read is executed.

use std::task::Context;

use rpc_core::Request;
use rpc_core::codec::Step;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::back_pressure::BackPressure;
use super::call::Arrival;
use super::input::Wait;
use super::lifecycle::Phase;
use super::pace::Pace;
use super::session::Session;
use super::sniff;
use super::timers::Timer;
use crate::metrics::add;

/// How far bytes were executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Executed {
    /// How many bytes at the front are done with.
    pub(super) consumed: usize,
    /// What the line behind them waits for; none where that is a part of a line.
    pub(super) wait: Option<Wait>,
}

impl Executed {
    fn all_but(consumed: usize) -> Self {
        Self {
            consumed,
            wait: None,
        }
    }
}

/// Where bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// With the first byte of the connection.
    WithConnection,
    /// With a later line: what came before them is executed.
    WithLine,
}

/// The first bytes of a connection.
pub(super) enum Opening {
    /// An HTTP request that is answered: the connection is handed over with its bytes.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "no HTTP request is answered")
    )]
    Http,
    /// Another protocol, which is refused.
    Tls,
    /// This protocol, as far as can be told.
    Lines,
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Executes the whole lines at the front of `bytes`, as far as there is room. Their time counts from when they
    /// were `received`, however long they wait for room.
    pub(super) fn execute(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        received: Instant,
    ) -> Executed {
        // What was read before this look was sent before it, too: a right that was taken away by then is seen.
        self.look_after_auth();
        self.clock.begin_share(&self.host.crowd);
        let mut pace = self.clock.pace(bytes.len(), self.output.len());
        let mut consumed = 0;

        loop {
            if !self.lifecycle.phase().takes_requests() {
                return Executed::all_but(bytes.len());
            }

            if let Some(room) = self.missing_room() {
                return self.hold(consumed, room, received);
            }

            match self.lines.step(&bytes[consumed..]) {
                Step::Line {
                    line,
                    consumed: length,
                } => {
                    self.sheds_line = false;
                    // That the output has room was looked at above.
                    if !self.has_place()
                        && let Some(room) = self.room_needed(line)
                    {
                        if !self.may_shed(room) {
                            add(&self.host.metrics.limits.in_flight_pauses, 1);
                            return self.hold(consumed, room, received);
                        }
                        self.sheds_line = true;
                    }

                    consumed += length;
                    self.timers.stop(Timer::Line);

                    if line.is_empty() {
                        self.spend_throttle();
                        continue;
                    }

                    let arrival = Arrival {
                        received,
                        line_bytes: length,
                    };
                    self.line(cx, line, arrival);
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
                    if consumed == bytes.len() && !self.lines.is_skipping() {
                        self.timers.stop(Timer::Line);
                    } else {
                        let end = self.clock.now() + self.host.config.timeouts.frame_timeout();
                        self.timers.set_once(Timer::Line, || end);
                    }
                    return Executed::all_but(consumed);
                }
            }
        }
    }

    /// What the next line has to wait for, whatever it says.
    #[inline]
    fn missing_room(&self) -> Option<BackPressure> {
        if self.throttle.is_paused() {
            // Nothing but time is wanting, and that is looked at before.
            return Some(BackPressure::Output);
        }

        if self.clock.is_share_used_up() {
            return Some(BackPressure::Yield);
        }

        if !self.has_room(BackPressure::Output) {
            add(&self.host.metrics.limits.output_pauses, 1);
            return Some(BackPressure::Output);
        }

        None
    }

    /// What is not executed yet waits for room, and is not late for that.
    fn hold(&mut self, consumed: usize, room: BackPressure, received: Instant) -> Executed {
        self.timers.stop(Timer::Line);

        Executed {
            consumed,
            wait: Some(Wait { room, received }),
        }
    }

    /// What a line has to wait for where the connection is full: nothing if it ends a call or lets it go on, if it is a
    /// ping, which asks whether the server is alive, or if it is rejected anyway.
    fn room_needed(&self, line: &[u8]) -> Option<BackPressure> {
        if line.is_empty() {
            return None;
        }

        let is_order_free = self.in_flight.is_next_in_order();
        let of_the_order = match is_order_free {
            true => BackPressure::Calls,
            false => BackPressure::Order,
        };
        let Ok(request) = Request::decode(line) else {
            return Some(of_the_order);
        };

        let is_rejected = matches!(self.lifecycle.phase(), Phase::Draining | Phase::Breached);
        let has_id = request.id.is_some();
        match request.cmdid {
            cmdid if cmdid.is_control() => None,
            cmdid if has_id => {
                (!cmdid.is_built_in() && !is_rejected).then_some(BackPressure::Calls)
            }
            cmdid if cmdid.is_built_in() && is_order_free => None,
            _ => Some(of_the_order),
        }
    }

    /// Whether a line that finds no place is refused, and not held: where only streams are in flight, what they wait
    /// for may come after it.
    fn may_shed(&self, room: BackPressure) -> bool {
        match room {
            BackPressure::Calls => self.is_held_by_streams(),
            BackPressure::Output | BackPressure::Order | BackPressure::Yield => self.has_room(room),
        }
    }

    /// Looks at the time, and writes the replies that have gathered, each after its number of frames. The last frame
    /// was `length` bytes long.
    // As a call of its own it costs each frame 18 instructions.
    #[inline]
    fn look_and_write(&mut self, cx: &mut Context<'_>, pace: &mut Pace, length: usize) {
        let due = pace.count(length, self.output.len());
        if due.look {
            self.clock.look();
        }

        if due.write {
            self.write_or_cut(cx);
            pace.wrote(self.output.len());
        }
    }

    /// Recognizes the first bytes of another protocol.
    #[cfg_attr(
        not(feature = "http"),
        expect(clippy::unused_self, reason = "as where HTTP requests are answered")
    )]
    pub(super) fn recognize(&self, bytes: &[u8], begins: Begins) -> Opening {
        if sniff::is_tls_hello(bytes) {
            return Opening::Tls;
        }

        #[cfg(feature = "http")]
        if begins == Begins::WithConnection && self.answers_http(bytes) {
            return Opening::Http;
        }

        let _ = begins;
        Opening::Lines
    }

    /// Whether these first bytes are an HTTP request that is answered.
    #[cfg(feature = "http")]
    fn answers_http(&self, bytes: &[u8]) -> bool {
        let (policy, peer) = (&self.policy, &self.peer);
        policy.http_calls && sniff::is_http_1(bytes)
            || sniff::is_request_of_pages(bytes) && self.host.http.shows_pages(policy, peer)
    }

    /// Ends a connection that speaks TLS to a listener without TLS.
    pub(super) fn refuse_tls(&mut self) {
        self.host.log.tls_hellos.write(|| {
            tracing::warn!(peer = %self.peer, "a TLS client hello on a port without TLS; closed");
        });
        self.enter(Phase::Finishing, None);
    }
}
