//! Counters of the server: what they cost, and what they show.
//!
//! What calls count is spread over a few shards, of which each thread uses one, and told once for many calls
//! (`connection`): connections do not fight over cache lines. What happens seldom is counted in one place.

mod access;
mod connection;
mod connections;
mod histogram;
mod lately;
mod limit_counters;
mod notable;
mod process;
mod recent;
mod report;
mod runtime_lag;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub(crate) use rpc_core::metrics::codes::Counts;
use rpc_core::metrics::codes::{CODES, by_name, code_index, name_of};
use rpc_core::{Code, Descriptor};
use serde::Serialize;

use crate::sync::AtomicU64;
use recent::Recent;

pub(crate) use access::AccessCounters;
pub use access::AccessStats;
pub(crate) use connection::{ConnectionMetrics, ConnectionStats, Ended};
pub use connections::ConnectionReport;
pub(crate) use connections::OpenConnections;
pub(crate) use histogram::{Histogram, Latencies};
pub(crate) use lately::Failing;
pub use lately::{CallReport, FailureReport, HistoryReport, RecentReport, Severity, WindowReport};
pub(crate) use limit_counters::LimitCounters;
pub use limit_counters::LimitStats;
pub(crate) use notable::Notable;
pub(crate) use process::Process;
pub use process::ProcessReport;
pub(crate) use recent::Lately;
pub use report::{
    BlockingReport, BuildReport, CommandReport, HealthReport, LatencyReport, LimitReport, Report,
    WaitReport,
};
pub(crate) use runtime_lag::RuntimeLag;
pub use runtime_lag::RuntimeReport;

/// More shards than this gain nothing: each is told a few times for a hundred calls.
const SHARDS_MAX: usize = 8;

/// Counts since the start of the server. Each is exact; read together they may be a few calls
/// apart, since nothing stops the server to read them.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_retired: AtomicU64,
    pub(crate) bad_frames: AtomicU64,
    pub(crate) limits: LimitCounters,
    /// Replies that do not belong to a call, by code: to lines that are not requests, and to what was refused.
    verdicts: [AtomicU64; CODES],
    pub(crate) connections: OpenConnections,
    /// The calls that an operator wants to see.
    pub(crate) notable: Notable,
    recent: Recent,
    pub(crate) runtime_lag: RuntimeLag,
    pub(crate) process: Process,
    pub(crate) started: Instant,
    /// Those that have counters of their own; the first one stands for all others.
    pub(crate) commands: Vec<CommandName>,
    shards: Box<[Shard]>,
}

/// What the connections of some threads have counted.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    pub(crate) requests: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// How long ordered calls waited for their turn.
    pub(crate) waited_in_order: Histogram,
    /// How long connections were not read for want of room.
    pub(crate) waited_for_room: Histogram,
    pub(crate) commands: Box<[CommandCounters]>,
}

/// What is counted for each command.
#[derive(Debug, Default)]
pub(crate) struct CommandCounters {
    pub(crate) calls: [AtomicU64; CODES],
    pub(crate) in_flight: AtomicU64,
    pub(crate) params_bytes: AtomicU64,
    pub(crate) data_bytes: AtomicU64,
    pub(crate) latency: Histogram,
}

/// A command as the metrics know it: its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CommandIndex(u16);

impl CommandIndex {
    /// Whatever no handler is registered for, so that peers cannot make labels.
    pub(crate) const OTHER: Self = Self(0);

    /// The command at this place; those beyond what can be counted apart are counted together.
    pub(crate) fn at(index: usize) -> Self {
        Self(u16::try_from(index).unwrap_or(0))
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a command is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandName {
    /// None for all that are not registered.
    pub(crate) cmdid: Option<u32>,
    pub(crate) service: String,
    pub(crate) method: String,
}

impl Metrics {
    /// `commands` in the order of their places, beginning with that behind [`CommandIndex::OTHER`].
    pub(crate) fn new<'a>(commands: impl IntoIterator<Item = &'a Descriptor>) -> Self {
        let other = CommandName {
            cmdid: None,
            service: "other".into(),
            method: "other".into(),
        };
        let named = commands.into_iter().map(|command| CommandName {
            cmdid: Some(command.cmdid.number()),
            service: command.service.to_string(),
            method: command.method.to_string(),
        });

        let commands: Vec<_> = [other]
            .into_iter()
            .chain(named)
            .take(usize::from(u16::MAX) + 1)
            .collect();

        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.next_power_of_two().min(SHARDS_MAX);

        Self {
            connections_open: AtomicU64::new(0),
            connections_accepted: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            connections_retired: AtomicU64::new(0),
            bad_frames: AtomicU64::new(0),
            limits: LimitCounters::default(),
            verdicts: Default::default(),
            connections: OpenConnections::default(),
            notable: Notable::default(),
            recent: Recent::default(),
            runtime_lag: RuntimeLag::default(),
            process: Process::default(),
            started: Instant::now(),
            shards: (0..shards).map(|_| Shard::new(commands.len())).collect(),
            commands,
        }
    }

    /// The shard of this thread.
    pub(crate) fn shard(&self) -> &Shard {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static NUMBER: Cell<Option<usize>> = const { Cell::new(None) });

        let number = NUMBER.get().unwrap_or_else(|| {
            // Relaxed: only that threads have different ones matters.
            let number = THREADS.fetch_add(1, Ordering::Relaxed);
            NUMBER.set(Some(number));
            number
        });

        // A power of two.
        &self.shards[number & (self.shards.len() - 1)]
    }

    pub(crate) fn verdict(&self, code: Code) {
        add(&self.verdicts[usize::from(code_index(code))], 1);
    }

    fn verdict_counts(&self) -> [u64; CODES] {
        std::array::from_fn(|code| get(&self.verdicts[code]))
    }

    /// Measures the runtime that it runs on, for as long as it is polled, and looks at the counters now and then.
    pub(crate) async fn beat(&self) {
        let look = || {
            self.recent.turn(self);
            self.notable.turn(tokio::time::Instant::now());
        };

        self.runtime_lag.beat(look).await;
    }

    /// The last minutes, for a report; of failures and slow calls, which name peers, at most `listed` each.
    pub(crate) fn recent_report(&self, lately: &Lately, listed: usize) -> RecentReport {
        let mut failures = self.notable.failures(&self.commands);
        let mut slowest = self.notable.slowest(&self.commands);
        failures.truncate(listed);
        slowest.truncate(listed);
        lately.report(failures, slowest)
    }

    /// The last minutes.
    pub(crate) fn lately(&self) -> Lately {
        self.recent.lately(self)
    }

    pub(crate) fn snapshot(&self, access: AccessStats) -> ServerStats {
        let mut replies: Vec<u64> = self.verdicts.iter().map(get).collect();
        let mut in_flight = 0_u64;
        for command in self.shards.iter().flat_map(|shard| &shard.commands) {
            // What one shard has too many, another has too few: the sum wraps to what it is.
            in_flight = in_flight.wrapping_add(get(&command.in_flight));
            for (sum, calls) in replies.iter_mut().zip(&command.calls) {
                *sum += get(calls);
            }
        }

        let sum = |counter: fn(&Shard) -> &AtomicU64| {
            self.shards.iter().map(|shard| get(counter(shard))).sum()
        };

        ServerStats {
            connections_open: get(&self.connections_open),
            connections_accepted: get(&self.connections_accepted),
            connections_refused: get(&self.connections_refused),
            connections_retired: get(&self.connections_retired),
            requests: sum(|shard| &shard.requests),
            in_flight,
            bad_frames: get(&self.bad_frames),
            bytes_in: sum(|shard| &shard.bytes_in),
            bytes_out: sum(|shard| &shard.bytes_out),
            limits: self.limits.snapshot(),
            replies: by_name(replies.into_iter()),
            access,
        }
    }

    /// What each command has counted, in the order of their places.
    pub(crate) fn command_totals(&self) -> impl Iterator<Item = (&CommandName, CommandTotals)> {
        self.commands.iter().enumerate().map(|(place, name)| {
            let mut totals = CommandTotals::default();
            for command in self.shards.iter().map(|shard| &shard.commands[place]) {
                for (sum, calls) in totals.calls.iter_mut().zip(&command.calls) {
                    *sum += get(calls);
                }

                totals.in_flight = totals.in_flight.wrapping_add(get(&command.in_flight));
                totals.params_bytes += get(&command.params_bytes);
                totals.data_bytes += get(&command.data_bytes);
                command.latency.add_to(&mut totals.latency);
            }

            (name, totals)
        })
    }

    /// Replies that do not belong to a call, by the name of their code.
    #[cfg(feature = "admin")]
    pub(crate) fn verdicts(&self) -> Counts {
        by_name(self.verdicts.iter().map(get))
    }

    /// How long ordered calls waited for their turn, and connections for room.
    pub(crate) fn waits(&self) -> Waits {
        let mut waits = Waits::default();
        for shard in &self.shards {
            shard.waited_in_order.add_to(&mut waits.in_order);
            shard.waited_for_room.add_to(&mut waits.for_room);
        }
        waits
    }
}

/// Times that were waited.
#[derive(Default)]
pub(crate) struct Waits {
    /// By ordered calls, for their turn.
    pub(crate) in_order: Latencies,
    /// By connections, for room.
    pub(crate) for_room: Latencies,
}

impl Shard {
    fn new(commands: usize) -> Self {
        Self {
            requests: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            waited_in_order: Histogram::default(),
            waited_for_room: Histogram::default(),
            commands: (0..commands).map(|_| CommandCounters::default()).collect(),
        }
    }
}

/// What one command has counted, all shards together.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandTotals {
    pub(crate) calls: [u64; CODES],
    pub(crate) in_flight: u64,
    pub(crate) params_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) latency: Latencies,
}

impl CommandTotals {
    /// By the name of the code.
    pub(crate) fn by_code(&self) -> Counts {
        by_name(self.calls.into_iter())
    }
}

/// Whether the code at this place is that of a failure. A call that its caller gave up did not fail.
fn is_failure(code: usize) -> bool {
    let successes = [Code::OK, Code::CANCELLED].map(code_index);
    !successes.map(usize::from).contains(&code)
}

/// Of counts by code, those of failures, with the place of their code.
fn failures(counts: &[u64; CODES]) -> impl Iterator<Item = (usize, u64)> {
    let counts = counts.iter().copied().enumerate();
    counts.filter(|(code, count)| is_failure(*code) && *count > 0)
}

/// Relaxed: a count orders no other memory.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, n: u64) {
    counter.fetch_sub(n, Ordering::Relaxed);
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What a server has counted since it started; the `server` part of `stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that are open now.
    pub connections_open: u64,
    /// Accepted connections.
    pub connections_accepted: u64,
    /// Connections that were turned away, for whatever reason; `limits` tells them apart.
    pub connections_refused: u64,
    /// Connections that were asked to go away at `drain.connection_age_max_ms`,
    /// `drain.requests_per_connection_max` or `timeouts.idle_timeout_ms`, or to make room (`limits.make_room_after_ms`).
    pub connections_retired: u64,
    /// Requests that were read, oneway ones and those of built-in commands among them.
    pub requests: u64,
    /// Calls and streams that run now, beyond their first step.
    pub in_flight: u64,
    /// Lines that are not a request.
    pub bad_frames: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Number of times each limit took effect.
    pub limits: LimitStats,
    /// Calls ended, by the name of their code; oneway calls too, though nothing was sent.
    pub replies: Counts,
    /// What was asked and refused at the door.
    pub access: AccessStats,
}
