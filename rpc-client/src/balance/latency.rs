//! Latency of an endpoint, as the balancer sees it.

use std::time::Duration;

use tokio::time::Instant;

/// An average of latencies that follows a rise at once and a fall with time, as Finagle's peak EWMA:
/// an endpoint that has become slow is left alone after its first slow answer, and tried again as
/// its memory fades.
#[derive(Debug, Default)]
pub(crate) struct PeakEwma(Option<(f64, Instant)>);

impl PeakEwma {
    /// Takes in the latency of a call that ended `now`. `decay`: the time in which an old value loses
    /// all but a third of its weight.
    pub(crate) fn observe(&mut self, latency: Duration, decay: Duration, now: Instant) {
        let sample = latency.as_secs_f64();
        let value = match self.0 {
            Some((value, at)) if sample < value => {
                let weight = weight(now.saturating_duration_since(at), decay);
                value * weight + sample * (1.0 - weight)
            }
            _ => sample,
        };
        self.0 = Some((value, now));
    }

    /// In seconds; `None` before the first answer. It fades while nothing is observed, so that an
    /// endpoint which was slow once is not shunned for ever.
    pub(crate) fn estimate(&self, decay: Duration, now: Instant) -> Option<f64> {
        self.0
            .map(|(value, at)| value * weight(now.saturating_duration_since(at), decay))
    }
}

fn weight(elapsed: Duration, decay: Duration) -> f64 {
    // A decay of 0 forgets at once; 0 / 0 would not be a number.
    (-elapsed.as_secs_f64() / decay.as_secs_f64().max(1e-9)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_counts_at_once_and_a_fall_with_time() {
        let (start, decay, mut latency) =
            (Instant::now(), Duration::from_secs(1), PeakEwma::default());
        let after = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;

        assert_eq!(latency.estimate(decay, start), None);
        latency.observe(ms(1), decay, after(0));
        latency.observe(ms(100), decay, after(1));
        assert_eq!(latency.estimate(decay, after(1)), Some(0.1));

        latency.observe(ms(1), decay, after(2));
        let soon = latency.estimate(decay, after(2)).unwrap();
        assert!((0.099..0.1).contains(&soon), "{soon}");

        let later = latency.estimate(decay, after(3_002)).unwrap();
        assert!((0.004..0.006).contains(&later), "{later}");
    }

    #[test]
    fn no_decay_keeps_the_last_value_only() {
        let (start, mut latency) = (Instant::now(), PeakEwma::default());
        latency.observe(Duration::from_secs(1), Duration::ZERO, start);
        latency.observe(
            Duration::from_millis(1),
            Duration::ZERO,
            start + Duration::from_millis(1),
        );

        assert_eq!(
            latency.estimate(Duration::ZERO, start + Duration::from_millis(1)),
            Some(0.001)
        );
    }
}
