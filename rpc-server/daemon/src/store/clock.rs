//! The clock of the machine, which may be wrong and may be set at any time.
//!
//! Entries and files have its times, for people. Order, repetitions, budgets and waits do not go by it.

use std::fs;
#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock by which entries and files have their times.
#[derive(Debug, Clone, Default)]
pub(super) enum Clock {
    /// That of the machine.
    #[default]
    Machine,
    /// One that a test sets behind that of the machine, by a number of milliseconds.
    #[cfg(test)]
    Behind(Arc<AtomicU64>),
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        match self {
            Self::Machine => SystemTime::now(),
            #[cfg(test)]
            Self::Behind(ms) => {
                SystemTime::now() - Duration::from_millis(ms.load(Ordering::Relaxed))
            }
        }
    }

    /// Milliseconds since 1970; 0 before.
    pub(super) fn now_ms(&self) -> u64 {
        let since_1970 = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A step of less than this is not worth correcting anything for.
const STEP_MIN: Duration = Duration::from_secs(60);

/// Sees when the clock is set forward, as it is when a machine without a battery has learned the time.
#[derive(Debug)]
pub(super) struct Steps {
    clock: Clock,
    time: SystemTime,
    steady: Duration,
    began: Instant,
    /// How far it was set back, and not forward again since.
    set_back: Duration,
}

impl Steps {
    pub(super) fn of(clock: Clock) -> Self {
        let began = Instant::now();
        Self {
            time: clock.now(),
            steady: steady(began),
            clock,
            began,
            set_back: Duration::ZERO,
        }
    }

    /// How far the clock was set forward since it was asked last, if it was. One that is put right again after it was set back
    /// was not: what was written before that has the right times.
    pub(super) fn forward(&mut self) -> Option<Duration> {
        let before = (self.time, self.steady);
        (self.time, self.steady) = (self.clock.now(), steady(self.began));

        let passed = self.steady.checked_sub(before.1)?;
        let step = match self.time.duration_since(before.0 + passed) {
            Ok(step) => step,
            Err(back) => {
                if back.duration() >= STEP_MIN {
                    self.set_back = self.set_back.saturating_add(back.duration());
                }
                return None;
            }
        };

        let beyond = step.saturating_sub(self.set_back);
        self.set_back = self.set_back.saturating_sub(step);
        (beyond >= STEP_MIN).then_some(beyond)
    }
}

/// A time that is never set. That of the system goes on while the machine sleeps, as the clock does; `Instant` does not.
fn steady(began: Instant) -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let seconds = uptime
        .as_deref()
        .and_then(|text| text.split(' ').next())
        .and_then(|seconds| seconds.parse().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.unwrap_or_else(|| began.elapsed())
}
