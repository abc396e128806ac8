//! Latencies, counted in buckets that are an eighth as wide as they are high.

use std::time::Duration;

use super::{add, get};
use crate::sync::AtomicU64;

/// Buckets in each power of two.
const PARTS: usize = 8;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// Powers of two of microseconds that are told apart: up to 67 s. What takes longer is counted together.
const OCTAVES: u32 = 26;
const BUCKETS: usize = (OCTAVES - PARTS_BITS + 1) as usize * PARTS + 1;

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
        add(&self.buckets[bucket_of(us)], times);
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

fn bucket_of(us: u64) -> usize {
    let us = usize::try_from(us).unwrap_or(usize::MAX);
    if us < PARTS {
        // Below that, each has a bucket of its own.
        return us;
    }

    let power = us.ilog2();
    if power >= OCTAVES {
        return BUCKETS - 1;
    }

    let (octave, part) = (
        power - PARTS_BITS + 1,
        (us >> (power - PARTS_BITS)) & (PARTS - 1),
    );
    octave as usize * PARTS + part
}

/// The least time in microseconds that this bucket counts.
fn lower_bound(bucket: usize) -> u64 {
    let (octave, part) = (bucket / PARTS, bucket as u64 % PARTS as u64);
    match octave {
        0 => part,
        octave => (PARTS as u64 + part) << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_bucket_whose_bounds_enclose_it() {
        for us in (0..2_000)
            .chain((11..26).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 12_345 % (1 << p)]))
        {
            let bucket = bucket_of(us);
            assert!(
                lower_bound(bucket) <= us && us < lower_bound(bucket + 1),
                "{us} in {bucket}"
            );
        }

        assert_eq!(bucket_of((1 << 26) - 1), BUCKETS - 2);
        assert_eq!(
            (bucket_of(1 << 26), bucket_of(u64::MAX)),
            (BUCKETS - 1, BUCKETS - 1)
        );
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
