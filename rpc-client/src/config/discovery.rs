//! Lists of endpoints.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Lists of endpoints, for a target that has to be looked up: in DNS, in a file, in etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// Longest time between two lookups of a target in DNS, in milliseconds; where the resolver tells how long
    /// an answer holds, and that is shorter, it is asked again then. An etcd is asked as often, beside being
    /// watched.
    pub resolve_interval_ms: u64,
    /// Shortest time between two lookups in DNS, in milliseconds, however short its answers hold; also where
    /// the back-off of failing lookups begins.
    pub resolve_interval_min_ms: u64,
    /// Time between two looks at a file of endpoints, in milliseconds.
    pub file_interval_ms: u64,
    /// Longest file, or answer of an etcd, that lists endpoints, in bytes. A longer one is a failure.
    pub bytes_max: u64,
    /// Maximum number of endpoints in a list. A longer list is a failure.
    pub endpoints_max: usize,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            resolve_interval_ms: 10_000,
            resolve_interval_min_ms: 1_000,
            file_interval_ms: 1_000,
            bytes_max: 1024 * 1024,
            endpoints_max: 1_024,
        }
    }
}

impl Discovery {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("discovery.resolve_interval_ms", self.resolve_interval_ms),
            ("discovery.file_interval_ms", self.file_interval_ms),
            ("discovery.bytes_max", self.bytes_max),
            ("discovery.endpoints_max", self.endpoints_max as u64),
        ])
    }
}
