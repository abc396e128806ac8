//! The clock of the outbox.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time. Tests have one of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since_1970 = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
        }))
    }

    /// A clock that begins at this time and goes as tokio's, which tests may pause.
    #[cfg(test)]
    pub(crate) fn of_tokio(begin_ms: u64) -> Self {
        let begin = tokio::time::Instant::now();
        Self(Arc::new(move || {
            begin_ms + u64::try_from(begin.elapsed().as_millis()).unwrap()
        }))
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}
