//! Calls that are logged.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

use super::PER_MILLION_MAX;

/// The access log: one event at the end of a call, with the target `rpc_server::access` and level info. It has the
/// command, the code and the latency, and never params, data or tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Number of calls in a million that are logged, chosen at random: 0 for none, `1_000_000` for all.
    pub per_million: u32,
    /// Whether all failed calls (codes other than 0) are logged instead of a sample. It has no effect while
    /// `access_log.per_million` is 0.
    pub failures: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            per_million: 0,
            failures: true,
        }
    }
}

impl AccessLog {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let per_million = self.per_million;
        if per_million > PER_MILLION_MAX {
            let message = format!(
                "`access_log.per_million` ({per_million}) must be at most {PER_MILLION_MAX}, which is all calls"
            );
            return Err(ConfigError::new("access_log.per_million", message));
        }

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_all_calls_cannot_be_logged() {
        let more_than_all = AccessLog {
            per_million: 1_000_001,
            ..AccessLog::default()
        };
        assert!(
            more_than_all
                .check()
                .unwrap_err()
                .to_string()
                .contains("`access_log.per_million` (1000001)")
        );
    }
}
