//! The beginning of a connection.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// The beginning of a connection, from its acceptance to its first good line: its time limits, and limits on the number
/// of connections in this phase. A good line is a valid request; every other line is a bad line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Accept {
    /// Maximum number of TLS handshakes at the same time. Further ones wait for their turn, at most for
    /// `accept.handshake_timeout_ms`.
    pub handshakes_max: usize,
    /// Maximum time of a TLS handshake, in milliseconds. After that, the connection is closed.
    pub handshake_timeout_ms: u64,
    /// Maximum time until a connection has authenticated, in milliseconds, if authentication is required. After that,
    /// the connection is answered with code 16 and closed.
    pub authentication_timeout_ms: u64,
    /// Maximum time from the beginning of a connection to the end of its first good line, in milliseconds. After that,
    /// the connection is answered with code 4 and closed. 0: no limit. This is the default, because a client may
    /// connect when it starts and call much later. Set a limit on addresses that unknown clients can reach.
    pub first_frame_timeout_ms: u64,
    /// Maximum number of refused connections that are told the reason at the same time. Further ones are closed without
    /// a reply.
    pub refusals_max: usize,
}

impl Default for Accept {
    fn default() -> Self {
        Self {
            handshakes_max: 1_000,
            handshake_timeout_ms: 10_000,
            authentication_timeout_ms: 10_000,
            first_frame_timeout_ms: 0,
            refusals_max: 256,
        }
    }
}

impl Accept {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("accept.handshakes_max", self.handshakes_max as u64),
            ("accept.handshake_timeout_ms", self.handshake_timeout_ms),
            (
                "accept.authentication_timeout_ms",
                self.authentication_timeout_ms,
            ),
        ])
    }

    pub(crate) fn first_frame_timeout(&self) -> Duration {
        Duration::from_millis(self.first_frame_timeout_ms)
    }
}
