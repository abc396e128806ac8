//! Further tries of a call.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Further tries of a call, within its deadline. Only what was not sent or was rejected is tried again, or is
/// idempotent; and all calls together have a budget, so that a server in trouble is not asked for more than it
/// would be without retries, or hardly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Maximum number of tries of one call, the first one included; 1 turns retries off.
    pub attempts_max: u32,
    /// Longest pause before the third try, in milliseconds, which doubles for each further one; the second try
    /// is made at once. The actual pause is a random one below it.
    pub base_ms: u64,
    /// Longest pause before any try, in milliseconds. What the server asks for with `retry_after_ms` is added.
    pub cap_ms: u64,
    /// Retries of all calls together, in percent of the calls.
    pub budget_percent: u32,
    /// Number of retries a second that are allowed besides, for a client with few calls.
    pub budget_per_second: u32,
    /// How long the right to a retry that is not used is kept, in milliseconds.
    pub budget_window_ms: u64,
    /// Commands that may run twice without harm, and are tried again also where they may have run; as
    /// [`Command::idempotent`](crate::Command::idempotent) says of a call.
    pub idempotent_cmdids: Vec<u32>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            base_ms: 10,
            cap_ms: 1_000,
            budget_percent: 20,
            budget_per_second: 10,
            budget_window_ms: 10_000,
            idempotent_cmdids: Vec::new(),
        }
    }
}

impl Retry {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[("retry.attempts_max", u64::from(self.attempts_max))])
    }
}
