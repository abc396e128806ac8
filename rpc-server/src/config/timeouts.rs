//! Times of a connection that has been accepted.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Time limits of lines, calls and replies: how long the server waits for bytes of a peer, and how long a peer waits
/// for a handler. The limits before the first good line are in `accept`, and those at the end of a connection in
/// `drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Maximum time from the first byte of a line to its end, in milliseconds. A slower line is answered
    /// with code 4 and the connection is closed.
    pub frame_timeout_ms: u64,
    /// Maximum time of a call in milliseconds, unless the caller's `timeout_ms` is shorter. After that, the handler is
    /// cancelled, and the call fails with code 4.
    pub handler_timeout_ms: u64,
    /// Idle time in milliseconds, without a request and without a call in flight, after which a connection is asked to
    /// go away, as at `drain.connection_age_max_ms`. Unlike there, this also ends a connection on which no request has
    /// arrived yet. 0: no limit.
    pub idle_timeout_ms: u64,
    /// Maximum time without progress in writing to a peer, in milliseconds. After that, the connection is cut.
    pub write_stall_timeout_ms: u64,
    /// Time in milliseconds for which the server keeps reading after it has sent its last byte. Without this, the
    /// system could reset the connection before the peer has read that byte. If the peer still sends, the time begins
    /// again with each byte, up to `timeouts.frame_timeout_ms` in total.
    pub linger_timeout_ms: u64,
    /// Time in microseconds for which a connection polls for its next request before its thread may sleep; with 0 it
    /// may sleep at once. A client that makes one call at a time gets its replies several times faster, because no
    /// thread has to be woken. Meanwhile the connection keeps a processor busy.
    pub spin_us: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            frame_timeout_ms: 10_000,
            handler_timeout_ms: 30_000,
            idle_timeout_ms: 0,
            write_stall_timeout_ms: 10_000,
            linger_timeout_ms: 1_000,
            spin_us: 0,
        }
    }
}

impl Timeouts {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("timeouts.frame_timeout_ms", self.frame_timeout_ms),
            ("timeouts.handler_timeout_ms", self.handler_timeout_ms),
            (
                "timeouts.write_stall_timeout_ms",
                self.write_stall_timeout_ms,
            ),
        ])
    }

    pub(crate) fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.frame_timeout_ms)
    }

    pub(crate) fn handler_timeout(&self) -> Duration {
        Duration::from_millis(self.handler_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        (self.idle_timeout_ms > 0).then(|| Duration::from_millis(self.idle_timeout_ms))
    }

    pub(crate) fn write_stall_timeout(&self) -> Duration {
        Duration::from_millis(self.write_stall_timeout_ms)
    }

    pub(crate) fn linger_timeout(&self) -> Duration {
        Duration::from_millis(self.linger_timeout_ms)
    }
}
