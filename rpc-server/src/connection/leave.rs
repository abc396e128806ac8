//! The way out, and what it is time for.

use std::future::Future;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rpc_core::Status;
use rpc_core::frame::{encode_notice, id_of_part};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Connection, Phase, SERVED_LONG_ENOUGH, SHUTTING_DOWN};
use crate::call::Credit;
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
            self.line_deadline = None;
        }
        if phase == Phase::Finishing {
            let handles = self.parked.iter().flat_map(|parked| parked.ids.values());
            handles.filter_map(|handle| handle.credit.as_deref()).for_each(Credit::close);
        }
        self.phase_deadline = limit.map(|limit| Instant::now() + limit);
    }

    /// Whether everything that was accepted is answered and written.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.waiting_output() == 0 && !self.needs_flush
    }

    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if self.drain.as_mut().is_some_and(|drain| drain.as_mut().poll(cx).is_ready()) {
            self.drain = None;
            if self.phase == Phase::Open {
                self.say_goaway(SHUTTING_DOWN);
            }
            if matches!(self.phase, Phase::Open | Phase::Retiring) {
                self.retire_deadline = None;
                self.enter(Phase::Draining, Some(self.shared.config.goaway_grace()));
            }
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
        let limit = self.shared.config.requests_per_connection_max;
        if limit > 0 && self.stats.requests >= limit && self.phase == Phase::Open {
            self.retire();
        }
    }

    /// One step on the way out: first with manners, then as in a drain, then without.
    pub(super) fn retire(&mut self) {
        let config = &self.shared.config;
        let (grace, limit) = (config.goaway_grace(), config.drain_timeout());
        self.retire_deadline = Some(Instant::now() + limit);
        match self.phase {
            Phase::Open => {
                tracing::debug!(peer = %self.peer, requests = self.stats.requests, "the connection retires");
                add(&self.shared.metrics.connections_retired, 1);
                self.say_goaway(SERVED_LONG_ENOUGH);
                self.enter(Phase::Retiring, self.has_used_id.then_some(grace));
            }
            Phase::Retiring => self.enter(Phase::Draining, Some(grace)),
            Phase::Draining => {
                tracing::info!(peer = %self.peer, in_flight = self.in_flight(), "cut: not done within `drain_timeout_ms`");
                self.enter(Phase::Closed, None);
            }
            // These have limits of their own.
            Phase::Finishing | Phase::Lingering | Phase::Closed => self.retire_deadline = None,
        }
    }

    /// Whether nothing is under way, in either direction.
    pub(super) fn is_between_calls(&self) -> bool {
        self.phase_deadline.is_none() && self.is_idle() && self.input.is_empty()
    }

    /// Does what it is time for. Ready where that changed something.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadlines = [
            self.line_deadline,
            self.stall_deadline,
            self.phase_deadline,
            self.retire_deadline,
            self.door.deadline,
        ];
        let next = deadlines.into_iter().flatten().min();
        let Some(next) = next else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        // A timer that fires too early is set anew then: cheaper than moving it with every line.
        if next < timer.deadline() {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        self.expire(Instant::now());
        Poll::Ready(())
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let is_past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_past(self.stall_deadline) {
            tracing::info!(peer = %self.peer, "cut: the peer took no bytes for `write_stall_timeout_ms`");
            self.phase = Phase::Closed;
        } else if is_past(self.line_deadline) {
            self.line_deadline = None;
            let id = id_of_part(&self.input);
            self.input.clear();
            self.stats.bad_frame();
            let limit = self.shared.config.frame_timeout_ms;
            let message = format!("the line was not ended within `frame_timeout_ms` of {limit} ms");
            self.verdict(id, &Status::deadline_exceeded(message));
            self.enter(Phase::Finishing, None);
        } else if is_past(self.phase_deadline) {
            self.phase_deadline = None;
            if matches!(self.phase, Phase::Finishing | Phase::Lingering) {
                self.phase = Phase::Closed;
            }
        } else if is_past(self.retire_deadline) {
            self.retire();
        } else if is_past(self.door.deadline) {
            self.not_authenticated_in_time();
        }
    }
}
