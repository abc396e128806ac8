//! Backup requests.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Backup requests: an idempotent call that takes long is sent a second time, to another endpoint where there
/// is one, and the first answer counts. That cuts the slowest answers of a service at the price of a few more
/// calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hedge {
    /// Percentage of the calls that a call must have outlasted before its backup is sent: 95 does so for the
    /// slowest twentieth. 0 turns backups off.
    pub percentile: u32,
    /// Shortest time before a backup is sent, in milliseconds.
    pub after_min_ms: u64,
    /// Maximum number of backups, in percent of the calls that may have one.
    pub percent_max: u32,
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            percentile: 0,
            after_min_ms: 1,
            percent_max: 5,
        }
    }
}

impl Hedge {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let percentile = self.percentile;
        if percentile >= 100 {
            let message = format!(
                "`hedge.percentile` is {percentile} and must be at most 99; 0 turns hedging off"
            );
            return Err(ConfigError::new("hedge.percentile", message));
        }

        Ok(())
    }
}
