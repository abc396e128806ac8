//! A limit that follows what the server can do: the gradient of latency.
//!
//! Without load, a call takes `least` time. Under more load than the server can bear, calls wait for each
//! other and take longer; that they do says that too many are in flight, however fast the machine is. So,
//! once a window: `limit = limit * gradient + room`, where `gradient` is the time that calls may take
//! (`least`, and a quarter more) by the time that they took, and `room` the square root of the limit,
//! which lets it grow while no call waits. `least` is measured anew now and then with few calls in flight: otherwise
//! a server that is always busy would take its waiting for its own speed. That is Envoy's adaptive
//! concurrency; Netflix's concurrency-limits has the same gradient.
//!
//! It has no clock: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How long latencies are gathered before the limit moves.
const WINDOW: Duration = Duration::from_millis(100);

/// Calls without which a window says nothing.
const WINDOW_CALLS: u64 = 10;

/// How long a measured `least` is believed, ±10 % at random: servers that began together
/// should not all slow down together.
const LEAST_KEPT: Duration = Duration::from_secs(30);

/// Calls that have begun during a measurement of `least` and make it.
const LEAST_CALLS: u64 = 50;

/// The longest time that a measurement takes: what it has by then has to do.
const LEAST_WITHIN: Duration = Duration::from_secs(2);

/// What a call may take, in parts of `least`, before it counts as slow.
const TOLERANCE: f64 = 1.25;

/// What one window may do to the limit: halve it, or let it grow by its room alone.
const GRADIENT_MIN: f64 = 0.5;

/// The controller. Feed it, and take the limit from it.
#[derive(Debug)]
pub(crate) struct Gradient {
    min: f64,
    max: f64,
    limit: f64,
    /// Seconds that calls take without load.
    least: Option<f64>,
    state: State,
    window: Window,
}

#[derive(Debug)]
enum State {
    /// The limit follows the latency until it is time to measure again.
    Following { until: Instant },
    /// Few calls are let in, to see what they take: those that began at `since` or later.
    Measuring { since: Instant, calls: Window },
}

/// Latencies of some time.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    begun: Option<Instant>,
    seconds: f64,
    calls: u64,
    /// The most calls that were in flight.
    most: f64,
}

impl Window {
    fn add(&mut self, sample: &Sample) {
        self.begun.get_or_insert(sample.now);
        self.seconds += sample.latency.as_secs_f64();
        self.calls += 1;
        self.most = self.most.max(sample.in_flight);
    }

    #[allow(clippy::cast_precision_loss, reason = "few calls")]
    fn mean(&self) -> f64 {
        self.seconds / self.calls.max(1) as f64
    }
}

/// A call that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) now: Instant,
    pub(crate) latency: Duration,
    /// Calls in flight on the whole server.
    pub(crate) in_flight: f64,
}

impl Gradient {
    /// A limit between `min`, where it begins, and `max`.
    pub(crate) fn new(min: usize, max: usize, now: Instant) -> Self {
        #[allow(
            clippy::cast_precision_loss,
            reason = "the number of calls of a server is far below 2^52"
        )]
        let (min, max) = (min as f64, max as f64);

        let state = State::Measuring {
            since: now,
            calls: Window::default(),
        };

        Self {
            min,
            max,
            limit: min,
            least: None,
            state,
            window: Window::default(),
        }
    }

    /// How many calls may be in flight.
    pub(crate) fn limit(&self) -> u64 {
        let limit = match self.state {
            State::Following { .. } => self.limit,
            State::Measuring { .. } => self.min,
        };

        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between `min` and `max`"
        )]
        let limit = limit as u64;
        limit
    }

    /// Takes in a call that has ended.
    pub(crate) fn record(&mut self, sample: Sample) {
        match &mut self.state {
            State::Measuring { since, calls } => {
                let since = *since;

                // One that began before was slowed down by those of before.
                if sample
                    .now
                    .checked_sub(sample.latency)
                    .is_some_and(|began| began >= since)
                {
                    calls.add(&sample);
                }

                let is_over = calls.calls >= LEAST_CALLS
                    || calls.calls > 0 && sample.now - since >= LEAST_WITHIN;
                if is_over {
                    self.least = Some(calls.mean());
                    self.follow(sample.now);
                }
            }

            State::Following { until } if *until <= sample.now => {
                self.state = State::Measuring {
                    since: sample.now,
                    calls: Window::default(),
                };
            }

            State::Following { .. } => {
                self.window.add(&sample);
                let begun = self.window.begun.unwrap_or(sample.now);
                if sample.now - begun >= WINDOW && self.window.calls >= WINDOW_CALLS {
                    let window = std::mem::take(&mut self.window);
                    self.adjust(&window);
                }
            }
        }
    }

    fn follow(&mut self, now: Instant) {
        let kept = LEAST_KEPT.mul_f64(0.9 + 0.2 * fastrand::f64());
        self.state = State::Following { until: now + kept };
        self.window = Window::default();
    }

    fn adjust(&mut self, window: &Window) {
        let Some(least) = self.least else { return };

        let took = window.mean();
        if took <= 0.0 {
            return;
        }

        let gradient = (least * TOLERANCE / took).clamp(GRADIENT_MIN, 1.0);

        // Where few calls come, that they are fast does not say that more would be.
        if gradient >= 1.0 && window.most < self.limit / 2.0 {
            return;
        }

        let limit = self.limit * gradient;
        self.limit = (limit + limit.sqrt()).clamp(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that does this number of calls at one time, each in 10 ms; what is over that waits.
    struct Service {
        gradient: Gradient,
        start: Instant,
        millis: u64,
    }

    const SECONDS: f64 = 0.01;

    impl Service {
        fn new(min: usize, max: usize) -> Self {
            let start = Instant::now();
            Self {
                gradient: Gradient::new(min, max, start),
                start,
                millis: 0,
            }
        }

        /// `offered` calls are there at every time, of which the limit lets some in. Returns
        /// the mean number in flight, and of what is done in a second, of the second half of the time.
        fn run(&mut self, capacity: f64, offered: f64, seconds: u64) -> (f64, f64) {
            let (mut in_flights, mut done, mut steps) = (0.0, 0.0, 0.0);
            for step in 0..seconds * 100 {
                #[allow(clippy::cast_precision_loss, reason = "a test")]
                let in_flight = offered.min(self.gradient.limit() as f64);
                let latency = SECONDS * (in_flight / capacity).max(1.0);

                // Ten samples stand for what ends in ten milliseconds.
                for _ in 0..10 {
                    self.millis += 1;
                    let now = self.start + Duration::from_millis(self.millis);
                    self.gradient.record(Sample {
                        now,
                        latency: Duration::from_secs_f64(latency),
                        in_flight,
                    });
                }

                if step >= seconds * 50 {
                    in_flights += in_flight;
                    done += in_flight / latency;
                    steps += 1.0;
                }
            }

            (in_flights / steps, done / steps)
        }
    }

    #[test]
    fn it_settles_a_little_above_what_the_service_can_do_at_one_time() {
        for capacity in [8.0, 64.0, 500.0] {
            let (in_flight, done) = Service::new(4, 10_000).run(capacity, 1e9, 25);
            assert!(
                (1.0..2.2).contains(&(in_flight / capacity)),
                "{in_flight} for {capacity}"
            );
            assert!(done > capacity * 95.0, "{done} of {}", capacity * 100.0);
        }
    }

    #[test]
    fn it_comes_down_when_the_service_can_do_less_and_up_again() {
        let mut service = Service::new(4, 10_000);
        assert!(service.run(100.0, 1e9, 25).0 > 100.0);

        // More than a measurement of `least` lies within each.
        assert!(service.run(10.0, 1e9, 100).0 < 22.0);
        assert!(service.run(100.0, 1e9, 100).0 > 90.0);
    }

    #[test]
    fn it_does_not_grow_where_few_calls_come_and_stays_within_its_bounds() {
        let mut few = Service::new(4, 10_000);
        few.run(100.0, 10.0, 25);
        assert!(few.gradient.limit() < 30, "{}", few.gradient.limit());

        let mut bounded = Service::new(4, 50);
        bounded.run(100.0, 1e9, 20);
        assert_eq!(bounded.gradient.limit(), 50);

        bounded.run(1.0, 1e9, 5);
        assert!(
            (4..10).contains(&bounded.gradient.limit()),
            "{}",
            bounded.gradient.limit()
        );
    }
}
