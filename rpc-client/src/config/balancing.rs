//! The choice of an endpoint.

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

/// The choice of an endpoint for each call, where there are several, or several connections to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "the group `balance`, where `balance.policy` has what `balance` once had"
)]
pub struct Balancing {
    /// How a call's endpoint is chosen.
    pub policy: Balance,
    /// Time in which the latency of an endpoint that the balancer remembers fades to a third, in milliseconds.
    /// Longer leaves an endpoint that was slow alone for longer.
    pub latency_decay_ms: u64,
    /// Latencies below this count as equal, in milliseconds.
    pub latency_floor_ms: u64,
}

impl Default for Balancing {
    fn default() -> Self {
        Self {
            policy: Balance::PowerOfTwo,
            latency_decay_ms: 1_000,
            latency_floor_ms: 1,
        }
    }
}

impl Balancing {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[("balance.latency_decay_ms", self.latency_decay_ms)])
    }
}

/// How a call's endpoint is chosen. A call with a [`hash_key`](crate::Command::hash_key) goes where its
/// key belongs, whatever is set here.
///
/// In a file: `"power_of_two"` or `"round_robin"`.
///
/// ```
/// use rpc_client::{Balance, Client, Config};
///
/// let in_turn = Config::default().with(|config| config.balance.policy = Balance::RoundRobin);
/// let client = Client::with_config("10.0.0.1:8889,10.0.0.2:8889", in_turn);
/// # let _ = client;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Of two random ones, the one with the lower product of calls in flight and latency.
    #[default]
    PowerOfTwo,
    /// One after another, however fast they are.
    RoundRobin,
}
