//! Latencies, counted in buckets that are an eighth as wide as they are high.

use std::time::Duration;

use rpc_core::histogram::{PARTS, bucket_of, lower_bound};

use super::{add, get};
use crate::sync::AtomicU64;

/// Up to 67 s; what takes longer is counted in the last bucket.
pub(super) const BUCKETS: usize = 24 * PARTS + 1;

/// The upper bounds that Prometheus is shown, as powers of two of microseconds: 16 µs to 33.6 s.
#[cfg(any(feature = "admin", test))]
const SHOWN: std::ops::RangeInclusive<u32> = 4..=25;

/// A histogram of times in microseconds. Adding to it is two relaxed additions.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Adds so many that took the same time.
    pub(crate) fn record(&self, time: Duration, times: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        add(&self.buckets[bucket_of(us).min(BUCKETS - 1)], times);
        add(&self.sum_us, us.saturating_mul(times));
    }
}

/// What several histograms have counted together, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    sum_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Latencies {
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += get(bucket);
        }
        self.sum_us = self.sum_us.wrapping_add(get(&histogram.sum_us));
    }

    /// Adds to some buckets, by their places.
    pub(super) fn add_counts(&mut self, counts: &[(u8, u64)], sum_us: u64) {
        for (bucket, count) in counts {
            self.buckets[usize::from(*bucket)] += count;
        }
        self.sum_us = self.sum_us.wrapping_add(sum_us);
    }

    pub(super) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(crate) fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The time that this share of all stayed below, in microseconds, to an eighth of itself; 0 where
    /// there are none.
    pub(crate) fn quantile_us(&self, share: f64) -> u64 {
        // Counts stay far below 2^52.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation
        )]
        let rank = (self.count() as f64 * share).ceil() as u64;

        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank && below > 0 {
                // The middle of the bucket.
                return u64::midpoint(
                    lower_bound(bucket),
                    lower_bound(bucket + 1).saturating_sub(1),
                );
            }
        }

        0
    }

    /// Pairs of an upper bound in microseconds and how many were below it, for Prometheus.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let (mut below, mut bucket) = (0, 0);
        SHOWN.map(move |power| {
            let bound = 1 << power;
            while lower_bound(bucket) < bound {
                below += self.buckets[bucket];
                bucket += 1;
            }
            (bound, below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_than_all_buckets_is_counted_in_the_last_one() {
        assert_eq!(bucket_of((1 << 26) - 1), BUCKETS - 2);

        let histogram = Histogram::default();
        for time in [Duration::from_micros(1 << 26), Duration::MAX] {
            histogram.record(time, 1);
        }
        assert_eq!(get(&histogram.buckets[BUCKETS - 1]), 2);
    }

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let histogram = Histogram::default();
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us), 3);
        }

        let mut all = Latencies::default();
        all.add(&histogram);
        assert_eq!((all.count(), all.sum_us()), (30_000, 3 * 50_005_000));

        for (share, exact) in [(0.5, 5_000_u64), (0.99, 9_900), (0.999, 9_990)] {
            let found = all.quantile_us(share);
            assert!(
                found.abs_diff(exact) * 8 <= exact,
                "{share}: {found} instead of {exact}"
            );
        }

        assert_eq!(Latencies::default().quantile_us(0.99), 0);
    }

    #[test]
    fn cumulative_counts_rise_to_the_count_of_all() {
        let histogram = Histogram::default();
        for us in [0, 15, 16, 17, 1_000, 70_000_000] {
            histogram.record(Duration::from_micros(us), 1);
        }

        let mut all = Latencies::default();
        all.add(&histogram);

        let shown: Vec<_> = all.cumulative().collect();
        assert_eq!((shown[0], shown[1]), ((16, 2), (32, 4)));
        assert_eq!(shown.last(), Some(&(1 << 25, 5)));
        assert!(shown.is_sorted_by_key(|(_, below)| *below));
    }
}
