//! Attempts to connect.

use std::time::Duration;

use rpc_core::backoff::Backoff;
use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Attempts to connect to a server that cannot be reached: one at a time, with a back-off with full jitter that
/// grows with the time of failing, so that clients that lose one server together do not return together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// Shortest window of the back-off between attempts to connect, in milliseconds; the first attempt after a
    /// failure is made at once. Also the age below which a connection that the server ends counts as
    /// short-lived: from the third one in a row on, the next one is opened half this time to all of it after
    /// it.
    pub base_ms: u64,
    /// Longest window of the back-off, in milliseconds. Also the longest time that a resumable stream waits because its
    /// server asks for it (`retry_after_ms`).
    pub cap_ms: u64,
    /// Longest time between attempts to connect while calls come in and fail, in milliseconds: a call shortens
    /// the back-off to a random time of half of it to all of it. 0 leaves the back-off alone.
    pub wanted_ms: u64,
    /// How long calls wait for a server that cannot be reached, in milliseconds from the first failure, or from
    /// the loss of a connection with calls; after that they fail at once, until it is back. With 0 they wait
    /// for the first attempt, however it goes, and for no other one.
    pub fail_fast_after_ms: u64,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            base_ms: 50,
            cap_ms: 5_000,
            wanted_ms: 1_000,
            fail_fast_after_ms: 1_000,
        }
    }
}

impl Reconnect {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// None today: every value works.
    pub fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    /// The back-off between attempts to connect.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(Duration::from_millis(self.base_ms), self.cap())
    }

    pub(crate) fn cap(&self) -> Duration {
        Duration::from_millis(self.cap_ms)
    }

    pub(crate) fn fail_fast_after(&self) -> Duration {
        Duration::from_millis(self.fail_fast_after_ms)
    }
}
