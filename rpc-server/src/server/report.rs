//! The report of a server: its counters, its health and its limits, for `stats` and the pages.

use super::Shared;
use crate::metrics::{BuildReport, Report};

impl Shared {
    /// All that the server knows of itself, with the `listed` busiest connections.
    pub(crate) fn report(&self, listed: usize) -> Report {
        let metrics = &self.metrics;

        // Each is read once: what is shown of them fits together.
        let server = self.stats();
        let limits = self.limits(&server);

        Report {
            build: BuildReport {
                name: self.name.clone(),
                version: self.version.clone(),
                library: env!("CARGO_PKG_VERSION"),
                is_debug: cfg!(debug_assertions),
            },
            uptime_ms: u64::try_from(metrics.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            health: self.health(&limits),
            server,
            commands: metrics.command_reports(),
            waits: metrics.wait_report(),
            blocking: self.blocking.report(),
            limits,
            runtime: metrics.pulse.report(),
            process: metrics.process.report(),
            connections: metrics.open.busiest(listed),
        }
    }
}
