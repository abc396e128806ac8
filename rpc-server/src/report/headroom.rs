//! The distance to each limit of the server.

use super::Reporter;
use crate::metrics::{LimitReport, ServerStats};

/// The share of a limit from which on it is told, in percent: there is still time to do something.
const NEAR_PERCENT: u64 = 90;

/// The system's limit, under the name that `ulimit -n` prints.
const DESCRIPTORS: &str = "open files";

/// At these only the connection that is there has to wait.
const PER_CONNECTION: &str = "admission.in_flight_per_connection";
const PER_CONNECTION_BYTES: &str = "limits.connection_bytes_max";

/// At this one the largest holders have to wait.
const MEMORY: &str = "limits.memory_bytes_max";

impl Reporter {
    /// How near the limits are, with the counters as they are.
    pub(crate) fn headroom(&self, stats: &ServerStats) -> Vec<LimitReport> {
        let (metrics, config) = (&self.metrics, &self.config);
        let limit = |name, used: u64, max: usize| LimitReport {
            name,
            used,
            max: max as u64,
        };

        let mut limits = vec![
            limit(
                "limits.connections_max",
                self.connections.len() as u64,
                self.changeable.connections_max(),
            ),
            limit(
                PER_CONNECTION,
                metrics.connections.most_in_flight().into(),
                config.admission.in_flight_per_connection,
            ),
        ];

        limits.push(LimitReport {
            name: if config.admission.adaptive {
                "admission.adaptive"
            } else {
                "admission.in_flight_max"
            },
            used: stats.in_flight,
            max: stats.limits.in_flight_limit,
        });

        limits.push(limit(
            PER_CONNECTION_BYTES,
            metrics.connections.most_held_bytes(),
            config.limits.connection_bytes_max,
        ));
        limits.push(LimitReport {
            name: MEMORY,
            used: self.memory.held(),
            max: self.memory.limit(),
        });

        let process = metrics.process.report();
        if let (Some(used), Some(max)) = (process.open_descriptors, process.descriptors_max) {
            limits.push(LimitReport {
                name: DESCRIPTORS,
                used,
                max,
            });
        }

        limits
    }
}

impl LimitReport {
    pub(super) fn keeps_others_away(&self) -> bool {
        self.used >= self.max
            && ![PER_CONNECTION, PER_CONNECTION_BYTES, MEMORY].contains(&self.name)
    }

    pub(super) fn is_near(&self) -> bool {
        self.used < self.max
            && u128::from(self.used) * 100 >= u128::from(self.max) * u128::from(NEAR_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_nine_tenths_and_reached_is_all_of_it() {
        let at = |used, max| {
            let limit = LimitReport {
                name: "limits.connections_max",
                used,
                max,
            };
            (limit.is_near(), limit.keeps_others_away())
        };

        assert_eq!(
            [at(89, 100), at(90, 100), at(99, 100)],
            [(false, false), (true, false), (true, false)]
        );
        assert_eq!(
            [at(100, 100), at(101, 100), at(u64::MAX, u64::MAX)],
            [(false, true); 3]
        );
    }
}
