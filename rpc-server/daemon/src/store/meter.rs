//! Figures of the writer: how long the disk takes, and how much it is given at a time.

use std::sync::Mutex;
use std::time::Duration;

use rpc_core::api::log::Spread;
use rpc_core::metrics::histogram::{bucket_of, lower_bound};

use super::lock;

/// What was written since the start.
#[derive(Default)]
pub(super) struct Meter {
    /// Held for a few additions.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: u64,
    sync_us: Values,
    batch_entries: Values,
    free_bytes: Option<u64>,
}

/// Values, of which those in the same bucket are the same.
#[derive(Default)]
struct Values {
    count: u64,
    max: u64,
    /// The number of values in each bucket, up to the highest that there was.
    buckets: Vec<u64>,
}

impl Meter {
    /// Notes that entries were written together, and how long it took to make them durable.
    pub(super) fn note(&self, entries: u64, sync: Option<Duration>) {
        let mut state = lock(&self.state);
        state.entries += entries;
        state.batch_entries.add(entries);
        if let Some(sync) = sync {
            let us = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
            state.sync_us.add(us);
        }
    }

    /// Notes how much the file system has left.
    pub(super) fn note_free(&self, bytes: u64) {
        lock(&self.state).free_bytes = Some(bytes);
    }

    /// The bytes that the file system had left a moment ago, if that is known.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        lock(&self.state).free_bytes
    }

    /// Number of entries that were written.
    pub(super) fn entries(&self) -> u64 {
        lock(&self.state).entries
    }

    /// How long `fdatasync` took, in microseconds.
    pub(super) fn sync_us(&self) -> Spread {
        lock(&self.state).sync_us.spread()
    }

    /// How many entries were written together.
    pub(super) fn batch_entries(&self) -> Spread {
        lock(&self.state).batch_entries.spread()
    }
}

impl Values {
    fn add(&mut self, value: u64) {
        let bucket = bucket_of(value);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }

        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    fn spread(&self) -> Spread {
        Spread {
            count: self.count,
            p50: self.quantile(50),
            p99: self.quantile(99),
            max: self.max,
        }
    }

    /// The value that `percent` of all do not exceed, exact to an eighth.
    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                // The highest value of the bucket, unless none is as high.
                return (lower_bound(bucket + 1) - 1).min(self.max);
            }
        }

        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_exact_to_an_eighth_and_zero_where_nothing_was_written() {
        let meter = Meter::default();
        let none = Spread::default();
        assert_eq!((meter.sync_us(), meter.batch_entries()), (none, none));

        for value in 1..=1000 {
            meter.note(value, Some(Duration::from_micros(value * 10)));
        }
        meter.note(5, None);

        let spread = meter.sync_us();
        assert_eq!((spread.count, spread.max), (1000, 10_000));
        assert!((5000..5700).contains(&spread.p50), "{spread:?}");
        assert!((9900..=10_000).contains(&spread.p99), "{spread:?}");
        assert_eq!(meter.batch_entries().count, 1001);
        assert_eq!(meter.entries(), 500_500 + 5);
    }
}
