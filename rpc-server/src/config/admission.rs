//! Calls that may be in flight.

use std::time::Duration;

use rpc_core::config::ConfigError;
use serde::{Deserialize, Serialize};

use super::jittered;

/// Limits on the calls in flight: on one connection, of one peer, and in total. At the limit of a connection, its
/// further calls wait unread. At the other limits, further calls are refused at once with code 8, `rejected` and
/// `retry_after_ms`, so that the running calls stay fast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// Maximum number of calls in flight on all connections together, including ordered calls (those without an `id`)
    /// that wait for their turn. Further calls do not run: they are answered with code 8, `rejected` and
    /// `retry_after_ms`. Built-in commands are always answered. If several threads read calls at the same moment, a few
    /// more may run.
    pub in_flight_max: usize,
    /// Maximum number of calls in flight of one peer, on all of its connections together; 0: no limit. A peer is an
    /// identity or, for callers without one, an address; the addresses of an IPv6 /64 network count as one. Callers on
    /// Unix sockets are counted only if they have an identity. Further calls are refused as at
    /// `admission.in_flight_max`. The default is a quarter of `admission.in_flight_max`.
    pub in_flight_per_peer: usize,
    /// Maximum number of calls in flight on one connection, including ordered calls (those without an `id`) that wait
    /// for their turn. At the limit the server stops reading from the connection.
    pub in_flight_per_connection: usize,
    /// Whether the limit on calls in flight adapts to their latency, between `admission.adaptive_min` and
    /// `admission.in_flight_max`: it falls while calls take longer than without load, and rises while they do not. Use
    /// it for services whose calls all take about the same time, and not for long polls, which wait on purpose.
    pub adaptive: bool,
    /// Lowest limit that `admission.adaptive` chooses.
    pub adaptive_min: usize,
    /// Time after which a caller is asked to send a refused call again, in milliseconds, with ±50 % jitter, so that
    /// refused callers do not all return at the same moment.
    pub retry_after_ms: u64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            in_flight_max: 32_768,
            in_flight_per_peer: 8_192,
            in_flight_per_connection: 1024,
            adaptive: false,
            adaptive_min: 16,
            retry_after_ms: 200,
        }
    }
}

impl Admission {
    /// Checks the group by itself.
    ///
    /// # Errors
    /// The setting, its value, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_positive(&[
            ("admission.in_flight_max", self.in_flight_max as u64),
            (
                "admission.in_flight_per_connection",
                self.in_flight_per_connection as u64,
            ),
            ("admission.adaptive_min", self.adaptive_min as u64),
        ])?;

        let (least, most) = (self.adaptive_min, self.in_flight_max);
        if self.adaptive && least > most {
            let message = format!(
                "`admission.adaptive_min` ({least}) must not be above `admission.in_flight_max` ({most})"
            );
            return Err(ConfigError::new("admission.adaptive_min", message));
        }

        Ok(())
    }

    /// Time after which a refused call is to come back: calls that were refused together come back apart.
    pub(crate) fn retry_after(&self) -> Duration {
        jittered(self.retry_after_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_adaptive_limit_is_below_the_fixed_one() {
        let crossed = Admission {
            adaptive: true,
            in_flight_max: 8,
            ..Admission::default()
        };
        let error = crossed.check().unwrap_err();

        assert_eq!(error.setting(), "admission.adaptive_min");
        assert!(
            error.to_string().contains("`admission.in_flight_max` (8)"),
            "{error}"
        );
    }

    #[test]
    fn what_is_shed_comes_back_around_its_time() {
        let admission = Admission {
            retry_after_ms: 100,
            ..Admission::default()
        };
        let times: Vec<_> = (0..1_000)
            .map(|_| admission.retry_after().as_millis())
            .collect();

        assert!(times.iter().all(|ms| (50..=150).contains(ms)));
        assert!(times.iter().min() < times.iter().max());
    }
}
