//! The clock of the machine, which may be wrong and may be set at any time.
//!
//! Entries and files have its times, for people. Order, repetitions, budgets and waits do not go by it.

use std::time::{SystemTime, UNIX_EPOCH};

/// The clock by which entries and files have their times.
#[derive(Debug, Clone, Default)]
pub(super) enum Clock {
    /// That of the machine.
    #[default]
    Machine,
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        match self {
            Self::Machine => SystemTime::now(),
        }
    }

    /// Milliseconds since 1970; 0 before.
    pub(super) fn now_ms(&self) -> u64 {
        let since_1970 = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}
