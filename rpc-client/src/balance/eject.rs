//! Ejection of failing endpoints, and their return.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// What is remembered of an endpoint's failures. It reads no clock and takes no lock: its owner does.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Failures since the last success.
    failures_in_a_row: u32,
    /// Ejections since the endpoint last did well for a whole window.
    ejections: u32,
    ejected_until: Option<Instant>,
    window: Option<Window>,
}

/// How a call ended, for the health of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Well,
    Badly,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    calls: u64,
    failures: u64,
}

impl Health {
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// Takes in how a call ended. Returns for how long the endpoint is ejected, where it now is.
    pub(crate) fn observe(
        &mut self,
        end: CallEnd,
        config: &Config,
        now: Instant,
    ) -> Option<Duration> {
        if self.is_ejected(now) {
            // Calls from before; they were judged together.
            return None;
        }

        let Window {
            calls, failures, ..
        } = self.count(end, config, now);
        if end == CallEnd::Well {
            self.failures_in_a_row = 0;
            return None;
        }

        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        // One that has just returned is on probation: its first failure is enough.
        let is_on_probation = self.ejected_until.is_some();
        let too_many_in_a_row = config.ejection.after_failures > 0
            && (is_on_probation || self.failures_in_a_row >= config.ejection.after_failures);

        let allowed =
            calls * u64::from(100_u32.saturating_sub(config.ejection.success_percent_min));
        let too_few_succeed = calls >= config.ejection.calls_min && failures * 100 > allowed;
        if !too_many_in_a_row && !too_few_succeed {
            return None;
        }

        let time = self.next_time(config);
        self.ejections = self.ejections.saturating_add(1);
        self.failures_in_a_row = 0;
        self.ejected_until = Some(now + time);
        self.window = None;
        Some(time)
    }

    /// Counts within the window, and begins a new one where it is over. Returns the window with this call.
    fn count(&mut self, end: CallEnd, config: &Config, now: Instant) -> Window {
        let length = Duration::from_millis(config.ejection.window_ms);
        let window = match &mut self.window {
            Some(window) if now.saturating_duration_since(window.since) < length => window,
            over => {
                if over.as_ref().is_some_and(|window| window.failures == 0) {
                    self.ejections = 0;
                    self.ejected_until = None;
                }
                over.insert(Window {
                    since: now,
                    calls: 0,
                    failures: 0,
                })
            }
        };

        window.calls += 1;
        window.failures += u64::from(end == CallEnd::Badly);
        *window
    }

    /// Twice as long each time, and spread over the upper half, so that clients do not return together.
    fn next_time(&self, config: &Config) -> Duration {
        let base = Duration::from_millis(config.ejection.base_ms);
        let doubled = base.saturating_mul(1u32.checked_shl(self.ejections).unwrap_or(u32::MAX));
        doubled
            .min(Duration::from_millis(config.ejection.cap_ms))
            .mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::CallEnd::{Badly, Well};
    use super::*;

    fn config() -> Config {
        Config::default().with(|config| {
            config.ejection.after_failures = 3;
            config.ejection.success_percent_min = 50;
            config.ejection.calls_min = 10;
            config.ejection.window_ms = 10_000;
            config.ejection.base_ms = 1_000;
            config.ejection.cap_ms = 60_000;
        })
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let (config, now, mut health) = (config(), Instant::now(), Health::default());
        for end in [Badly, Badly, Well, Badly, Badly] {
            assert_eq!(health.observe(end, &config, now), None);
        }

        let time = health.observe(Badly, &config, now).unwrap();
        assert!((500..=1_000).contains(&time.as_millis()), "{time:?}");
        assert!(health.is_ejected(now) && !health.is_ejected(now + time));
    }

    #[test]
    fn too_low_a_success_rate_ejects_however_the_failures_are_spread() {
        let (config, now, mut health) = (config(), Instant::now(), Health::default());
        // Two of three fail, never three in a row.
        let ejected_at = (0..30)
            .position(|n| {
                health
                    .observe(if n % 3 == 2 { Well } else { Badly }, &config, now)
                    .is_some()
            })
            .expect("it is ejected");

        assert!(
            ejected_at >= 9,
            "not before there are calls enough to judge: {ejected_at}"
        );
    }

    #[test]
    fn each_ejection_is_longer_until_a_whole_window_went_well() {
        let (config, start, mut health) = (config(), Instant::now(), Health::default());
        let mut now = start;
        let mut longest = Duration::ZERO;

        for round in 0..12 {
            // Three the first time; later, while on probation, the first one is enough.
            let failures = if round == 0 { 3 } else { 1 };
            let time = (0..failures)
                .find_map(|_| health.observe(Badly, &config, now))
                .unwrap();

            let window = Duration::from_secs(1 << round).min(Duration::from_secs(60));
            assert!(time <= window && time >= window / 2, "{round}: {time:?}");
            longest = longest.max(time);
            now += time;
        }
        assert!(longest <= Duration::from_secs(60));

        for _ in 0..2 {
            assert_eq!(health.observe(Well, &config, now), None);
            now += Duration::from_secs(11);
        }
        assert_eq!(
            health.observe(Badly, &config, now),
            None,
            "it is trusted again"
        );
    }

    #[test]
    fn a_limit_of_zero_is_off() {
        let config = config().with(|config| {
            config.ejection.after_failures = 0;
            config.ejection.success_percent_min = 0;
        });
        let (now, mut health) = (Instant::now(), Health::default());
        assert!((0..1000).all(|_| health.observe(Badly, &config, now).is_none()));
    }
}
