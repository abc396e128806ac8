//! Health of the server and of its services.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use super::Reporter;
use crate::metrics::{HealthReport, LimitReport, get};
use crate::shutdown::Stage;
use crate::sync::{Mutex, MutexGuard};

/// Timers that fire as late as this have handlers behind them that block their threads, or too much work.
const LAG_NOTICED: Duration = Duration::from_millis(100);

/// The health of one service, as the program that offers it sets it with
/// [`ServerHandle::set_service_health`](crate::ServerHandle::set_service_health).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceHealth {
    /// Its calls are welcome. Every service begins like this.
    #[default]
    Serving,
    /// Its calls should go elsewhere: what it depends on is missing, for example. Calls that come are still answered.
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

impl Reporter {
    /// Sets the health of a service.
    pub(crate) fn set_service_health(
        &self,
        service: &str,
        health: ServiceHealth,
    ) -> Result<(), UnknownService> {
        if !self.has_service(service) {
            return Err(UnknownService {
                service: service.to_owned(),
                known: self.services.iter().cloned().collect(),
            });
        }

        if self.not_serving.set(service, health) {
            self.log.service_health.write(|| match health {
                ServiceHealth::Serving => tracing::info!(service, "the service is serving again"),
                ServiceHealth::NotServing => tracing::warn!(service, "the service is not serving"),
            });
        }

        Ok(())
    }

    /// Whether any command belongs to the service.
    pub(crate) fn has_service(&self, service: &str) -> bool {
        self.services.contains(service)
    }

    /// The answer of command 2, `health`: that of one service, or without one that of the whole server,
    /// which is `serving` exactly when `/readyz` says that it is ready.
    pub(crate) fn health_status(&self, service: Option<&str>) -> &'static str {
        // Relaxed: a later question gets the other answer.
        if self.stop.stage() > Stage::Serving {
            return "draining";
        }

        let limits = self.headroom(&self.stats());
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
            problems.push(format!("`{name}` is almost reached: {used} of {max}."));
        }

        let lag = self.metrics.runtime_lag.recent_max();
        if lag >= LAG_NOTICED {
            let ms = lag.as_millis();
            problems.push(format!(
                "The runtime was {ms} ms late within the last minute: a handler blocks its thread, or the machine is \
                 overloaded."
            ));
        }

        match is_ready {
            true => HealthReport::ready(problems),
            false => HealthReport::not_ready(problems),
        }
    }

    /// What keeps new connections and calls away from the whole server.
    fn reasons_to_stay_away(&self, limits: &[LimitReport]) -> Vec<String> {
        let mut problems = Vec::new();

        // Relaxed: a caller that asks a moment later gets the other answer.
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
                "`{name}` is reached ({used} of {max}): new work is refused."
            ));
        }

        problems
    }
}
