//! Whether one more call may start: the limit of calls in flight on all connections together.

use std::sync::atomic::{AtomicU64, Ordering};

use rpc_core::Status;
use tokio::time::Instant;

use crate::config::Config;

/// The limit, and what those are told who meet it.
pub(crate) struct Admission {
    limit: AtomicU64,
    /// Calls of all connections, as of the end of their last turns.
    in_flight: AtomicU64,
    begun: Instant,
    /// The second since `begun`, counted from 1, in which it was last logged that calls are shed.
    logged: AtomicU64,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            limit: AtomicU64::new(config.in_flight_max as u64),
            in_flight: AtomicU64::new(0),
            begun: Instant::now(),
            logged: AtomicU64::new(0),
        }
    }

    /// Relaxed: a call too many or too few for a moment harms nobody.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// A connection has so many calls in flight, and had so many when it last said so.
    pub(crate) fn publish(&self, before: usize, now: usize) {
        if before != now {
            // What is added for fewer calls than before wraps around to what is taken away.
            self.in_flight.fetch_add((now as u64).wrapping_sub(before as u64), Ordering::Relaxed);
        }
    }

    /// Whether there are as many calls in flight as there may be, for a connection that has so many
    /// `now` and has published so many.
    pub(crate) fn is_full(&self, published: usize, now: usize) -> bool {
        let own = (now as u64).wrapping_sub(published as u64);
        self.in_flight.load(Ordering::Relaxed).wrapping_add(own) >= self.limit()
    }

    /// What is said of a call that is not run.
    pub(crate) fn refusal(&self, config: &Config, now: Instant) -> Status {
        let limit = self.limit();
        let name = if config.adaptive_concurrency { "adaptive_concurrency" } else { "in_flight_max" };
        let second = now.saturating_duration_since(self.begun).as_secs() + 1;
        if self.logged.swap(second, Ordering::Relaxed) != second {
            // Once a second: under overload, a line for each would be one more load.
            tracing::warn!(limit, setting = name, "calls are shed: as many as may be are in flight");
        }
        let message = format!(
            "the server has as many calls in flight as `{name}` allows, {limit}, and did not run this one"
        );
        Status::resource_exhausted(message).with_rejected().with_retry_after(config.shed_retry_after())
    }
}
