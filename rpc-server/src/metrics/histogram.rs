//! Latencies, counted in buckets that are an eighth as wide as they are high.

use std::time::Duration;

pub(super) use rpc_core::metrics::histogram::BUCKETS;
pub(crate) use rpc_core::metrics::histogram::Latencies;
use rpc_core::metrics::histogram::latency_bucket;

use super::{add, get};
use crate::sync::AtomicU64;

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
    /// Adds `times` calls that took the same time.
    pub(crate) fn record(&self, time: Duration, times: u64) {
        let (bucket, us) = latency_bucket(time);
        add(&self.buckets[bucket], times);
        add(&self.sum_us, us.saturating_mul(times));
    }

    /// Adds what it has counted to what others have.
    pub(crate) fn add_to(&self, all: &mut Latencies) {
        all.add(self.buckets.iter().map(get), get(&self.sum_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_histogram_counts_is_what_is_read_of_several() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(3), 2);
        other.record(Duration::MAX, 1);

        let mut all = Latencies::default();
        one.add_to(&mut all);
        assert_eq!((all.count(), all.sum_us()), (2, 6));
        other.add_to(&mut all);
        assert_eq!((all.buckets()[3], all.buckets()[BUCKETS - 1]), (2, 1));
    }
}
