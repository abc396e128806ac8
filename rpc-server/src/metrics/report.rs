//! Reports of the counters, for `stats` and the pages.

use serde::Serialize;

use super::lately::WindowReports;
use super::{
    CommandName, CommandTotals, ConnectionReport, Counts, Failing, Lately, Latencies, Metrics,
    ProcessReport, RecentReport, RuntimeReport, ServerStats, Severity, WindowReport,
};

/// All that a server knows of itself: what the pages show, and `stats` beside the counters of its connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What it is.
    pub build: BuildReport,
    /// How long it has been there, in milliseconds.
    pub uptime_ms: u64,
    /// Whether all is well.
    pub health: HealthReport,
    /// The last minutes.
    pub recent: RecentReport,
    /// Its counters.
    pub server: ServerStats,
    /// Those of its commands that were ever called.
    pub commands: Vec<CommandReport>,
    /// How long requests waited before they began.
    pub waits: WaitReport,
    /// Its threads for work that blocks.
    pub blocking: BlockingReport,
    /// How near it is to its limits.
    pub limits: Vec<LimitReport>,
    /// How its runtimes are.
    pub runtime: RuntimeReport,
    /// What the system says of the process.
    pub process: ProcessReport,
    /// The connections that have carried the most requests, as many as were asked for.
    pub connections: Vec<ConnectionReport>,
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuildReport {
    /// Its name, as `describe` gives it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of this library.
    pub library: &'static str,
    /// Whether it was compiled with checks for debugging.
    pub is_debug: bool,
}

/// Whether all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// Whether new connections and calls are welcome.
    pub is_ready: bool,
    /// How bad the worst of the problems is.
    pub severity: Severity,
    /// All in a few words.
    pub headline: &'static str,
    /// What is not well, each as a sentence; the worst first.
    pub problems: Vec<String>,
}

impl HealthReport {
    /// Of a server that takes new work, in spite of these problems.
    pub(crate) fn ready(problems: Vec<String>) -> Self {
        let (severity, headline) = match problems.is_empty() {
            false => (Severity::Warning, "Serving, with warnings:"),
            true => (Severity::Good, "All is well."),
        };

        Self {
            is_ready: true,
            severity,
            headline,
            problems,
        }
    }

    /// Of one that takes none, for the first of these problems.
    pub(crate) fn not_ready(problems: Vec<String>) -> Self {
        Self {
            is_ready: false,
            severity: Severity::Critical,
            headline: "Not ready for new work:",
            problems,
        }
    }

    /// Adds that calls fail. A server that is not ready says that first.
    pub(crate) fn with_failing(mut self, failing: Option<Failing>) -> Self {
        let Some(Failing { severity, problem }) = failing else {
            return self;
        };

        if severity > self.severity {
            self.severity = severity;
            self.headline = match severity {
                Severity::Critical => "Serving, but many calls fail:",
                _ => "Serving, with warnings:",
            };
        }

        // Behind what keeps calls away, and before what may do so.
        let place = if self.is_ready {
            0
        } else {
            self.problems.len()
        };
        self.problems.insert(place, problem);
        self
    }
}

/// The figures of a pool of threads for work that blocks
/// ([`BlockingPool`](crate::blocking::BlockingPool)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlockingReport {
    /// Maximum number of threads at work, `blocking.threads_max`.
    pub threads_max: u64,
    /// Pieces of work that run now, in a thread each.
    pub running: u64,
    /// Pieces of work that wait now for a thread.
    pub waiting: u64,
    /// Pieces of work that have begun.
    pub started: u64,
    /// Pieces of work that were refused at `blocking.waiting_per_connection`.
    pub refused: u64,
    /// Pieces of work that were not begun because their calls ended first.
    pub abandoned: u64,
}

/// How near a limit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitReport {
    /// The setting, or what the system calls it.
    pub name: &'static str,
    /// How much is used.
    pub used: u64,
    /// How much there may be.
    pub max: u64,
}

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
    /// Bytes of params received.
    pub params_bytes: u64,
    /// Bytes of data that were answered, those of streams not among them.
    pub data_bytes: u64,
    /// From the receipt of a request to just before its reply is written, since the start.
    pub latency: LatencyReport,
    /// The last minute, and up to ten seconds more.
    pub minute: WindowReport,
    /// The last five minutes, and up to ten seconds more.
    pub five_minutes: WindowReport,
}

/// Times in microseconds, exact to an eighth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
    fn new(name: &CommandName, totals: &CommandTotals, recent: WindowReports) -> Self {
        Self {
            cmdid: name.cmdid,
            service: name.service.clone(),
            method: name.method.clone(),
            calls: totals.by_code(),
            in_flight: totals.in_flight,
            params_bytes: totals.params_bytes,
            data_bytes: totals.data_bytes,
            latency: LatencyReport::new(&totals.latency),
            minute: recent.minute,
            five_minutes: recent.five_minutes,
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
    pub(crate) fn command_reports(&self, lately: &Lately) -> Vec<CommandReport> {
        let used = |totals: &CommandTotals| {
            totals.in_flight > 0 || totals.calls.iter().any(|calls| *calls > 0)
        };

        let commands = self.command_totals().enumerate();
        let reports = commands.filter(|(_, (_, totals))| used(totals));
        reports
            .map(|(place, (name, totals))| {
                CommandReport::new(name, &totals, lately.of_command(place))
            })
            .collect()
    }

    pub(crate) fn wait_report(&self) -> WaitReport {
        let waits = self.waits();
        WaitReport {
            in_order: LatencyReport::new(&waits.in_order),
            for_room: LatencyReport::new(&waits.for_room),
        }
    }
}
