//! Counters of a client: what became of its calls, by command and code, and of its connections.
//!
//! Each try of a call ends once, and is counted there: by the code of its reply, or by the reason why it had none. A
//! connection notes the ends of one delivery as runs (`Tally`), and tells the client once for all of them, before
//! the callers learn of them.

mod prometheus;
mod report;
mod tally;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rpc_core::metrics::codes::{CODES, code_index};
use rpc_core::metrics::histogram::Latencies;
use rpc_core::{CmdId, Code};
use tokio::time::Instant;

use crate::config::Config;

pub use report::{CommandReport, LatencyReport, Report};
use tally::Run;
pub(crate) use tally::Tally;

/// How a try of a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End(u8);

/// Why a try had no answer, in the order of the places behind those of the codes.
const REASONS: [&str; 5] = ["not_sent", "lost", "deadline", "given_up", "unreadable"];

/// The places of all ends.
const ENDS: usize = CODES + REASONS.len();

/// The first place behind those of the codes.
#[expect(clippy::cast_possible_truncation, reason = "there are 18 of them")]
const FIRST_REASON: u8 = CODES as u8;

impl End {
    /// The usual success.
    pub(crate) const OK: Self = Self(0);
    /// It did not leave this process whole.
    pub(crate) const NOT_SENT: Self = Self(FIRST_REASON);
    /// Its connection ended before the reply.
    pub(crate) const LOST: Self = Self(FIRST_REASON + 1);
    /// Its time was up.
    pub(crate) const DEADLINE: Self = Self(FIRST_REASON + 2);
    /// Its caller dropped it.
    pub(crate) const GIVEN_UP: Self = Self(FIRST_REASON + 3);
    /// The reply is not what the protocol says, or came faster than it was read.
    pub(crate) const UNREADABLE: Self = Self(FIRST_REASON + 4);

    /// By a reply with this code.
    pub(crate) fn answered(code: Code) -> Self {
        Self(code_index(code))
    }

    fn is_answer(self) -> bool {
        self.0 < FIRST_REASON
    }
}

/// What a client has counted.
pub(crate) struct Metrics {
    commands_max: usize,
    counts: Mutex<Counts>,
    connections: Mutex<Connections>,
}

/// Numbers that only grow.
#[derive(Default)]
struct Counts {
    commands: BTreeMap<CmdId, CommandCounts>,
    /// Of the commands beyond `commands_max`.
    other: CommandCounts,
    connections_opened: u64,
    reconnects: u64,
    ejections: u64,
}

#[derive(Clone)]
struct CommandCounts {
    ends: [u64; ENDS],
    retries: u64,
    hedges: u64,
    oneway: u64,
    /// Of the tries that were answered.
    latency: Latencies,
}

impl Default for CommandCounts {
    fn default() -> Self {
        Self {
            ends: [0; ENDS],
            retries: 0,
            hedges: 0,
            oneway: 0,
            latency: Latencies::default(),
        }
    }
}

/// A connection, as a report looks at it.
pub(crate) trait Watched: Send + Sync {
    /// Whether it has not ended.
    fn is_open(&self) -> bool;

    /// Names the command of each call that waits for its reply.
    fn each_in_flight(&self, count: &mut dyn FnMut(CmdId));
}

/// The connections that are open, and some that were.
#[derive(Default)]
struct Connections {
    all: Vec<Weak<dyn Watched>>,
    /// How many there may be before those that are gone are taken out.
    full_at: usize,
}

impl Connections {
    /// The fewest that are looked through for those that are gone.
    const FULL_AT_MIN: usize = 32;

    fn add(&mut self, connection: Weak<dyn Watched>) {
        if self.all.len() >= self.full_at {
            self.all.retain(|known| known.strong_count() > 0);
            // Each is looked at a few times at most, however many there are.
            self.full_at = (2 * self.all.len()).max(Self::FULL_AT_MIN);
        }
        self.all.push(connection);
    }
}

impl Metrics {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            commands_max: config.limits.metrics_commands_max,
            counts: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// Takes the runs of a connection, as of now.
    fn take(&self, runs: impl Iterator<Item = Run>, now: Instant) {
        let mut counts = self.counts();
        for run in runs {
            let command = counts.command(run.cmdid, self.commands_max);
            command.ends[usize::from(run.end.0)] += run.calls;
            if let Some(begun) = run.begun.filter(|_| run.end.is_answer()) {
                let took = now.saturating_duration_since(begun);
                command.latency.record(took, run.calls);
            }
        }
    }

    /// A try ended that no connection has counted.
    pub(crate) fn ended(&self, cmdid: CmdId, end: End) {
        let mut counts = self.counts();
        counts.command(cmdid, self.commands_max).ends[usize::from(end.0)] += 1;
    }

    /// A call is tried again.
    pub(crate) fn retried(&self, cmdid: CmdId) {
        self.counts().command(cmdid, self.commands_max).retries += 1;
    }

    /// A call has a backup.
    pub(crate) fn hedged(&self, cmdid: CmdId) {
        self.counts().command(cmdid, self.commands_max).hedges += 1;
    }

    /// A oneway call was put on a connection.
    pub(crate) fn oneway_sent(&self, cmdid: CmdId) {
        self.counts().command(cmdid, self.commands_max).oneway += 1;
    }

    /// A connection was opened.
    pub(crate) fn opened(&self, connection: Weak<dyn Watched>) {
        self.counts().connections_opened += 1;
        self.connections().add(connection);
    }

    /// A connection was opened instead of another one.
    pub(crate) fn reconnected(&self) {
        self.counts().reconnects += 1;
    }

    /// An endpoint was ejected.
    pub(crate) fn ejected(&self) {
        self.counts().ejections += 1;
    }

    /// Held for operations on numbers, each of which leaves them whole.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`counts`](Self::counts), of a list.
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// The counts of a command, or those of all others where there are enough.
    fn command(&mut self, cmdid: CmdId, commands_max: usize) -> &mut CommandCounts {
        if self.commands.len() >= commands_max && !self.commands.contains_key(&cmdid) {
            return &mut self.other;
        }
        self.commands.entry(cmdid).or_default()
    }
}
