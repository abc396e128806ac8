//! Lag of a runtime: the delay of a timer that should fire every quarter of a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::Instant;

use super::report::LatencyReport;
use super::{Histogram, Latencies};

/// Often enough to see what a person would notice, seldom enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(250);

/// What a timer may be late without anybody's fault.
const GRAIN: Duration = Duration::from_millis(1);

/// How long the worst is remembered, at least; at most twice as long.
const WINDOW: Duration = Duration::from_secs(30);

/// The lags of all runtimes of a server.
#[derive(Debug, Default)]
pub(crate) struct RuntimeLag {
    lag: Histogram,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    since: Option<Instant>,
    now: Duration,
    before: Duration,
    runtimes: Vec<Beating>,
}

#[derive(Debug)]
struct Beating {
    runtime: RuntimeMetrics,
    /// When it should be heard of next; none once it has ended.
    due: Option<Instant>,
}

/// The lag of one runtime, while it is measured: one that has ended is not late.
struct Heart<'a> {
    runtime_lag: &'a RuntimeLag,
    place: usize,
}

impl Heart<'_> {
    fn is_due(&self, due: Option<Instant>) {
        self.runtime_lag
            .with(|recent| recent.runtimes[self.place].due = due);
    }
}

impl Drop for Heart<'_> {
    fn drop(&mut self) {
        self.is_due(None);
    }
}

/// How the runtimes of the server are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuntimeReport {
    /// How late timers fire. A handler that blocks its thread makes them late.
    pub lag: LatencyReport,
    /// The latest of the last half minute, or a little more, in microseconds.
    pub lag_recent_max_us: u64,
    /// Tasks that are alive; a connection is one.
    pub tasks_alive: u64,
    /// Tasks that wait outside of a thread's own queue for a thread to run them.
    pub tasks_queued: u64,
    /// Threads that run tasks.
    pub threads: u64,
}

impl RuntimeLag {
    /// Measures the runtime that it runs on, for as long as it is polled, and does something else at each beat.
    pub(crate) async fn beat(&self, also: impl Fn()) {
        let place = self.with(|recent| {
            recent.runtimes.push(Beating {
                runtime: Handle::current().metrics(),
                due: None,
            });
            recent.runtimes.len() - 1
        });

        let heart = Heart {
            runtime_lag: self,
            place,
        };
        loop {
            let due = Instant::now() + INTERVAL;
            heart.is_due(Some(due));
            tokio::time::sleep_until(due).await;
            self.record(due.elapsed());
            also();
        }
    }

    fn record(&self, late: Duration) {
        let late = late.saturating_sub(GRAIN);
        self.lag.record(late, 1);
        self.with(|recent| {
            recent.turn();
            recent.now = recent.now.max(late);
        });
    }

    /// The latest of the last half minute, or a little more, and of what is late by now.
    pub(crate) fn recent_max(&self) -> Duration {
        let overdue = self.overdue();
        self.with(|recent| {
            recent.turn();
            recent.now.max(recent.before).max(overdue)
        })
    }

    /// How long the runtime that is the latest has not been heard of: past any bound where one is stuck.
    pub(crate) fn overdue(&self) -> Duration {
        let since = |beating: &Beating| beating.due.map(|due| due.elapsed());
        let latest = self.with(|recent| recent.runtimes.iter().filter_map(since).max());
        latest.unwrap_or_default().saturating_sub(GRAIN)
    }

    /// How late timers fired.
    pub(crate) fn lag(&self) -> Latencies {
        let mut lag = Latencies::default();
        self.lag.add_to(&mut lag);
        lag
    }

    pub(crate) fn report(&self) -> RuntimeReport {
        let sum = |figure: fn(&RuntimeMetrics) -> usize| {
            self.with(|recent| {
                recent
                    .runtimes
                    .iter()
                    .map(|beating| figure(&beating.runtime))
                    .sum::<usize>()
            }) as u64
        };

        RuntimeReport {
            lag: LatencyReport::new(&self.lag()),
            lag_recent_max_us: u64::try_from(self.recent_max().as_micros()).unwrap_or(u64::MAX),
            tasks_alive: sum(RuntimeMetrics::num_alive_tasks),
            tasks_queued: sum(RuntimeMetrics::global_queue_depth),
            threads: sum(RuntimeMetrics::num_workers),
        }
    }

    /// The lock is held for a few comparisons, four times a second and when a report asks.
    fn with<T>(&self, act: impl FnOnce(&mut Recent) -> T) -> T {
        act(&mut self.recent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recent {
    /// Forgets what is too long ago.
    fn turn(&mut self) {
        let now = Instant::now();
        let age = now.saturating_duration_since(*self.since.get_or_insert(now));
        if age >= WINDOW {
            self.before = if age < 2 * WINDOW {
                self.now
            } else {
                Duration::ZERO
            };
            self.now = Duration::ZERO;
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_is_stuck_is_seen_before_it_comes_back_and_one_that_has_ended_is_not_late()
     {
        let runtime_lag = RuntimeLag::default();
        let mut beat = Box::pin(runtime_lag.beat(|| ()));
        assert!(futures::poll!(beat.as_mut()).is_pending());
        assert_eq!(runtime_lag.overdue(), Duration::ZERO);

        // It is not polled meanwhile.
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(runtime_lag.overdue(), Duration::from_millis(9_749));
        assert_eq!(runtime_lag.recent_max(), runtime_lag.overdue());

        drop(beat);
        assert_eq!(
            (runtime_lag.overdue(), runtime_lag.recent_max()),
            (Duration::ZERO, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_worst_is_remembered_for_a_while_and_then_forgotten() {
        let runtime_lag = RuntimeLag::default();
        runtime_lag.record(Duration::from_millis(401));
        runtime_lag.record(Duration::from_millis(1));
        assert_eq!(runtime_lag.recent_max(), Duration::from_millis(400));

        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(runtime_lag.recent_max(), Duration::from_millis(400));

        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(runtime_lag.recent_max(), Duration::ZERO);
        assert_eq!(runtime_lag.report().lag.count, 2);
    }
}
