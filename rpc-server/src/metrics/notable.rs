//! The calls that an operator wants to see: the last failures, by command and code, and the slowest calls.
//!
//! Of a call only its command, its code, its time and its connection are kept, never params, data or messages. A
//! call that went well and took less than [`SLOW`] costs two comparisons.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rpc_core::Peer;
use tokio::time::Instant;

use super::lately::{CallReport, FailureReport};
use super::{CommandIndex, CommandName, is_failure, name_of};
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// Pairs of command and code that are remembered; a further one replaces the one that was seen longest ago.
const FAILURES_MAX: usize = 20;

/// What is quicker than this is not slow, whatever the other calls are like.
const SLOW: Duration = Duration::from_millis(1);

/// Slow calls that are remembered of each minute, and shown of all.
const SLOWEST_MAX: usize = 10;

/// How long the slowest calls are collected before the next lot begins.
const LOT: Duration = Duration::from_secs(60);

/// Lots that are remembered: the last five minutes, and the one under way.
const LOTS: usize = 6;

#[derive(Debug)]
pub(crate) struct Notable {
    failures: Mutex<Vec<Failure>>,
    slowest: Mutex<Slowest>,
    /// In microseconds: what takes longer is among the slowest calls of its minute so far.
    slow_us: AtomicU64,
}

/// Calls of one connection that ended together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over<'a> {
    pub(super) command: CommandIndex,
    /// The place of the code among those that are counted.
    pub(super) code: u8,
    pub(super) calls: u64,
    pub(super) took: Duration,
    pub(super) peer: &'a Arc<Peer>,
}

/// One call, as it is remembered.
#[derive(Debug)]
struct Call {
    command: CommandIndex,
    code: u8,
    at: Instant,
    took: Duration,
    peer: Arc<Peer>,
}

/// Calls of one command that failed with one code.
#[derive(Debug)]
struct Failure {
    times: u64,
    last: Call,
}

#[derive(Debug, Default)]
struct Slowest {
    /// When the lot under way began; none before the first slow call.
    since: Option<Instant>,
    /// The one under way is last; none has more than [`SLOWEST_MAX`], the slowest first.
    lots: Vec<Vec<Call>>,
}

impl Default for Notable {
    fn default() -> Self {
        Self {
            failures: Mutex::default(),
            slowest: Mutex::default(),
            slow_us: AtomicU64::new(micros(SLOW)),
        }
    }
}

impl Notable {
    /// Looks at calls that are over.
    pub(super) fn see(&self, over: Over<'_>, now: Instant) {
        if is_failure(usize::from(over.code)) {
            self.note_failure(over, now);
        }

        // Relaxed: a bound that is a moment old costs a further look.
        if micros(over.took) > self.slow_us.load(Ordering::Relaxed) {
            self.note_slow(over, now);
        }
    }

    fn note_failure(&self, over: Over<'_>, now: Instant) {
        let mut failures = lock(&self.failures);
        let alike =
            |Failure { last, .. }: &Failure| last.command == over.command && last.code == over.code;
        let times = match failures.iter().position(alike) {
            Some(place) => failures.remove(place).times,
            None => 0,
        };

        // The newest one is at the end.
        if failures.len() >= FAILURES_MAX {
            failures.remove(0);
        }
        failures.push(Failure {
            times: times.saturating_add(over.calls),
            last: Call::of(over, now),
        });
    }

    fn note_slow(&self, over: Over<'_>, now: Instant) {
        let mut slowest = lock(&self.slowest);
        slowest.turn(now);

        let Some(lot) = slowest.lots.last_mut() else {
            return;
        };
        let place = lot.partition_point(|call| call.took >= over.took);
        lot.insert(place, Call::of(over, now));
        lot.truncate(SLOWEST_MAX);

        let least = match lot.get(SLOWEST_MAX - 1) {
            Some(call) => micros(call.took),
            None => micros(SLOW),
        };
        self.slow_us.store(least, Ordering::Relaxed);
    }

    /// Lets a lot end that is old enough: a quiet minute has slowest calls, too.
    pub(super) fn turn(&self, now: Instant) {
        if lock(&self.slowest).turn(now) {
            self.slow_us.store(micros(SLOW), Ordering::Relaxed);
        }
    }

    /// The last failures, the last one first.
    pub(super) fn failures(&self, commands: &[CommandName]) -> Vec<FailureReport> {
        let now = Instant::now();
        let failures = lock(&self.failures);
        let reports = failures.iter().rev().map(|failure| FailureReport {
            times: failure.times,
            last: failure.last.report(commands, now),
        });
        reports.collect()
    }

    /// The slowest calls of the last five to six minutes, the slowest first.
    pub(super) fn slowest(&self, commands: &[CommandName]) -> Vec<CallReport> {
        let now = Instant::now();
        let mut slowest = lock(&self.slowest);
        slowest.turn(now);

        let mut all: Vec<&Call> = slowest.lots.iter().flatten().collect();
        all.sort_by_key(|call| Reverse(call.took));
        let slowest = all.into_iter().take(SLOWEST_MAX);
        slowest.map(|call| call.report(commands, now)).collect()
    }
}

impl Call {
    fn of(over: Over<'_>, now: Instant) -> Self {
        Self {
            command: over.command,
            code: over.code,
            at: now,
            took: over.took,
            peer: Arc::clone(over.peer),
        }
    }

    fn report(&self, commands: &[CommandName], now: Instant) -> CallReport {
        let name = &commands[self.command.index()];
        let ago = now.saturating_duration_since(self.at);

        CallReport {
            cmdid: name.cmdid,
            service: name.service.clone(),
            method: name.method.clone(),
            code: name_of(usize::from(self.code)),
            ago_ms: u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
            took_us: micros(self.took),
            connection: self.peer.connection,
            peer: self.peer.address.clone(),
        }
    }
}

impl Slowest {
    /// Begins new lots for the minutes that have passed. Returns whether there is a new one.
    fn turn(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since).as_secs() / LOT.as_secs();
        if age == 0 && !self.lots.is_empty() {
            return false;
        }

        let passed = usize::try_from(age).unwrap_or(LOTS).clamp(1, LOTS);
        for _ in 0..passed {
            if self.lots.len() >= LOTS {
                self.lots.remove(0);
            }
            self.lots.push(Vec::new());
        }
        self.since = Some(now);
        true
    }
}

/// The locks are held for a look through a few entries; a panic in between would leave them as they are, which is
/// sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(command: usize, code: u8, took: Duration, peer: &Arc<Peer>) -> Over<'_> {
        Over {
            command: CommandIndex::at(command),
            code,
            calls: 1,
            took,
            peer,
        }
    }

    fn names(count: usize) -> Vec<CommandName> {
        let name = |number: usize| CommandName {
            cmdid: u32::try_from(number).ok(),
            service: "test".into(),
            method: number.to_string(),
        };
        (0..count).map(name).collect()
    }

    #[test]
    fn the_last_failures_are_told_by_command_and_code_and_calls_given_up_do_not_count() {
        let (notable, now) = (Notable::default(), Instant::now());
        let peer = Arc::new(Peer::new("10.0.0.1:1", 7));
        for code in [0, 1, 3, 13, 3] {
            notable.see(over(2, code, Duration::ZERO, &peer), now);
        }

        let shown = notable.failures(&names(3));
        let codes: Vec<_> = shown.iter().map(|f| (f.last.code, f.times)).collect();
        assert_eq!(codes, [("INVALID_ARGUMENT", 2), ("INTERNAL", 1)]);
        assert_eq!(
            (shown[0].last.cmdid, shown[0].last.connection),
            (Some(2), 7)
        );

        for command in 0..100 {
            notable.see(over(command, 5, Duration::ZERO, &peer), now);
        }
        let shown = notable.failures(&names(100));
        assert_eq!((shown.len(), shown[0].last.cmdid), (FAILURES_MAX, Some(99)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_calls_are_those_of_the_last_minutes_and_quick_ones_do_not_count() {
        let notable = Notable::default();
        let peer = Arc::new(Peer::new("10.0.0.1:1", 7));
        let see = |ms| {
            notable.see(over(1, 0, Duration::from_millis(ms), &peer), Instant::now());
        };
        let shown = || -> Vec<u64> {
            let slowest = notable.slowest(&names(2));
            slowest.iter().map(|call| call.took_us / 1_000).collect()
        };

        for ms in [1, 5, 900].into_iter().chain(20..40) {
            see(ms);
        }
        assert_eq!(shown(), [900, 39, 38, 37, 36, 35, 34, 33, 32, 31]);

        // What is not among the slowest so far is not looked at.
        assert_eq!(notable.slow_us.load(Ordering::Relaxed), 31_000);

        tokio::time::advance(LOT).await;
        notable.turn(Instant::now());
        see(2);
        see(50);
        assert_eq!(shown(), [900, 50, 39, 38, 37, 36, 35, 34, 33, 32]);

        tokio::time::advance(LOT * 5).await;
        assert_eq!(shown(), [50, 2]);

        tokio::time::advance(LOT * 100).await;
        assert_eq!(shown(), [0; 0]);
    }
}
