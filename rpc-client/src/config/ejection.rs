//! Endpoints that get no calls for a while.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Endpoints that get no calls for a while, because too many of their calls fail, as long as there are others.
/// An endpoint comes back after a time that doubles with each ejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ejection {
    /// Number of failures in a row that eject an endpoint. 0 turns this off.
    pub after_failures: u32,
    /// Percentage of the calls in `ejection.window_ms` that must succeed, or the endpoint is ejected. 0 turns
    /// this off.
    pub success_percent_min: u32,
    /// Number of calls within the window before its success rate is judged.
    pub calls_min: u64,
    /// Length of the window in which calls are counted, in milliseconds. After one without any failure an
    /// endpoint is trusted as before.
    pub window_ms: u64,
    /// Longest time of the first ejection, in milliseconds. It doubles each time; the actual time is a random
    /// one in its upper half.
    pub base_ms: u64,
    /// Longest time of any ejection, in milliseconds.
    pub cap_ms: u64,
    /// Percentage of the endpoints that may be ejected: where it is more, all of them are used.
    pub percent_max: u32,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            after_failures: 5,
            success_percent_min: 50,
            calls_min: 100,
            window_ms: 10_000,
            base_ms: 1_000,
            cap_ms: 60_000,
            percent_max: 50,
        }
    }
}

impl Ejection {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let at_most_all = [
            ("ejection.success_percent_min", self.success_percent_min),
            ("ejection.percent_max", self.percent_max),
        ];
        if let Some((setting, percent)) =
            at_most_all.into_iter().find(|(_, percent)| *percent > 100)
        {
            let message = format!("`{setting}` is {percent} and must be at most 100");
            return Err(ConfigError::new(setting, message));
        }

        Ok(())
    }
}
