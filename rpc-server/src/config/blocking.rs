//! Work that blocks its thread.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Work that blocks its thread: functions of `Route::blocking`, and reads of the daemon's log service. Blocking work
/// runs in a separate pool of threads, in which connections take turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Blocking {
    /// Maximum number of threads for blocking work. Further work waits, and connections take turns.
    pub threads_max: usize,
    /// Maximum number of calls of one connection that wait for a thread of the pool. Further ones do not run: they are
    /// refused with code 8, `rejected` and `retry_after_ms`. The default is the same as for
    /// `admission.in_flight_per_connection`.
    pub waiting_per_connection: usize,
}

impl Default for Blocking {
    fn default() -> Self {
        Self {
            threads_max: 64,
            waiting_per_connection: 1024,
        }
    }
}

impl Blocking {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("blocking.threads_max", self.threads_max as u64),
            (
                "blocking.waiting_per_connection",
                self.waiting_per_connection as u64,
            ),
        ])
    }
}
