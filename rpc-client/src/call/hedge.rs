//! Backup requests: a call that takes longer than most is sent a second time, elsewhere where there is
//! another endpoint, and whichever answers first wins.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use rpc_core::Request;
use rpc_core::metrics::histogram::{PARTS, bucket_of, lower_bound};
use tokio::time::Instant;

use super::Command;
use super::run::Answer;
use crate::config::Config;
use crate::error::{Error, Tries};

/// Answers that must have been seen before "longer than most" means anything.
const ANSWERS_MIN: u32 = 100;
/// Number of answers after which the latency that decides is looked up anew.
const ANSWERS_BETWEEN_LOOKS: u32 = 32;
/// From here on older answers count half, so that the distribution follows what is.
const ANSWERS_MAX: u32 = 4_096;

/// What is known of a client's latencies, and what was spent on backups.
#[derive(Default)]
pub(crate) struct Hedging(Mutex<State>);

#[derive(Default)]
struct State {
    latencies: Latencies,
    delay: Option<Duration>,
    since_look: u32,
    /// Calls since the last backup, as hundredths of one that they pay for; see `take_backup`.
    saved: u64,
}

impl Hedging {
    /// None where hedging is off.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        (config.hedge.percentile > 0).then(Self::default)
    }

    /// How long to wait before the backup; `None` while too little is known.
    fn delay(&self) -> Option<Duration> {
        self.lock().delay
    }

    fn observe(&self, latency: Duration, config: &Config) {
        let mut state = self.lock();
        state.latencies.add(latency);
        state.since_look += 1;

        if state.latencies.total >= ANSWERS_MIN
            && (state.delay.is_none() || state.since_look >= ANSWERS_BETWEEN_LOOKS)
        {
            state.since_look = 0;
            let least = Duration::from_millis(config.hedge.after_min_ms);
            state.delay = Some(
                state
                    .latencies
                    .percentile(config.hedge.percentile)
                    .max(least),
            );
        }
    }

    /// Counts a call that may be hedged. What it pays for is not saved for longer than a hundred calls, so
    /// that a slow minute cannot double the load.
    fn count_call(&self, config: &Config) {
        let mut state = self.lock();
        let each = u64::from(config.hedge.percent_max);
        state.saved = (state.saved + each).min((100 * each).max(100));
    }

    fn take_backup(&self) -> bool {
        let mut state = self.lock();
        let is_left = state.saved >= 100;
        if is_left {
            state.saved -= 100;
        }
        is_left
    }

    /// Held for a few operations on numbers; each leaves it whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Command<'_> {
    /// One try with a backup, should it take long. The one that loses is cancelled.
    pub(super) async fn hedged<F>(
        &self,
        hedging: &Hedging,
        make: &F,
        deadline: Instant,
        tried: &[Arc<str>],
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        let config = &self.caller().config;
        hedging.count_call(config);

        let first = self.start_try(make, deadline, tried).await?;

        let began = Instant::now();
        let observed = |answer: Answer| {
            hedging.observe(began.elapsed(), config);
            answer
        };

        let address = Arc::clone(first.address());
        let mut first = pin!(first.answer());

        let delay = hedging.delay();
        if let Some(delay) = delay
            && let Some(result) = in_time(first.as_mut(), delay).await
        {
            return result.map(observed);
        }

        if delay.is_none() || !hedging.take_backup() {
            return first.await.map(observed);
        }

        self.caller().metrics.hedged(self.cmdid());
        tracing::debug!(cmdid = %self.cmdid(), %address, "sending a backup request");
        let mut elsewhere = tried.to_vec();
        elsewhere.push(address);
        let backup = pin!(async {
            let attempt = self.start_try(make, deadline, &elsewhere).await?;
            attempt.answer().await
        });

        // The first to answer wins; the first to fail leaves it to the other one.
        let (failed, rest) = match select(first, backup).await {
            Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => {
                return Ok(observed(answer));
            }
            Either::Left((Err(failed), backup)) => (failed, backup.await),
            Either::Right((Err(failed), first)) => (failed, first.await),
        };

        rest.map(observed).map_err(|last| {
            last.of_several(Tries {
                attempts: 2,
                may_have_run_before: failed.may_have_run(),
            })
        })
    }
}

/// The result, where it comes within this time.
async fn in_time<T>(call: impl Future<Output = T>, limit: Duration) -> Option<T> {
    tokio::time::timeout(limit, call).await.ok()
}

/// Counts of latencies in buckets that are an eighth of their value wide, from a microsecond up. A
/// library's histogram would bring more than this needs, into every user's tree.
struct Latencies {
    counts: [u32; Self::BUCKETS],
    total: u32,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: [0; Self::BUCKETS],
            total: 0,
        }
    }
}

impl Latencies {
    /// Up to 2^36 microseconds, which are 19 hours.
    const BUCKETS: usize = 34 * PARTS;

    fn add(&mut self, latency: Duration) {
        if self.total >= ANSWERS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }

        self.counts[Self::bucket(latency)] += 1;
        self.total += 1;
    }

    /// The upper end of the bucket that this part of the answers ended in or before.
    fn percentile(&self, percent: u32) -> Duration {
        let wanted = u64::from(self.total) * u64::from(percent.min(100));
        let mut counted = 0;
        let found = self.counts.iter().position(|count| {
            counted += u64::from(*count) * 100;
            counted >= wanted
        });
        Duration::from_micros(lower_bound(found.unwrap_or(Self::BUCKETS - 1) + 1))
    }

    fn bucket(latency: Duration) -> usize {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        bucket_of(micros).min(Self::BUCKETS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_beyond_all_buckets_is_counted_in_the_last_one() {
        assert_eq!(Latencies::bucket(Duration::MAX), Latencies::BUCKETS - 1);
    }

    #[test]
    fn the_delay_is_the_percentile_and_follows_what_is() {
        let config = Config::default().with(|config| {
            config.hedge.percentile = 95;
            config.hedge.after_min_ms = 1;
        });
        let hedging = Hedging::default();
        let answers = |count: u32, ms: u64| {
            (0..count).for_each(|_| hedging.observe(Duration::from_millis(ms), &config));
        };

        answers(90, 10);
        assert_eq!(hedging.delay(), None, "too little is known");

        answers(10, 200);
        let slow = hedging.delay().unwrap();
        assert!(
            (200..=230).contains(&slow.as_millis()),
            "a tenth is slow: {slow:?}"
        );

        answers(2_000, 10);
        let usual = hedging.delay().unwrap();
        assert!((10..=12).contains(&usual.as_millis()), "{usual:?}");

        answers(4_096, 100);
        assert!(hedging.delay().unwrap() >= Duration::from_millis(100));
    }

    #[test]
    fn no_more_than_the_share_of_calls_is_spent() {
        let config = Config::default().with(|config| config.hedge.percent_max = 5);
        let hedging = Hedging::default();

        let mut backups = 0;
        for _ in 0..1_000 {
            hedging.count_call(&config);
            backups += u32::from(hedging.take_backup());
        }
        assert_eq!(backups, 50);

        // Calls that needed none do not pay for ever.
        (0..100_000).for_each(|_| hedging.count_call(&config));
        assert_eq!((0..100).filter(|_| hedging.take_backup()).count(), 5);
    }
}
