//! Connections that the server asks to go: old ones, those that rest, and those whose place another one needs.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::lifecycle::{IDLE, MAKES_ROOM, Phase, SERVED_LONG_ENOUGH};
use super::session::Session;
use super::timers::Timer;
use crate::metrics::add;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Ends the connection's service at its last request, or at its first one if its age was over before that.
    #[inline]
    pub(super) fn count_down(&mut self) {
        let limit = self.host.config.drain.requests_per_connection_max;
        let was_last = limit > 0 && self.stats.requests >= limit;
        let was_late = self.is_past_age && self.lifecycle.has_spoken();
        if (was_last || was_late) && self.lifecycle.phase() == Phase::Open {
            self.retire();
        }
    }

    /// Takes the step on the way out that is due. The age does not end a connection that has not spoken: its peer has
    /// shown no id, so that it cannot be told, and its first call may be on its way. It goes after that one.
    pub(super) fn retire_if_spoken(&mut self) {
        if self.lifecycle.phase() == Phase::Open && !self.lifecycle.has_spoken() {
            self.is_past_age = true;
        } else {
            self.retire();
        }
    }

    /// Ends the service of a connection that has had nothing to do.
    pub(super) fn retire_idle(&mut self) {
        if self.lifecycle.phase() == Phase::Open {
            add(&self.host.metrics.limits.idle_timeouts, 1);
            self.retire_with(IDLE);
        }
    }

    /// Asks a connection that has rested longest to go, where another one needs its place. One that has found something
    /// to do since then stays.
    pub(super) fn make_room(&mut self) {
        if self.may_make_room() {
            self.lifecycle.note_that_it_makes_room();
            self.retire_with(MAKES_ROOM);
        }
    }

    /// How long a connection that retires waits for further requests. One that has rested may have a peer that rests as
    /// well, and reads its goaway only when it has something to call: it has the time of a drain.
    pub(super) fn retirement_grace(&self) -> Duration {
        let drain = &self.host.config.drain;
        if self.lifecycle.makes_room() {
            drain.timeout()
        } else {
            drain.goaway_grace()
        }
    }

    /// Whether it has nothing to do, and can be told to go: without ids its peer would take that for a reply.
    pub(super) fn may_make_room(&self) -> bool {
        let is_open = self.lifecycle.phase() == Phase::Open;
        is_open && self.lifecycle.has_used_id() && self.is_idle()
    }

    /// One step on the way out.
    fn retire(&mut self) {
        self.retire_with(SERVED_LONG_ENOUGH);
    }

    fn retire_with(&mut self, reason: &str) {
        let drain = &self.host.config.drain;
        let (grace, limit) = (drain.goaway_grace(), drain.timeout());
        self.timers.set(Timer::Retire, Instant::now() + limit);

        match self.lifecycle.phase() {
            Phase::Open => {
                self.host.log.retirements.write(|| {
                    tracing::debug!(peer = %self.peer, requests = self.stats.requests, reason, "the connection retires");
                });
                add(&self.host.metrics.connections_retired, 1);
                self.say_goaway(reason);
                let has_used_id = self.lifecycle.has_used_id();
                let grace = has_used_id.then(|| self.retirement_grace());
                self.enter(Phase::Retiring, grace);
                self.end_resumable_streams();
            }
            Phase::Retiring => {
                self.enter(Phase::Draining, Some(grace));
                self.end_resumable_streams();
            }
            Phase::Draining => {
                let in_flight = self.in_flight.len();
                self.host.log.drain_cuts.write(|| {
                    tracing::info!(peer = %self.peer, in_flight, "cut: its calls did not end within `drain.timeout_ms`");
                });
                self.end_unfinished();
                let linger = self.host.config.timeouts.linger_timeout();
                self.enter(Phase::Finishing, Some(linger));
                self.timers.stop(Timer::Retire);
            }
            Phase::Breached => {
                self.timers.stop(Timer::Retire);
                self.enter(Phase::Finishing, None);
            }
            // These have limits of their own.
            Phase::Finishing | Phase::Lingering | Phase::Closed => self.timers.stop(Timer::Retire),
        }
    }
}
