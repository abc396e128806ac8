//! Timers of a connection: deadlines, pings, and the end of an idle connection.

use std::future::Future;
use std::task::{Context, Poll, ready};

use rpc_core::frame::encode_request;
use rpc_core::{CmdId, RawJson, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Driver;
use crate::connection::in_flight::Failure;
use crate::connection::liveness::{LivenessCheck, Silence};
use crate::connection::shared::{ConnectionState, Leaving};
use crate::metrics::End;
use crate::time::earliest;

/// The ids of pings, in turn. They are the last ones of the slot table's last slots, which its calls never
/// come to; so an answer finds no call, and a full table does not keep a ping from being sent.
const PING_IDS: [u64; 2] = [rpc_core::frame::ID_MAX, rpc_core::frame::ID_MAX - 1];

impl<IO> Driver<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Sleeps until a call's deadline or the next look at whether the server is still there. Ready where
    /// the time of either had come; the error says why the connection is dead.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.replies_since_timer = 0;

        let (deadline, silence) = {
            let state = self.shared.lock();
            (
                state.next_deadline,
                state.silence(&self.shared.common.config, self.appended_when_heard),
            )
        };

        let Some(next) = earliest(deadline, self.liveness.next_look(silence)) else {
            return Poll::Pending;
        };

        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));

        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }

        Poll::Ready(self.look(now, silence))
    }

    /// Ends the calls that are past their deadline.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut state = self.shared.lock();
        let ConnectionState { calls, tally, .. } = &mut *state;
        let mut earliest: Option<Instant> = None;

        for (_, slot) in calls.iter_mut() {
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    slot.fail(Failure::Expired, End::DEADLINE, tally, &mut self.woken);
                }
                Some(deadline) => {
                    earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                }
                None => {}
            }
        }

        tally.publish(&self.shared.common.metrics);
        state.next_deadline = earliest;
        drop(state);

        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }

    /// Looks whether the server is still there, and asks it where it is silent.
    pub(super) fn look(&mut self, now: Instant, silence: Silence) -> Result<(), String> {
        if self.shared.common.config.timeouts.write_stall_timeout_ms > 0
            && self.written < self.ping_end
        {
            self.liveness.ping_waits(now);
        }

        match self.liveness.look(now, silence) {
            LivenessCheck::Dead(why) => return Err(why),
            LivenessCheck::Ping => {
                let id = PING_IDS[self.pings % PING_IDS.len()];
                self.pings = self.pings.wrapping_add(1);
                let ping = Request::new(CmdId::PING, RawJson::NULL);

                let mut state = self.shared.lock();
                state.append(|output| encode_request(output, Some(id), &ping));
                self.ping_end = state.appended;
            }
            LivenessCheck::Heard => self.appended_when_heard = self.shared.lock().appended,
            LivenessCheck::Fine => {}
        }

        Ok(())
    }

    /// If no call came since the last look and none is in flight, takes no more calls, so that
    /// the connection ends: a call that comes at this moment opens another one. Ready where it looked.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.shared.common.config.timeouts.idle_timeout();
        if limit.is_zero() {
            return Poll::Pending;
        }

        let timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + limit);

        let mut state = self.shared.lock();
        if state.calls.is_empty() && state.admitted == self.admitted_at_last_look {
            state.leaving = Some(Leaving::Idle);
            state.ask_whether_read();
        }
        self.admitted_at_last_look = state.admitted;
        Poll::Ready(())
    }
}
