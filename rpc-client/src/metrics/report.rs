//! Reports of a client's counters.

use std::collections::BTreeMap;

use rpc_core::CmdId;
use rpc_core::metrics::codes::{CODES, by_name};
use rpc_core::metrics::histogram::Latencies;
use serde::Serialize;

use super::{CommandCounts, Metrics, REASONS};

/// What a client has counted since it was made, all of its clones together; see
/// [`Client::report`](crate::Client::report).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What the client calls, as it was given.
    pub target: String,
    /// The commands that were called, by their numbers; all beyond `limits.metrics_commands_max` are the last one
    /// together.
    pub commands: Vec<CommandReport>,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that were ever opened.
    pub connections_opened: u64,
    /// Of those, the ones that replaced one that was over.
    pub reconnects: u64,
    /// Number of times an endpoint was ejected.
    pub ejections: u64,
}

/// The part of a [`Report`] about one command.
///
/// A call is tried once, and again where that is allowed. Each try ends once: it is `answered`, or `unanswered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CommandReport {
    /// The command; `None` for all that are not counted apart.
    pub cmdid: Option<u32>,
    /// Tries that wait for their reply.
    pub in_flight: u64,
    /// Tries that a server has answered, by the name of the reply's code; those of services are `OF_SERVICES` together.
    /// These are the servers' own counts, where no answer was lost on its way.
    pub answered: BTreeMap<&'static str, u64>,
    /// Tries without an answer: `not_sent` (no connection in time), `lost` (with the connection), `deadline`,
    /// `given_up` (dropped by the caller), `unreadable` (a reply that breaks the protocol, or a stream that was read
    /// too slowly).
    pub unanswered: BTreeMap<&'static str, u64>,
    /// Retries: further tries of calls whose last try had failed.
    pub retries: u64,
    /// Hedges: second tries that were started because the first one was slow.
    pub hedges: u64,
    /// Oneway calls that were sent.
    pub oneway: u64,
    /// From when its connection saw a try to its reply; of a stream to its end.
    pub latency: LatencyReport,
    #[serde(skip)]
    pub(super) latencies: Latencies,
}

/// Latencies in microseconds. The quantiles are exact to an eighth of themselves, and 0 without calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LatencyReport {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum_us: u64,
    /// Half of them are below this.
    pub p50_us: u64,
    /// 99 of 100 are below this.
    pub p99_us: u64,
    /// 999 of 1,000 are below this.
    pub p999_us: u64,
}

impl CommandReport {
    /// Calls that have ended: tries without retries and backups.
    pub fn calls(&self) -> u64 {
        let ended: u64 = self.answered.values().chain(self.unanswered.values()).sum();
        ended.saturating_sub(self.retries + self.hedges)
    }

    fn new(cmdid: Option<CmdId>, counts: CommandCounts, in_flight: u64) -> Self {
        let (codes, reasons) = counts.ends.split_at(CODES);
        let reasons = REASONS.into_iter().zip(reasons.iter().copied());

        Self {
            cmdid: cmdid.map(CmdId::number),
            in_flight,
            answered: by_name(codes.iter().copied()),
            unanswered: reasons.filter(|(_, count)| *count > 0).collect(),
            retries: counts.retries,
            hedges: counts.hedges,
            oneway: counts.oneway,
            latency: LatencyReport::new(&counts.latency),
            latencies: counts.latency,
        }
    }
}

impl LatencyReport {
    fn new(latencies: &Latencies) -> Self {
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
    /// What was counted until now. Each count is exact; read together they may be a few calls apart, since nothing
    /// stops the client to read them.
    pub(crate) fn report(&self, target: &str) -> Report {
        let watched: Vec<_> = {
            let connections = self.connections();
            let alive = connections.all.iter().filter_map(std::sync::Weak::upgrade);
            alive.filter(|connection| connection.is_open()).collect()
        };

        let mut in_flight: BTreeMap<CmdId, u64> = BTreeMap::new();
        for connection in &watched {
            connection.each_in_flight(&mut |cmdid| *in_flight.entry(cmdid).or_default() += 1);
        }

        let mut counts = self.counts();
        for cmdid in in_flight.keys() {
            // One that has not ended yet has its place already.
            counts.command(*cmdid, self.commands_max);
        }

        let mut commands: Vec<_> = counts
            .commands
            .iter()
            .map(|(cmdid, counts)| {
                let in_flight = in_flight.remove(cmdid).unwrap_or(0);
                CommandReport::new(Some(*cmdid), counts.clone(), in_flight)
            })
            .collect();
        let other = CommandReport::new(None, counts.other.clone(), in_flight.values().sum());
        if other.calls() + other.in_flight + other.oneway > 0 {
            commands.push(other);
        }

        Report {
            target: target.to_owned(),
            commands,
            connections_open: watched.len() as u64,
            connections_opened: counts.connections_opened,
            reconnects: counts.reconnects,
            ejections: counts.ejections,
        }
    }
}
