//! Timers that are due: each timer of a connection, and what happens then.

use std::task::{Context, Poll, ready};

use rpc_core::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::lifecycle::Phase;
use super::timers::{Expiry, Timer};
use crate::metrics::add;

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Does what it is time for. Ready where that changed something.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.alarm.poll(cx, &self.session.timers));

        let now = Instant::now();
        match self.session.timers.expire(now) {
            Expiry::Due(timer) => self.expired(cx, timer, now),
            // The socket is looked at once more before the peer is judged.
            Expiry::PutOff | Expiry::None => {}
        }

        Poll::Ready(())
    }

    fn expired(&mut self, cx: &mut Context<'_>, timer: Timer, now: Instant) {
        let session = &mut self.session;
        match timer {
            Timer::Write => {
                add(&session.host.metrics.limits.write_stalls, 1);
                session.host.log.write_stalls.write(|| {
                    tracing::info!(peer = %session.peer, "cut: the peer took no bytes for `timeouts.write_stall_timeout_ms`");
                });
                session.enter(Phase::Closed, None);
            }

            Timer::Line => self.end_slow_line(),
            Timer::Throttle => session.resume_after_pause(now),
            Timer::FirstFrame => self.end_without_first_frame(),
            Timer::Idle => session.retire_idle(),

            Timer::Phase => {
                if matches!(
                    session.lifecycle.phase(),
                    Phase::Finishing | Phase::Lingering
                ) {
                    session.enter(Phase::Closed, None);
                }
            }

            Timer::Retire => session.retire_if_spoken(),
            Timer::Authentication => session.not_authenticated_in_time(),
            Timer::Probe => session.look_for_peer(cx),
            // What was too much for all may have been given back.
            Timer::Memory => session.look_at_limits(),
        }
    }

    fn end_slow_line(&mut self) {
        let session = &mut self.session;
        if session.lifecycle.phase() == Phase::Lingering {
            // It is not waited for any longer.
            return;
        }

        add(&session.host.metrics.limits.frame_timeouts, 1);
        session.host.log.slow_lines.write(|| {
            tracing::info!(peer = %session.peer, "closed: a line did not end within `timeouts.frame_timeout_ms`");
        });
        if session.lines.is_skipping() {
            // It was counted and answered when it became too long.
            session.enter(Phase::Finishing, None);
            return;
        }

        session.stats.bad_frame();
        let limit = session.host.config.timeouts.frame_timeout_ms;
        let message =
            format!("the line did not end within `timeouts.frame_timeout_ms` of {limit} ms");
        self.refuse_part(&Status::deadline_exceeded(message));
    }

    /// A peer that connects has to speak, if the operator wants that.
    fn end_without_first_frame(&mut self) {
        let session = &self.session;
        if session.lifecycle.has_spoken() || !session.lifecycle.phase().takes_requests() {
            return;
        }

        add(&session.host.metrics.limits.first_frame_timeouts, 1);
        session.host.log.silent_connections.write(|| {
            tracing::info!(peer = %session.peer, "closed: no good line within `accept.first_frame_timeout_ms`");
        });

        let otherwise = session.host.config.accept.first_frame_timeout();
        let limit = session.policy.first_frame_timeout(otherwise);
        let limit = limit.unwrap_or_default().as_millis();
        let message =
            format!("no good line came within `accept.first_frame_timeout_ms` of {limit} ms");
        self.refuse_part(&Status::deadline_exceeded(message));
    }

    /// Notes since when the connection has nothing to do, where it matters.
    pub(super) fn watch_idleness(&mut self) {
        let session = &mut self.session;
        let Some(limit) = session.host.config.timeouts.idle_timeout() else {
            return;
        };

        let work = session.stats.requests + session.stats.replies;
        let has_done_nothing = session.lifecycle.note_work(work);

        if session.lifecycle.phase() != Phase::Open
            || !session.is_idle()
            || self.input.wait().is_some()
        {
            session.timers.stop(Timer::Idle);
        } else if !session.timers.is_set(Timer::Idle) || !has_done_nothing {
            session.timers.set(Timer::Idle, Instant::now() + limit);
        }
    }
}
