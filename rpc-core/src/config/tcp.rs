//! Settings of TCP sockets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::keepalive::Keepalive;

/// Detection of peers that vanish without closing their connection: after a power cut, with a pulled cable, or behind a
/// firewall that forgets the connection. Two socket options watch each TCP connection. Keepalive sends probes while
/// nothing is received, and the user timeout bounds how long sent bytes may stay unacknowledged. The defaults find a
/// dead peer within 11 s on a busy connection and within 20 s on an idle one. Unix sockets need neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// Idle time before keepalive probes are sent, in milliseconds, rounded up to seconds as the system counts
    /// them; 0 turns probes off.
    pub keepalive_idle_ms: u64,
    /// Time between two keepalive probes, in milliseconds, rounded up to seconds.
    pub keepalive_interval_ms: u64,
    /// Number of keepalive probes without an answer after which the connection is dead.
    pub keepalive_probes: u32,
    /// Maximum time that sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`), in milliseconds; 0 leaves it to the
    /// system. The system applies this limit to keepalive probes as well, so that one lost probe could end an idle
    /// connection. Therefore the limit is raised above the time of all probes while a connection is idle.
    pub user_timeout_ms: u64,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            keepalive_idle_ms: 10_000,
            keepalive_interval_ms: 3_000,
            keepalive_probes: 3,
            user_timeout_ms: 10_000,
        }
    }
}

impl Tcp {
    /// Checks what would make a connection that is never watched although it should be.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.keepalive_idle_ms == 0 {
            return Ok(());
        }

        ConfigError::unless_positive(&[("tcp.keepalive_probes", u64::from(self.keepalive_probes))])
    }

    /// The settings as the system takes them.
    pub fn keepalive(&self) -> Keepalive {
        Keepalive::new(
            Duration::from_millis(self.keepalive_idle_ms),
            Duration::from_millis(self.keepalive_interval_ms),
            self.keepalive_probes,
            Duration::from_millis(self.user_timeout_ms),
        )
    }
}
