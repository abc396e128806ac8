//! Times of a call and of a connection.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Times of a call and of a connection: how long a call may take, and how long a connection is waited for, kept
/// and watched while nothing moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Maximum time of a call in milliseconds, where the call does not say: it covers connecting, waiting for
    /// room, writing and the reply.
    pub call_timeout_ms: u64,
    /// Maximum time of one attempt to connect, in milliseconds: looking up the host, dialing its addresses, TLS
    /// and authentication. The addresses are dialed 250 ms after one another, or at once when one has failed.
    pub connect_timeout_ms: u64,
    /// Time without a call after which a connection is closed, in milliseconds; it may take up to twice that.
    /// The next call opens another one. 0 keeps it.
    pub idle_timeout_ms: u64,
    /// Maximum time in milliseconds in which the server takes none of the bytes that wait for it. After it the
    /// connection is dead; 0 turns this off.
    pub write_stall_timeout_ms: u64,
    /// How long the connection stays awake for a reply before its thread may sleep, in microseconds; 0 sleeps
    /// at once. One call at a time becomes several times faster, because no thread has to be woken, and a
    /// processor is kept busy while a call waits.
    pub spin_us: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            call_timeout_ms: 5_000,
            connect_timeout_ms: 3_000,
            idle_timeout_ms: 0,
            write_stall_timeout_ms: 10_000,
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
            ("timeouts.call_timeout_ms", self.call_timeout_ms),
            ("timeouts.connect_timeout_ms", self.connect_timeout_ms),
        ])
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }
}
