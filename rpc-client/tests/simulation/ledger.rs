//! The record of a run: its trace, what ran where, and how the calls ended.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rpc_client::{Code, Error};
use rpc_server::ServerHandle;

/// Shared by all hosts of a run, which is one thread.
#[derive(Clone, Default)]
pub(crate) struct SharedLedger(Arc<Mutex<Ledger>>);

/// What is printed while a run goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Printing {
    #[default]
    Nothing,
    Events,
}

#[derive(Default)]
pub(crate) struct Ledger {
    /// Of all events so far. The hasher's keys are fixed, so it is the same in each process.
    trace: DefaultHasher,
    pub(crate) events: u64,
    pub(crate) printing: Printing,
    /// How often the call with each token ran.
    ran: BTreeMap<u64, u32>,
    calls: BTreeMap<u64, Call>,
    /// What must not be.
    pub(crate) violations: Vec<String>,
    pub(crate) tally: Tally,
    /// The servers that live.
    pub(crate) servers: BTreeMap<usize, ServerHandle>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) is_idempotent: bool,
    pub(crate) end: End,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Succeeded,
    NotSent,
    Rejected,
    MayHaveRun,
    Late {
        was_sent: bool,
    },
    Failed,
    /// Its caller stopped to wait, or there is nothing to wait for.
    Unknown,
}

impl End {
    pub(crate) fn of(error: &Error) -> Self {
        match () {
            () if error.is_rejected() => Self::Rejected,
            () if error.is_deadline() => Self::Late {
                was_sent: error.was_sent(),
            },
            () if !error.was_sent() => Self::NotSent,
            () if error.code() == Code::UNAVAILABLE => Self::MayHaveRun,
            () => Self::Failed,
        }
    }

    fn never_ran(self) -> bool {
        matches!(
            self,
            Self::NotSent | Self::Rejected | Self::Late { was_sent: false }
        )
    }
}

impl SharedLedger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().expect("a run that panics is over")
    }
}

impl Ledger {
    /// Writes an event down, at this simulated time.
    pub(crate) fn note(&mut self, at: Duration, event: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {event}", at.as_secs_f64() * 1000.0);
        line.hash(&mut self.trace);
        self.events += 1;
        if self.printing == Printing::Events {
            println!("{line}");
        }
    }

    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// A handler has begun the call with this token.
    pub(crate) fn runs(&mut self, token: u64) -> u32 {
        let times = self.ran.entry(token).or_default();
        *times += 1;
        *times
    }

    /// A call is over, for its caller.
    pub(crate) fn ended(&mut self, token: u64, call: Call) {
        self.tally.count(call.end);
        if self.calls.insert(token, call).is_some() {
            self.violations.push(format!("call {token:x} ended twice"));
        }
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Compares how the calls ended with what ran, once nothing is under way any more.
    pub(crate) fn settle(&mut self) {
        for (token, Call { is_idempotent, end }) in &self.calls {
            let times = self.ran.get(token).copied().unwrap_or_default();
            if times > 1 && !is_idempotent {
                self.violations.push(format!(
                    "call {token:x} ran {times} times, and ended as {end:?}"
                ));
            }
            if times > 0 && end.never_ran() && !is_idempotent {
                self.violations
                    .push(format!("call {token:x} ran, and ended as {end:?}"));
            }
            if times == 0 && *end == End::Succeeded {
                self.violations
                    .push(format!("call {token:x} succeeded, and never ran"));
            }
        }
        for token in self
            .ran
            .keys()
            .filter(|token| !self.calls.contains_key(token))
        {
            self.violations
                .push(format!("call {token:x} ran, and never ended"));
        }
        self.tally.runs += 1;
        self.tally.ran += self
            .ran
            .values()
            .map(|times| u64::from(*times))
            .sum::<u64>();
    }
}

/// How the calls of one run, or of many, ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    runs: u64,
    ran: u64,
    ends: BTreeMap<End, u64>,
}

impl Tally {
    fn count(&mut self, end: End) {
        *self.ends.entry(end).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.ran += other.ran;
        for (end, count) in &other.ends {
            *self.ends.entry(*end).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls ({} handlers ran):",
            self.ends.values().sum::<u64>(),
            self.ran
        )?;
        for (end, count) in &self.ends {
            write!(f, " {end:?} {count}")?;
        }
        Ok(())
    }
}
