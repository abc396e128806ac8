//! The clock of the machine, which may be wrong and may be set at any time.
//!
//! Entries and files have its times, for people. Order, repetitions, budgets and waits do not go by it.

#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

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
