//! Calls and bytes that a client holds.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Calls and bytes that a client holds for each connection and each stream. Where a limit is reached by the
/// caller, further calls wait for room; where it is reached by the server, the stream or the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of calls in flight on one connection; further ones wait for room.
    pub in_flight_per_connection: usize,
    /// Number of bytes of requests that wait to be written at which further calls wait for room.
    pub output_bytes_max: usize,
    /// Longest reply line in bytes, without its line break. A longer one ends the connection.
    pub frame_bytes_max: usize,
    /// Number of items that a stream may send ahead of its reader.
    pub stream_credit: u64,
    /// Maximum number of bytes of a stream's items that wait for their reader; the item that reaches it is
    /// still kept. The next one ends the stream with code 8, after those that wait. Items that the reader has taken
    /// up together, 128 of them and 64 KiB at most, do not wait any more.
    pub stream_bytes_max: usize,
    /// Number of connection events that may wait for their reader ([`Client::events`](crate::Client::events)),
    /// rounded up to a power of two. At the limit the oldest are lost, and the reader is told how many.
    pub events_max: usize,
    /// Maximum number of commands that are counted apart ([`Client::report`](crate::Client::report)), each of which
    /// takes 2 KiB; all others are counted together.
    pub metrics_commands_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_per_connection: 65_536,
            output_bytes_max: 8 * 1024 * 1024,
            frame_bytes_max: 16 * 1024 * 1024,
            stream_credit: 64,
            stream_bytes_max: 16 * 1024 * 1024,
            events_max: 64,
            metrics_commands_max: 64,
        }
    }
}

impl Limits {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            (
                "limits.in_flight_per_connection",
                self.in_flight_per_connection as u64,
            ),
            ("limits.output_bytes_max", self.output_bytes_max as u64),
            ("limits.frame_bytes_max", self.frame_bytes_max as u64),
            ("limits.stream_credit", self.stream_credit),
            ("limits.events_max", self.events_max as u64),
        ])
    }
}
