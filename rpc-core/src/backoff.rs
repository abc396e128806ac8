//! How long to wait before the next try.

use std::time::Duration;

/// Exponential back-off with full jitter: before the n-th retry, a random time between 0 and
/// `min(cap, base * 2^n)`, so that clients that lost one server together do not return together.
///
/// It only computes; whoever has a clock waits.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off from `base` (not 0, or it never waits) up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// Counts a failure and says how long to wait. The first one waits not at all: a server that
    /// was just restarted is there again.
    pub fn next_delay(&mut self) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return Duration::ZERO;
        }
        let doubled = self.base.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        doubled.min(self.cap).mul_f64(fastrand::f64())
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_over_a_window_that_doubles_up_to_the_cap() {
        let (base, cap) = (Duration::from_millis(50), Duration::from_secs(5));
        let mut longest = [Duration::ZERO; 12];
        for _ in 0..2000 {
            let mut backoff = Backoff::new(base, cap);
            for longest in &mut longest {
                *longest = backoff.next_delay().max(*longest);
            }
        }
        assert_eq!(longest[0], Duration::ZERO);
        for (n, longest) in longest.iter().enumerate().skip(1) {
            let window = base.saturating_mul(1 << (n - 1)).min(cap);
            assert!(*longest <= window && *longest > window.mul_f64(0.9), "{n}: {longest:?} of {window:?}");
        }
        let mut many = Backoff { failures: u32::MAX, ..Backoff::new(base, cap) };
        assert!(many.next_delay() <= cap);
        many.reset();
        assert_eq!(many.next_delay(), Duration::ZERO);
    }
}
