//! Lines that lead to nothing.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Limits on lines that cost a peer nothing: bad lines (those that are not a valid request), and lines that no other
/// limit counts, such as pings and cancels. A connection that floods the server with them is slowed down, and then
/// closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Maximum number of cheap lines per second on one connection; they may come all at once, and further ones wait
    /// unread. 0: no limit. Cheap lines are pings and other built-in commands, cancels, credits beyond one for each
    /// item, empty and bad lines, unknown commands, calls with wrong params (code 3), and calls that do not run because
    /// their time is up or there is no room.
    pub frames_per_second: u32,
    /// How long a connection may keep sending more than `throttle.frames_per_second`, in milliseconds. After that, the
    /// connection is refused with code 8 and closed.
    pub timeout_ms: u64,
    /// Number of bad lines in a row after which a connection is closed. Before its first good line,
    /// one bad line closes it.
    pub bad_frames_in_a_row_max: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            frames_per_second: 10_000,
            timeout_ms: 10_000,
            bad_frames_in_a_row_max: 16,
        }
    }
}

impl Throttle {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[(
            "throttle.bad_frames_in_a_row_max",
            u64::from(self.bad_frames_in_a_row_max),
        )])
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
