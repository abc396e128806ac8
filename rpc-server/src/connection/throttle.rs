//! Limits of lines that cost a peer nothing and lead to nothing here: a number a second.

use std::time::Duration;

use rpc_core::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::lifecycle::Phase;
use super::session::Session;
use super::timers::Timer;
use crate::metrics::add;

/// The shortest time for which a connection is not read from: a timer for each line would cost more than
/// the line.
const PAUSE: Duration = Duration::from_millis(100);

/// Items for which a credit may still come that does not count as cheap: as many as there may be streams.
const CREDITS_OWED_MAX: u32 = 1_024;

/// A token bucket that is filled only when it is empty, so that a line costs a subtraction.
pub(super) struct Throttle {
    /// Lines a second; 0: no limit.
    rate: u32,
    /// Times that nothing was read for a while.
    pauses: u32,
    tokens: u64,
    /// Items that were sent, without those for which a credit has come.
    credits_owed: u32,
    filled: Instant,
    /// Since when the peer has sent more than it may.
    over_since: Option<Instant>,
    /// Until then nothing is read.
    paused_until: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        Self {
            rate,
            pauses: 0,
            tokens: rate.into(),
            credits_owed: 0,
            filled: now,
            over_since: None,
            paused_until: None,
        }
    }

    /// Whether nothing is read now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// How many times nothing was read for a while.
    pub(super) fn pauses(&self) -> u32 {
        self.pauses
    }

    /// Whether the peer has sent more than it may since it was last within its rate.
    fn is_over(&self) -> bool {
        self.over_since.is_some()
    }

    /// Notes that items were sent: the peer may give credit for as many.
    #[inline]
    pub(super) fn note_items(&mut self, items: u32) {
        self.credits_owed = self
            .credits_owed
            .saturating_add(items)
            .min(CREDITS_OWED_MAX);
    }

    /// Whether a credit answers an item that was sent, as those of a stream do whose reader is fast. Others cost a peer
    /// nothing.
    fn is_owed_credit(&mut self) -> bool {
        let is_owed = self.credits_owed > 0;
        self.credits_owed = self.credits_owed.saturating_sub(1);
        is_owed
    }

    /// Counts a line. Where it is one too many a pause begins, and its end is returned.
    fn spend(&mut self, now: Instant) -> Option<Instant> {
        if self.rate == 0 {
            return None;
        }

        if self.tokens > 0 {
            self.tokens -= 1;
            return None;
        }

        let until = self.filled + PAUSE.max(Duration::from_secs(1) / self.rate);
        if until <= now {
            // Those that there were have lasted for as long as a pause: the peer is within its rate.
            self.over_since = None;
            self.fill(now);
            return None;
        }

        if self.is_paused() {
            return None;
        }

        self.over_since.get_or_insert(now);
        self.pauses = self.pauses.saturating_add(1);
        self.paused_until = Some(until);
        self.paused_until
    }

    fn fill(&mut self, now: Instant) {
        let micros = now
            .saturating_duration_since(self.filled)
            .as_micros()
            .min(1_000_000);
        let tokens = micros * u128::from(self.rate) / 1_000_000;

        // It is at most the rate.
        self.tokens = u64::try_from(tokens).unwrap_or(u64::MAX).max(1);
        self.filled = now;
    }

    /// Ends the pause, and says for how long the peer has sent more than it may.
    fn resume(&mut self, now: Instant) -> Duration {
        self.paused_until = None;
        self.fill(now);
        self.over_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Counts a credit, unless it answers an item.
    pub(super) fn spend_credit(&mut self) {
        if !self.throttle.is_owed_credit() {
            self.spend_throttle();
        }
    }

    #[inline]
    pub(super) fn spend_throttle(&mut self) {
        let was_over = self.throttle.is_over();
        if let Some(until) = self.throttle.spend(self.clock.now()) {
            self.timers.set(Timer::Throttle, until);
            add(&self.host.metrics.limits.cheap_frame_pauses, 1);
            if !was_over {
                self.log_throttled();
            }
        }
    }

    /// Says that the peer is read from more slowly, once until it is within its rate again.
    #[cold]
    fn log_throttled(&self) {
        let limit = self.host.config.throttle.frames_per_second;
        self.host.log.throttled.write(|| {
            tracing::info!(peer = %self.peer, limit, "read from more slowly: more pings, cancels and the like than `throttle.frames_per_second`");
        });
    }

    /// The pause is over: the peer is read from again, or has had its time.
    pub(super) fn resume_after_pause(&mut self, now: Instant) {
        let config = &self.host.config;
        let phase = self.lifecycle.phase();
        if self.throttle.resume(now) < config.throttle.timeout()
            || !phase.takes_requests()
            || phase == Phase::Breached
        {
            return;
        }

        let (limit, time) = (
            config.throttle.frames_per_second,
            config.throttle.timeout_ms,
        );

        self.host.log.floods.write(|| {
            tracing::warn!(peer = %self.peer, limit, "closed: more pings, cancels and the like than `throttle.frames_per_second`");
        });
        add(&self.host.metrics.limits.cheap_frame_closures, 1);

        let message = format!(
            "more cheap lines than `throttle.frames_per_second` ({limit}) for `throttle.timeout_ms` ({time} ms); send \
             fewer pings, cancels, empty or bad lines, unknown commands, calls with wrong params, and calls that do \
             not run"
        );
        self.verdict(None, &Status::resource_exhausted(message));
        self.breach();
    }
}

#[cfg(test)]
mod tests;
