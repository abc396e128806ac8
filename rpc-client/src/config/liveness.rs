//! Pings.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Pings that find a server that is silent although its system is there: one that hangs, is stopped, or is behind a
/// proxy that acknowledges for it. A connection that has never used an id is not pinged: its server may know
/// none, and its answer would be taken for that of another call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Liveness {
    /// Received silence, in milliseconds, after which the server is asked with a `ping`, and again after each
    /// such time; 0 turns it off. Only what is received counts, however much is sent. A server that has stopped
    /// reading at its own `admission.in_flight_per_connection` does not answer: if that number of calls take longer
    /// than `liveness.ping_misses_max` + 1 intervals, keep `limits.in_flight_per_connection` below it, or make
    /// this longer.
    pub ping_interval_ms: u64,
    /// Number of pings in a row with nothing received in their interval after which the connection is dead.
    pub ping_misses_max: u32,
    /// Whether a connection is pinged that has no call in flight and has sent nothing either: two short lines
    /// an interval. Without it, only TCP keepalive watches an idle connection, at the cost of one packet each
    /// way in `tcp.keepalive_idle_ms` and without waking a process; a server that is stopped is then noticed by
    /// the next calls only.
    pub ping_idle: bool,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            ping_interval_ms: 5_000,
            ping_misses_max: 2,
            ping_idle: true,
        }
    }
}

impl Liveness {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.ping_interval_ms == 0 {
            return Ok(());
        }

        ConfigError::unless_positive(&[(
            "liveness.ping_misses_max",
            u64::from(self.ping_misses_max),
        )])
    }
}
