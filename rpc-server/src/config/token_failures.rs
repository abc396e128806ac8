//! Wrong tokens.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// Limits on guessing tokens. Wrong tokens are counted by address; the addresses of an IPv6 /64 network count as one.
/// Peers on Unix sockets have no address and are not limited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TokenFailures {
    /// How long the answer to a wrong token is held back, in milliseconds.
    pub delay_ms: u64,
    /// Number of wrong tokens from one address, within `token_failures.window_ms`, after which further tokens from it
    /// are refused with code 8 without being checked.
    pub per_address: u32,
    /// Period over which the wrong tokens of an address are counted, in milliseconds.
    pub window_ms: u64,
    /// Maximum number of addresses whose wrong tokens are remembered. A further one replaces the oldest.
    pub addresses_max: usize,
}

impl Default for TokenFailures {
    fn default() -> Self {
        Self {
            delay_ms: 1_000,
            per_address: 10,
            window_ms: 60_000,
            addresses_max: 4_096,
        }
    }
}

impl TokenFailures {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("token_failures.per_address", u64::from(self.per_address)),
            ("token_failures.addresses_max", self.addresses_max as u64),
        ])
    }
}
