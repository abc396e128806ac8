//! The last minutes: what calls came to in slices of ten seconds.
//!
//! Connections count since the start of the server. The task that measures the lag compares the counters with what they were ten
//! seconds before, and keeps the difference: a call costs no more for it. A slice holds only what has changed, so a
//! command that is not called takes no memory, and one that is takes a few KiB for all five minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::histogram::BUCKETS;
use super::lately::HistoryReport;
use super::{CODES, CommandTotals, Latencies, Metrics, failures};
use crate::sync::{Mutex, MutexGuard};

/// Length of a slice, and of a point of the history.
const SLICE: Duration = Duration::from_secs(10);

/// Slices of a minute.
const MINUTE: usize = 6;

/// Slices of five minutes: as many as are kept.
const FIVE_MINUTES: usize = 30;

/// Points of the history: half an hour.
const HISTORY: usize = 180;

/// The slices, and the counters at the end of the last one.
#[derive(Debug)]
pub(crate) struct Recent(Mutex<Slices>);

#[derive(Debug)]
struct Slices {
    /// When the slice under way began.
    since: Instant,
    /// The counters then, by the place of the command; none for commands that were never called.
    before: Vec<Option<Box<CommandTotals>>>,
    verdicts_before: [u64; CODES],
    /// Those that have ended, the newest one last.
    ended: VecDeque<Slice>,
    history: VecDeque<Point>,
}

/// What came to the counters in some time.
#[derive(Debug)]
struct Slice {
    length: Duration,
    /// Of the commands that were called, in the order of their places.
    commands: Vec<Growth>,
    /// Replies that do not belong to a call, by code.
    verdicts: Vec<(u8, u64)>,
}

/// What came to the counters of one command. Lists have places and counts of what is not zero.
#[derive(Debug)]
struct Growth {
    place: usize,
    calls: Vec<(u8, u64)>,
    buckets: Vec<(u8, u64)>,
    sum_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    calls_per_second: f64,
    failed_per_second: f64,
    p99_us: u64,
}

/// What several slices come to, of one command or of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    pub(super) calls: [u64; CODES],
    pub(super) latency: Latencies,
}

/// The last minute and the last five, the slice under way among them: so a minute has up to ten seconds more.
#[derive(Debug, Clone, Default)]
pub(super) struct Windows {
    pub(super) minute: Window,
    pub(super) five_minutes: Window,
}

/// The last minutes, as they are now.
#[derive(Debug, Default)]
pub(crate) struct Lately {
    /// Lengths of the two windows; shorter than their names say while the server is young.
    pub(super) minute: Duration,
    pub(super) five_minutes: Duration,
    /// Of all commands, with the replies that do not belong to a call.
    pub(super) all: Windows,
    /// By the place of the command, of those that were called.
    pub(super) commands: BTreeMap<usize, Windows>,
    pub(super) history: HistoryReport,
}

impl Default for Recent {
    /// The first slice begins now, with counters that have counted nothing.
    fn default() -> Self {
        Self(Mutex::new(Slices {
            since: Instant::now(),
            before: Vec::new(),
            verdicts_before: [0; CODES],
            ended: VecDeque::new(),
            history: VecDeque::new(),
        }))
    }
}

impl Recent {
    /// Ends the slice under way where it is long enough.
    pub(super) fn turn(&self, metrics: &Metrics) {
        let now = Instant::now();
        let mut slices = self.lock();
        if now.saturating_duration_since(slices.since) >= SLICE {
            let slice = slices.slice(now, metrics);
            slices.push(slice);
            slices.begin(now, metrics);
        }
    }

    pub(super) fn lately(&self, metrics: &Metrics) -> Lately {
        let slices = self.lock();
        let under_way = slices.slice(Instant::now(), metrics);
        let mut lately = Lately {
            history: slices.history(),
            ..Lately::default()
        };

        let newest_first = [&under_way].into_iter().chain(slices.ended.iter().rev());
        for (age, slice) in newest_first.take(1 + FIVE_MINUTES).enumerate() {
            lately.add_to_five_minutes(slice);
            if age <= MINUTE {
                lately.add_to_minute(slice);
            }
        }

        lately
    }

    /// The lock is held for a look at the counters, every ten seconds and when a report asks.
    fn lock(&self) -> MutexGuard<'_, Slices> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slices {
    /// Begins a slice with the counters as they are.
    fn begin(&mut self, now: Instant, metrics: &Metrics) {
        self.since = now;
        self.verdicts_before = metrics.verdict_counts();
        self.before.resize_with(metrics.commands.len(), || None);

        for (before, (_, totals)) in self.before.iter_mut().zip(metrics.command_totals()) {
            if totals.calls.iter().any(|calls| *calls > 0) {
                *before = Some(Box::new(totals));
            }
        }
    }

    /// What has come to the counters since the slice under way began.
    fn slice(&self, now: Instant, metrics: &Metrics) -> Slice {
        let commands = metrics.command_totals().enumerate();
        let grown = commands.filter_map(|(place, (_, totals))| {
            let before = self.before.get(place).and_then(Option::as_deref);
            Growth::between(place, before, &totals)
        });

        Slice {
            length: now.saturating_duration_since(self.since),
            commands: grown.collect(),
            verdicts: differences(&self.verdicts_before, &metrics.verdict_counts()),
        }
    }

    fn push(&mut self, slice: Slice) {
        let mut window = Window::default();
        window.add_slice(&slice);
        keep(&mut self.history, window.point(slice.length), HISTORY);
        keep(&mut self.ended, slice, FIVE_MINUTES);
    }

    fn history(&self) -> HistoryReport {
        let points = || self.history.iter();
        HistoryReport {
            interval_ms: u64::try_from(SLICE.as_millis()).unwrap_or(u64::MAX),
            calls_per_second: points().map(|point| point.calls_per_second).collect(),
            failed_per_second: points().map(|point| point.failed_per_second).collect(),
            p99_us: points().map(|point| point.p99_us).collect(),
        }
    }
}

/// Adds to the end, and forgets the oldest where there are more than `most`.
fn keep<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}

impl Growth {
    /// None where the command was not called.
    fn between(place: usize, before: Option<&CommandTotals>, now: &CommandTotals) -> Option<Self> {
        let nothing = CommandTotals::default();
        let before = before.unwrap_or(&nothing);
        let calls = differences(&before.calls, &now.calls);

        (!calls.is_empty()).then(|| Self {
            place,
            calls,
            buckets: differences(before.latency.buckets(), now.latency.buckets()),
            sum_us: now.latency.sum_us().wrapping_sub(before.latency.sum_us()),
        })
    }
}

/// Places and sizes of what has grown.
fn differences(before: &[u64], now: &[u64]) -> Vec<(u8, u64)> {
    const { assert!(BUCKETS <= 256 && CODES <= 256) };
    let grown = (0..=u8::MAX).zip(before.iter().zip(now));
    grown
        .filter(|(_, (before, now))| now > before)
        .map(|(place, (before, now))| (place, now - before))
        .collect()
}

impl Lately {
    fn add_to_five_minutes(&mut self, slice: &Slice) {
        self.five_minutes += slice.length;
        self.all.five_minutes.add_slice(slice);
        for growth in &slice.commands {
            let windows = self.commands.entry(growth.place).or_default();
            windows.five_minutes.add(growth);
        }
    }

    fn add_to_minute(&mut self, slice: &Slice) {
        self.minute += slice.length;
        self.all.minute.add_slice(slice);
        for growth in &slice.commands {
            let windows = self.commands.entry(growth.place).or_default();
            windows.minute.add(growth);
        }
    }
}

impl Window {
    /// Adds what all commands have counted in a slice.
    fn add_slice(&mut self, slice: &Slice) {
        add_counts(&mut self.calls, &slice.verdicts);
        for growth in &slice.commands {
            self.add(growth);
        }
    }

    fn add(&mut self, growth: &Growth) {
        add_counts(&mut self.calls, &growth.calls);
        self.latency.add_counts(&growth.buckets, growth.sum_us);
    }

    pub(super) fn count(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// How many of them failed.
    pub(super) fn failed(&self) -> u64 {
        failures(&self.calls).map(|(_, count)| count).sum()
    }

    fn point(&self, length: Duration) -> Point {
        let seconds = length.as_secs_f64().max(f64::EPSILON);

        // Counts of seconds stay far below 2^52.
        #[expect(clippy::cast_precision_loss)]
        let per_second = |count: u64| (count as f64 / seconds * 100.0).round() / 100.0;

        Point {
            calls_per_second: per_second(self.count()),
            failed_per_second: per_second(self.failed()),
            p99_us: self.latency.quantile_us(0.99),
        }
    }
}

fn add_counts(counts: &mut [u64; CODES], grown: &[(u8, u64)]) {
    for (code, count) in grown {
        counts[usize::from(*code)] += count;
    }
}

#[cfg(test)]
mod tests;
