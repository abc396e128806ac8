//! What the counters come to, for whoever reads them.

use serde::Serialize;

use super::{CommandName, CommandTotals, Counts, Latencies, Metrics};

/// What one command has counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommandReport {
    /// Its cmdid; none for all that are not registered, which are counted together.
    pub cmdid: Option<u32>,
    /// The service that it belongs to; `other` without a cmdid.
    pub service: String,
    /// Its name there.
    pub method: String,
    /// Calls that have ended, by the name of their code.
    pub calls: Counts,
    /// Calls that run now, beyond their first step.
    pub in_flight: u64,
    /// Bytes of params that were received.
    pub params_bytes: u64,
    /// Bytes of data that were answered, those of streams not among them.
    pub data_bytes: u64,
    /// From the receipt of a request to just before its reply is written.
    pub latency: LatencyReport,
}

/// Times in microseconds, exact to an eighth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LatencyReport {
    /// How many there are.
    pub count: u64,
    /// All of them together.
    pub sum_us: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1,000 took no longer.
    pub p999_us: u64,
}

/// How long requests waited before they began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaitReport {
    /// Ordered calls, for their turn.
    pub in_order: LatencyReport,
    /// Connections that were not read, for want of room for calls or replies.
    pub for_room: LatencyReport,
}

impl CommandReport {
    fn new(name: &CommandName, totals: &CommandTotals) -> Self {
        Self {
            cmdid: name.cmdid,
            service: name.service.clone(),
            method: name.method.clone(),
            calls: totals.by_code(),
            in_flight: totals.in_flight,
            params_bytes: totals.params_bytes,
            data_bytes: totals.data_bytes,
            latency: LatencyReport::new(&totals.latency),
        }
    }
}

impl LatencyReport {
    pub(crate) fn new(latencies: &Latencies) -> Self {
        Self {
            count: latencies.count(),
            sum_us: latencies.sum_us(),
            p50_us: latencies.quantile_us(0.5),
            p99_us: latencies.quantile_us(0.99),
            p999_us: latencies.quantile_us(0.999),
        }
    }
}

impl Metrics {
    /// The commands that were ever called, or are now.
    pub(crate) fn command_reports(&self) -> Vec<CommandReport> {
        let used =
            |totals: &CommandTotals| totals.in_flight > 0 || totals.calls.iter().any(|calls| *calls > 0);
        let reports = self.command_totals().filter(|(_, totals)| used(totals));
        reports.map(|(name, totals)| CommandReport::new(name, &totals)).collect()
    }

    pub(crate) fn wait_report(&self) -> WaitReport {
        let (in_order, for_room) = self.waits();
        WaitReport { in_order: LatencyReport::new(&in_order), for_room: LatencyReport::new(&for_room) }
    }
}
