//! Health of the server and of its services, and the distance to each limit.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use super::Shared;
use crate::metrics::{HealthReport, LimitReport, ServerStats, get};
use crate::shutdown::Stage;
use crate::sync::{Mutex, MutexGuard};

/// Timers that fire as late as this have handlers behind them that block their threads, or too much work.
const LAG_NOTICED: Duration = Duration::from_millis(100);

/// The share of a limit from which on it is told, in percent: there is still time to do something.
const NEAR_PERCENT: u64 = 90;

/// The health of one service, as the program that offers it sets it with
/// [`ServerHandle::set_service_health`](crate::ServerHandle::set_service_health).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceHealth {
    /// Its calls are welcome. Every service begins like this.
    #[default]
    Serving,
    /// Its calls should go elsewhere: what it depends on is missing, for example. Those that come are
    /// answered all the same.
    NotServing,
}

/// No command of the server belongs to a service of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownService {
    service: String,
    known: Vec<String>,
}

impl fmt::Display for UnknownService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, known } = self;
        let known = known.join("`, `");
        write!(
            f,
            "no command belongs to a service `{service}`; the services of this server are `{known}`"
        )
    }
}

impl Error for UnknownService {}

/// The services that do not serve, by their names.
#[derive(Debug, Default)]
pub(crate) struct NotServing(Mutex<BTreeSet<String>>);

impl NotServing {
    /// Returns whether the health of the service is another one than before.
    fn set(&self, service: &str, health: ServiceHealth) -> bool {
        let mut services = self.lock();
        match health {
            ServiceHealth::Serving => services.remove(service),
            ServiceHealth::NotServing => services.insert(service.to_owned()),
        }
    }

    /// The set is whole after each step, so a panic elsewhere does it no harm.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Sets the health of a service.
    pub(super) fn set_service_health(
        &self,
        service: &str,
        health: ServiceHealth,
    ) -> Result<(), UnknownService> {
        if !self.has_service(service) {
            let descriptors = self.routes.descriptors();
            let known: BTreeSet<_> = descriptors.iter().map(|command| &command.service).collect();
            return Err(UnknownService {
                service: service.to_owned(),
                known: known.into_iter().map(ToString::to_string).collect(),
            });
        }

        if self.not_serving.set(service, health) {
            match health {
                ServiceHealth::Serving => tracing::info!(service, "the service is serving again"),
                ServiceHealth::NotServing => tracing::warn!(service, "the service is not serving"),
            }
        }

        Ok(())
    }

    /// Whether any command belongs to the service.
    pub(crate) fn has_service(&self, service: &str) -> bool {
        let descriptors = self.routes.descriptors();
        descriptors.iter().any(|command| command.service == service)
    }

    /// The answer of command 2, `health`: that of one service, or without one that of the whole server,
    /// which is `serving` exactly when `/readyz` says that it is ready.
    pub(crate) fn health_status(&self, service: Option<&str>) -> &'static str {
        // Relaxed: a later question gets the other answer.
        if self.stop.stage() > Stage::Serving {
            return "draining";
        }

        let limits = self.limits(&self.stats());
        let is_serving = match service {
            Some(service) => {
                self.reasons_to_stay_away(&limits).is_empty()
                    && !self.not_serving.lock().contains(service)
            }
            None => self.health(&limits).is_ready,
        };

        if is_serving { "serving" } else { "not_serving" }
    }

    /// What is not well, with the limits as they are: first what keeps new connections and calls away, then what
    /// will.
    pub(crate) fn health(&self, limits: &[LimitReport]) -> HealthReport {
        let mut problems = self.reasons_to_stay_away(limits);
        for service in self.not_serving.lock().iter() {
            problems.push(format!("The service `{service}` is not serving."));
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

    /// What keeps new connections and calls away from the whole server.
    fn reasons_to_stay_away(&self, limits: &[LimitReport]) -> Vec<String> {
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

        problems
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
