//! Reports of the server about itself: its counters, its health and its limits, for `stats` and the pages.

mod headroom;
mod health;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::blocking::BlockingPool;
use crate::config::Config;
use crate::limit::{Admission, Changeable, Memory};
use crate::metrics::{BuildReport, Metrics, Report, ServerStats};
use crate::peer_log::PeerLog;
use crate::shutdown::Stop;
pub(crate) use health::NotServing;
pub use health::{ServiceHealth, UnknownService};

/// Knows everything that a server tells of itself.
pub(crate) struct Reporter {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) config: Arc<Config>,
    pub(crate) changeable: Arc<Changeable>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Arc<Access>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) blocking: BlockingPool,
    pub(crate) stop: Arc<Stop>,
    pub(crate) log: Arc<PeerLog>,
    /// The connections that count towards `limits.connections_max`.
    pub(crate) connections: TaskTracker,
    /// The services that commands belong to.
    pub(crate) services: BTreeSet<String>,
    pub(crate) not_serving: NotServing,
}

impl Reporter {
    pub(crate) fn stats(&self) -> ServerStats {
        let mut stats = self.metrics.snapshot(self.access.stats());
        stats.limits.in_flight_limit = self.admission.limit();
        stats.limits.memory_bytes_peak = self.memory.peak();
        stats
    }

    /// All that the server knows of itself, with the `listed` busiest connections, last failures and
    /// slowest calls: they name peers.
    pub(crate) fn report(&self, listed: usize) -> Report {
        let metrics = &self.metrics;

        // Each is read once: what is shown of them fits together.
        let server = self.stats();
        let limits = self.headroom(&server);
        let lately = metrics.lately();
        let failing = lately.failing(&metrics.commands);

        Report {
            build: BuildReport {
                name: self.name.clone(),
                version: self.version.clone(),
                library: env!("CARGO_PKG_VERSION"),
                is_debug: cfg!(debug_assertions),
            },
            uptime_ms: u64::try_from(metrics.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            health: self.health(&limits).with_failing(failing),
            recent: metrics.recent_report(&lately, listed),
            server,
            commands: metrics.command_reports(&lately),
            waits: metrics.wait_report(),
            blocking: self.blocking.report(),
            limits,
            runtime: metrics.runtime_lag.report(),
            process: metrics.process.report(),
            connections: metrics.connections.busiest(listed),
        }
    }
}
