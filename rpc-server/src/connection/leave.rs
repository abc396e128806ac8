//! The way out, and what it is time for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rpc_core::Status;
use rpc_core::frame::encode_notice;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::call::Credit;
use super::timers::Timer;
use super::{Connection, IDLE, Phase, SERVED_LONG_ENOUGH, SHUTTING_DOWN};
use crate::metrics::add;

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn enter(&mut self, phase: Phase, limit: Option<Duration>) {
        // What was cut stays cut, whatever the line at hand leads to.
        if self.phase == Phase::Closed {
            return;
        }

        self.phase = phase;
        if !phase.takes_requests() {
            self.timers.stop(Timer::Line);
        }

        if phase == Phase::Finishing {
            let handles = self.parked.iter().flat_map(|parked| parked.ids.values());
            handles
                .filter_map(|handle| handle.credit.as_deref())
                .for_each(Credit::close);
        }

        match limit {
            Some(limit) => self.timers.set(Timer::Phase, Instant::now() + limit),
            None => self.timers.stop(Timer::Phase),
        }
    }

    /// Takes the next step on the way out, once everything is done that comes before it. Returns whether it was
    /// taken: then the turn begins anew. `has_read_all`: the socket has nothing to read.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, has_read_all: bool) -> io::Result<bool> {
        match self.phase {
            // The time in which requests may still be on their way is over, and all that came is read.
            // Whoever floods is not waited for.
            Phase::Draining
                if has_read_all && !self.timers.is_set(Timer::Phase) && self.is_idle() =>
            {
                self.enter(Phase::Finishing, None);
                Ok(true)
            }

            Phase::Retiring
                if has_read_all && !self.cheap.is_paused() && self.is_between_calls() =>
            {
                self.enter(Phase::Finishing, None);
                Ok(true)
            }

            Phase::Finishing if self.is_idle() => {
                let limit = self.host.config.linger_timeout();
                if Pin::new(&mut self.io).poll_shutdown(cx)?.is_ready() {
                    // With nothing of the peer's unread, closing takes nothing back.
                    let next = if self.has_peer_ended {
                        Phase::Closed
                    } else {
                        Phase::Lingering
                    };
                    self.enter(next, Some(limit));
                    return Ok(true);
                }

                // A stream that still has to say goodbye, as TLS does, may have a peer that does not listen.
                self.timers
                    .set_once(Timer::Phase, || Instant::now() + limit);
                Ok(false)
            }

            Phase::Open
            | Phase::Retiring
            | Phase::Draining
            | Phase::Finishing
            | Phase::Lingering
            | Phase::Closed => Ok(false),
        }
    }

    /// Whether everything that was accepted is answered and written.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.waiting_output() == 0 && !self.needs_flush
    }

    /// The server drains. Does nothing where the connection is on its way out already.
    pub(super) fn drain(&mut self) {
        if self.phase == Phase::Open {
            self.say_goaway(SHUTTING_DOWN);
        }

        if matches!(self.phase, Phase::Open | Phase::Retiring) {
            self.timers.stop(Timer::Retire);
            self.enter(Phase::Draining, Some(self.host.config.goaway_grace()));
        }
    }

    /// A client that uses no ids would take the notice for a reply.
    pub(super) fn say_goaway(&mut self, message: &str) {
        if self.has_used_id {
            encode_notice(&mut self.output, "goaway", message);
        }
    }

    /// Ends the connection's service at its last request.
    pub(super) fn count_down(&mut self) {
        let limit = self.host.config.requests_per_connection_max;
        if limit > 0 && self.stats.requests >= limit && self.phase == Phase::Open {
            self.retire();
        }
    }

    /// Whoever connects has to speak, where the operator wants that.
    fn end_without_first_frame(&mut self) {
        if self.has_spoken || !self.phase.takes_requests() {
            return;
        }

        add(&self.host.metrics.limits.first_frame_timeouts, 1);
        tracing::info!(peer = %self.peer, "closed: no good line within `first_frame_timeout_ms`");

        let limit = self
            .policy
            .first_frame_timeout(self.host.config.first_frame_timeout());
        let limit = limit.unwrap_or_default().as_millis();
        let message = format!("no good line came within `first_frame_timeout_ms` of {limit} ms");
        self.refuse_part(&Status::deadline_exceeded(message));
    }

    /// Notes since when the connection has nothing to do, where it matters.
    pub(super) fn watch_idleness(&mut self) {
        let Some(limit) = self.host.config.idle_timeout() else {
            return;
        };

        let work = self.stats.requests + self.stats.replies;
        if self.phase != Phase::Open || !self.is_idle() || self.lines_wait_for.is_some() {
            self.timers.stop(Timer::Idle);
        } else if !self.timers.is_set(Timer::Idle) || self.idle_since_work != work {
            self.timers.set(Timer::Idle, Instant::now() + limit);
        }

        self.idle_since_work = work;
    }

    fn retire_idle(&mut self) {
        if self.phase == Phase::Open {
            add(&self.host.metrics.limits.idle_timeouts, 1);
            self.retire_with(IDLE);
        }
    }

    /// One step on the way out: first with manners, then as in a drain, then without.
    pub(super) fn retire(&mut self) {
        self.retire_with(SERVED_LONG_ENOUGH);
    }

    fn retire_with(&mut self, reason: &str) {
        let config = &self.host.config;
        let (grace, limit) = (config.goaway_grace(), config.drain_timeout());
        self.timers.set(Timer::Retire, Instant::now() + limit);

        match self.phase {
            Phase::Open => {
                tracing::debug!(peer = %self.peer, requests = self.stats.requests, reason, "the connection retires");
                add(&self.host.metrics.connections_retired, 1);
                self.say_goaway(reason);
                self.enter(Phase::Retiring, self.has_used_id.then_some(grace));
            }
            Phase::Retiring => self.enter(Phase::Draining, Some(grace)),
            Phase::Draining => {
                tracing::info!(peer = %self.peer, in_flight = self.in_flight(), "cut: not done within `drain_timeout_ms`");
                self.enter(Phase::Closed, None);
            }
            // These have limits of their own.
            Phase::Finishing | Phase::Lingering | Phase::Closed => self.timers.stop(Timer::Retire),
        }
    }

    /// Whether nothing is under way, in either direction.
    pub(super) fn is_between_calls(&self) -> bool {
        !self.timers.is_set(Timer::Phase) && self.is_idle() && self.input.is_empty()
    }

    /// Does what it is time for. Ready where that changed something.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.alarm.poll(cx, &self.timers));

        let now = Instant::now();
        if let Some(timer) = self.timers.expire(now) {
            self.expired(timer, now);
        }
        Poll::Ready(())
    }

    fn expired(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Write => {
                add(&self.host.metrics.limits.write_stalls, 1);
                tracing::info!(peer = %self.peer, "cut: the peer took no bytes for `write_stall_timeout_ms`");
                self.phase = Phase::Closed;
            }

            Timer::Line => self.end_slow_line(),
            Timer::Throttle => self.resume_after_cheap(now),
            Timer::FirstFrame => self.end_without_first_frame(),
            Timer::Idle => self.retire_idle(),

            Timer::Phase => {
                if matches!(self.phase, Phase::Finishing | Phase::Lingering) {
                    self.phase = Phase::Closed;
                }
            }

            Timer::Retire => self.retire(),
            Timer::Authentication => self.not_authenticated_in_time(),
        }
    }

    fn end_slow_line(&mut self) {
        add(&self.host.metrics.limits.frame_timeouts, 1);
        tracing::info!(peer = %self.peer, "closed: a line was not ended within `frame_timeout_ms`");
        self.stats.bad_frame();

        let limit = self.host.config.frame_timeout_ms;
        let message = format!("the line was not ended within `frame_timeout_ms` of {limit} ms");
        self.refuse_part(&Status::deadline_exceeded(message));
    }
}
