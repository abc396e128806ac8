//! Log lines that a flood would write by the thousand: one a second.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Says whether it is time for another line.
pub(crate) struct LogThrottle {
    begun: Instant,
    /// The second since `begun`, counted from 1, of the last line.
    second: AtomicU64,
}

impl LogThrottle {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            second: AtomicU64::new(0),
        }
    }

    /// True once a second.
    pub(crate) fn is_due(&self) -> bool {
        let second = self.begun.elapsed().as_secs() + 1;

        // Relaxed: it orders nothing, and a line more or less does not matter.
        self.second.swap(second, Ordering::Relaxed) != second
    }
}
