//! Log-linear buckets: the arithmetic of latency histograms, for both sides.
//!
//! A bucket is an eighth as wide as its values are high, so a figure read from one is exact to an eighth of itself.

use std::time::Duration;

/// Buckets in each power of two.
pub const PARTS: usize = 8;

const PARTS_BITS: u32 = PARTS.trailing_zeros();

/// The bucket that counts this value. Values below [`PARTS`] have a bucket each.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both are below 16")]
pub fn bucket_of(value: u64) -> usize {
    let Some(shift) = value.max(1).ilog2().checked_sub(PARTS_BITS) else {
        return value as usize;
    };

    // Of the four highest bits the first one is always set: 8 to 15.
    let highest = (value >> shift) as usize;
    shift as usize * PARTS + highest
}

/// The least value that this bucket counts.
#[inline]
pub fn lower_bound(bucket: usize) -> u64 {
    let (octave, part) = (bucket / PARTS, (bucket % PARTS) as u64);
    match octave {
        0 => part,
        octave => (PARTS as u64 + part) << (octave - 1),
    }
}

/// Buckets of a histogram of latencies in microseconds: up to 67 s; what takes longer is counted in the last one.
pub const BUCKETS: usize = 24 * PARTS + 1;

/// The upper bounds that Prometheus is shown, as powers of two of microseconds: 16 µs to 33.6 s.
const SHOWN: std::ops::RangeInclusive<u32> = 4..=25;

/// The bucket of a latency, and the latency in microseconds.
#[inline]
pub fn latency_bucket(latency: Duration) -> (usize, u64) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    (bucket_of(us).min(BUCKETS - 1), us)
}

/// What one histogram of latencies, or several together, have counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
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
    /// Adds `times` calls that took the same time.
    pub fn record(&mut self, latency: Duration, times: u64) {
        let (bucket, us) = latency_bucket(latency);
        self.buckets[bucket] += times;
        self.sum_us = self.sum_us.wrapping_add(us.saturating_mul(times));
    }

    /// Adds what another histogram has counted: its buckets in their order, and its sum.
    pub fn add(&mut self, buckets: impl IntoIterator<Item = u64>, sum_us: u64) {
        for (sum, count) in self.buckets.iter_mut().zip(buckets) {
            *sum += count;
        }
        self.sum_us = self.sum_us.wrapping_add(sum_us);
    }

    /// Adds to some buckets, by their places.
    pub fn add_counts(&mut self, counts: &[(u8, u64)], sum_us: u64) {
        for (bucket, count) in counts {
            self.buckets[usize::from(*bucket)] += count;
        }
        self.sum_us = self.sum_us.wrapping_add(sum_us);
    }

    /// The counts in the order of their buckets.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The time that this share of all stayed below, in microseconds, to an eighth of itself; 0 without calls.
    pub fn quantile_us(&self, share: f64) -> u64 {
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
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
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

        let mut all = Latencies::default();
        for time in [Duration::from_micros(1 << 26), Duration::MAX] {
            all.record(time, 1);
        }
        assert_eq!(all.buckets()[BUCKETS - 1], 2);
    }

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let (mut one, mut all) = (Latencies::default(), Latencies::default());
        for us in 1..=10_000 {
            one.record(Duration::from_micros(us), 3);
        }
        all.add(one.buckets().iter().copied(), one.sum_us());
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
        let mut all = Latencies::default();
        for us in [0, 15, 16, 17, 1_000, 70_000_000] {
            all.record(Duration::from_micros(us), 1);
        }

        let shown: Vec<_> = all.cumulative().collect();
        assert_eq!((shown[0], shown[1]), ((16, 2), (32, 4)));
        assert_eq!(shown.last(), Some(&(1 << 25, 5)));
        assert!(shown.is_sorted_by_key(|(_, below)| *below));
    }

    #[test]
    fn a_value_is_in_the_bucket_whose_bounds_enclose_it() {
        let powers = (0..63).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
        for value in (0..5_000)
            .chain((5_000..5_000_000).step_by(997))
            .chain(powers)
        {
            let bucket = bucket_of(value);
            let (least, next) = (lower_bound(bucket), lower_bound(bucket + 1));

            assert!((least..next).contains(&value), "{value}: {least} to {next}");
            assert!(
                next - least <= least / PARTS as u64 + 1,
                "{value}: {least} to {next}"
            );
        }
    }
}
