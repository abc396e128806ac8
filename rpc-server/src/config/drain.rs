//! The end of a connection.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// How the server ends a connection: when it drains before a stop, or when the connection has reached its maximum age
/// or number of requests. The client is asked to go away, and accepted calls are answered before the connection closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Time in milliseconds for which a draining connection without calls in flight stays open, so that requests that
    /// are already on their way are answered with `rejected`.
    pub goaway_grace_ms: u64,
    /// Maximum time for calls in flight during a drain, in milliseconds. After that, they are dropped, and their
    /// callers get code 14. A connection that has reached its maximum age or number of requests is drained after this
    /// time, even if its client keeps using it.
    pub timeout_ms: u64,
    /// Age in milliseconds, with ±10 % jitter, at which a connection is asked to go away, so that clients also connect
    /// to new servers; 0: no limit. A connection that has used an `id` receives `goaway`. Requests that still arrive
    /// are answered, and the connection is closed `drain.goaway_grace_ms` after the last one. A connection without ids
    /// is closed between two calls. One on which no request has arrived yet stays open until its first request is
    /// answered.
    pub connection_age_max_ms: u64,
    /// Number of requests after which a connection is asked to go away, as at `drain.connection_age_max_ms`; 0: no
    /// limit. Requests that arrive together with the last one are answered, too.
    pub requests_per_connection_max: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            goaway_grace_ms: 500,
            timeout_ms: 10_000,
            connection_age_max_ms: 0,
            requests_per_connection_max: 0,
        }
    }
}

impl Drain {
    /// Checks the group by itself: every value works.
    ///
    /// # Errors
    /// None today.
    pub fn check(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    pub(crate) fn goaway_grace(&self) -> Duration {
        Duration::from_millis(self.goaway_grace_ms)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The age at which one connection goes away: connections that began together end apart.
    pub(crate) fn connection_age(&self) -> Option<Duration> {
        let jitter = 0.9 + 0.2 * fastrand::f64();
        let age = Duration::from_millis(self.connection_age_max_ms);
        (!age.is_zero()).then(|| age.mul_f64(jitter))
    }
}
