//! Records of a load: the latencies of all its callers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::Load;
use crate::process::usage::cpu_time;

/// What a load saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Calls that ended within the measured time.
    pub(crate) calls: u64,
    /// All calls, the warm-up's too.
    pub(crate) total_calls: u64,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Calls a second.
    pub(crate) rps: f64,
    /// Half of the calls took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
    /// Processor time of the client a call, in microseconds.
    pub(crate) client_cpu_us: f64,
    /// How late the load itself was to start a call that was due: half of them no more than this.
    /// `None` in a closed loop, where nothing is due.
    pub(crate) late_p50_us: Option<f64>,
    /// 99 of 100.
    pub(crate) late_p99_us: Option<f64>,
}

impl Measured {
    /// What several loads saw that ran at the same time: throughput is added up, and each latency is that
    /// of the load for which it was longest. `None` of none.
    pub(crate) fn of_all(loads: &[Self]) -> Option<Self> {
        let sum = |figure: fn(&Self) -> f64| loads.iter().map(figure).sum::<f64>();
        let most = |figure: fn(&Self) -> f64| loads.iter().map(figure).fold(0.0, f64::max);
        let late =
            |figure: fn(&Self) -> Option<f64>| loads.iter().filter_map(figure).reduce(f64::max);
        let total_calls: u64 = loads.iter().map(|load| load.total_calls).sum();

        (!loads.is_empty()).then(|| Self {
            calls: loads.iter().map(|load| load.calls).sum(),
            total_calls,
            seconds: most(|load| load.seconds),
            rps: sum(|load| load.rps),
            p50_us: most(|load| load.p50_us),
            p99_us: most(|load| load.p99_us),
            p999_us: most(|load| load.p999_us),
            max_us: most(|load| load.max_us),
            client_cpu_us: sum(|load| load.client_cpu_us * load.total_calls as f64)
                / total_calls as f64,
            late_p50_us: late(|load| load.late_p50_us),
            late_p99_us: late(|load| load.late_p99_us),
        })
    }
}

/// Gathers the latencies of all callers.
pub(crate) struct Recorder {
    warm: Instant,
    end: Instant,
    latencies: Mutex<Histogram<u64>>,
    lateness: Mutex<Histogram<u64>>,
    /// Calls that ended within the measured time.
    ended: AtomicU64,
    total: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Recorder {
    pub(super) fn new(load: &Load) -> Self {
        Self {
            warm: load.warm,
            end: load.end,
            latencies: Mutex::new(histogram()),
            lateness: Mutex::new(histogram()),
            ended: AtomicU64::new(0),
            total: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// Takes how late the load noticed at `now` that calls were due.
    pub(super) fn add_late(&self, now: Instant, late: impl Iterator<Item = Duration>) {
        if now < self.warm {
            return;
        }

        let mut lateness = lock(&self.lateness);
        for late in late {
            lateness.saturating_record(nanoseconds(late));
        }
    }

    /// Takes a call that has waited from `since` to the end of the load, and still does.
    pub(super) fn add_unfinished(&self, since: Instant) {
        lock(&self.latencies)
            .saturating_record(nanoseconds(self.end.saturating_duration_since(since)));
    }

    /// How many latencies there are that are not of calls that ended.
    #[cfg(test)]
    pub(super) fn unfinished(&self) -> u64 {
        lock(&self.latencies).len() - self.ended.load(Ordering::Relaxed)
    }

    /// Waits for the callers, and says what they saw.
    pub(super) async fn measure(&self, mut tasks: JoinSet<Result<()>>) -> Result<Measured> {
        let begin = Instant::now();
        let cpu = cpu_time(std::process::id())?;

        while let Some(done) = tasks.join_next().await {
            done??;
        }

        let cpu = cpu_time(std::process::id())?.saturating_sub(cpu);
        let calls = self.ended.load(Ordering::Relaxed);
        let total_calls = self.total.load(Ordering::Relaxed);

        let last = lock(&self.last).context("no call ended within the measured time")?;
        let seconds = last
            .saturating_duration_since(self.warm.max(begin))
            .as_secs_f64();

        let (latencies, lateness) = (lock(&self.latencies), lock(&self.lateness));
        let microseconds =
            |of: &Histogram<u64>, quantile| of.value_at_quantile(quantile) as f64 / 1e3;
        let late = |quantile| (!lateness.is_empty()).then(|| microseconds(&lateness, quantile));

        Ok(Measured {
            calls,
            total_calls,
            seconds,
            rps: calls as f64 / seconds,
            p50_us: microseconds(&latencies, 0.5),
            p99_us: microseconds(&latencies, 0.99),
            p999_us: microseconds(&latencies, 0.999),
            max_us: latencies.max() as f64 / 1e3,
            client_cpu_us: cpu.as_secs_f64() * 1e6 / total_calls as f64,
            late_p50_us: late(0.5),
            late_p99_us: late(0.99),
        })
    }
}

/// Three digits, from a nanosecond to an hour.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are right")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A caller that panicked has recorded whole samples.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The latencies of one caller on their way to the recorder.
pub(crate) struct Samples<'r> {
    recorder: &'r Recorder,
    kept: Vec<u64>,
    total: u64,
    last: Option<Instant>,
}

/// Samples are handed over in packets, so that recording costs a caller next to nothing.
const PACKET: usize = 64;

impl<'r> Samples<'r> {
    /// No samples yet.
    pub(crate) fn new(recorder: &'r Recorder) -> Self {
        Self {
            recorder,
            kept: Vec::with_capacity(PACKET),
            total: 0,
            last: None,
        }
    }

    /// Takes one call from its start, or its due time, to its end.
    pub(crate) fn add(&mut self, start: Instant, end: Instant) {
        self.total += 1;
        if end < self.recorder.warm || end > self.recorder.end {
            return;
        }

        self.last = Some(end);
        self.kept.push(nanoseconds(end - start));
        if self.kept.len() == PACKET {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        // Relaxed: counts, read after the callers have ended.
        self.recorder
            .ended
            .fetch_add(self.kept.len() as u64, Ordering::Relaxed);
        self.recorder
            .total
            .fetch_add(std::mem::take(&mut self.total), Ordering::Relaxed);

        let mut latencies = lock(&self.recorder.latencies);
        for nanoseconds in self.kept.drain(..) {
            latencies.saturating_record(nanoseconds);
        }
        drop(latencies);

        let mut last = lock(&self.recorder.last);
        *last = (*last).max(self.last);
    }
}

impl Drop for Samples<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}
