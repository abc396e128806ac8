//! Health of the server, and its distance to each limit.

use std::time::Duration;

use super::Shared;
use crate::metrics::{HealthReport, LimitReport, ServerStats, get};
use crate::shutdown::Stage;

/// Timers that fire as late as this have handlers behind them that block their threads, or too much work.
const LAG_NOTICED: Duration = Duration::from_millis(100);

/// The share of a limit from which on it is told, in percent: there is still time to do something.
const NEAR_PERCENT: u64 = 90;

impl Shared {
    /// What is not well, with the limits as they are: first what keeps new connections and calls away, then what
    /// will.
    pub(crate) fn health(&self, limits: &[LimitReport]) -> HealthReport {
        let mut problems = Vec::new();

        // Relaxed: whoever asks a moment later gets the other answer.
        if self.stop.stage() > Stage::Serving {
            problems.push("The server is draining: it takes no new connections.".to_owned());
        }

        let accept_degraded = get(&self.metrics.limits.accept_degraded);
        if accept_degraded > 0 {
            problems.push(
                "No connection can be accepted: no descriptor or memory is left for one."
                    .to_owned(),
            );
        }

        for LimitReport { name, used, max } in
            limits.iter().filter(|limit| limit.keeps_others_away())
        {
            problems.push(format!(
                "`{name}` is reached ({used} of {max}): what is new is turned away."
            ));
        }

        let is_ready = problems.is_empty();
        for LimitReport { name, used, max } in limits.iter().filter(|limit| limit.is_near()) {
            problems.push(format!("`{name}` is near: {used} of {max}."));
        }

        let lag = self.metrics.pulse.recent_max();
        if lag >= LAG_NOTICED {
            let ms = lag.as_millis();
            problems.push(format!(
                "The runtime was {ms} ms late within the last minute: a handler blocks its thread, or there is \
                 too much to do."
            ));
        }

        HealthReport { is_ready, problems }
    }

    /// How near the limits are, with the counters as they are.
    pub(crate) fn limits(&self, stats: &ServerStats) -> Vec<LimitReport> {
        let (metrics, config) = (&self.metrics, &self.config);
        let limit = |name, used: u64, max: usize| LimitReport {
            name,
            used,
            max: max as u64,
        };

        let mut limits = vec![
            limit(
                "connections_max",
                stats.connections_open,
                config.connections_max,
            ),
            limit(
                PER_CONNECTION,
                metrics.open.most_in_flight().into(),
                config.in_flight_per_connection,
            ),
        ];

        limits.push(LimitReport {
            name: if config.adaptive_concurrency {
                "adaptive_concurrency"
            } else {
                "in_flight_max"
            },
            used: stats.in_flight,
            max: stats.limits.in_flight_limit,
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

/// The system's limit, under the name that `ulimit -n` prints.
const DESCRIPTORS: &str = "open files";

/// At this one only the connection that is there has to wait.
const PER_CONNECTION: &str = "in_flight_per_connection";

impl LimitReport {
    fn keeps_others_away(&self) -> bool {
        self.used >= self.max && self.name != PER_CONNECTION
    }

    fn is_near(&self) -> bool {
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
                name: "connections_max",
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
