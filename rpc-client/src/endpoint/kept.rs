//! The one task that opens an endpoint's connection. It holds the endpoint no longer than others do.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rpc_core::backoff::half_jitter;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::connect::Connector;
use super::dialing::{Course, Dialing, Outage};
use super::history::TurnedAway;
use super::{Attempts, Endpoint, State};
use crate::config::Config;
use crate::connection::{Common, Loss};

/// The task, with what it begins with.
#[must_use]
pub(super) struct Connecting {
    pub(super) course: Kept,
    pub(super) address: Arc<str>,
    pub(super) common: Common,
    pub(super) connector: Connector,
    pub(super) failing_since: Option<Instant>,
    pub(super) turned_away: Option<TurnedAway>,
    pub(super) not_before: Option<Instant>,
}

impl Connecting {
    /// Tries until it succeeds, for as long as anybody holds the endpoint.
    pub(super) async fn run(self) {
        let course = self.course;
        let mut dialing = Dialing::new(&self.address, &self.common, &self.connector);
        dialing.failing_since = self.failing_since;

        if let Some(turned_away) = self.turned_away {
            course.wait_after(&turned_away, &mut dialing).await;
        }
        if let Some(at) = self.not_before {
            sleep_until(at).await;
        }

        if let Ok(connection) = dialing.run(&course).await
            && let Some(endpoint) = course.endpoint.upgrade()
        {
            endpoint.has_connected(connection);
        }
    }
}

/// A connection that is kept.
pub(super) struct Kept {
    pub(super) endpoint: Weak<Endpoint>,
    /// Which of the endpoint's tasks opens it.
    pub(super) number: u64,
    pub(super) config: Arc<Config>,
    /// Tells that calls come in.
    pub(super) wanted: Arc<Notify>,
}

impl Kept {
    /// Waits as long as an endpoint that accepts and closes deserves.
    async fn wait_after(&self, turned_away: &TurnedAway, dialing: &mut Dialing<'_>) {
        let TurnedAway { times, outage, .. } = turned_away;
        let is_repeated = *times > 1;
        if is_repeated {
            // Those who wait are told as if connecting had failed: it is no better than that.
            dialing.failing_since.get_or_insert(outage.since);
            self.report(outage);
        }

        for _ in 1..(*times).min(16) {
            dialing.backoff.next_delay();
        }

        if let Some(after) = outage.retry_after {
            // The server has said when; jitter keeps its clients from coming back in the same moment.
            sleep(half_jitter(after.min(self.cap()) * 2)).await;
        } else if is_repeated {
            self.wait(dialing.backoff.next_delay()).await;
        }
    }

    /// Waits for the back-off's time, or a shorter one if a call waits.
    async fn wait(&self, delay: Duration) {
        let wanted_within = Duration::from_millis(self.config.reconnect.wanted_ms);
        let wanted = async {
            if wanted_within.is_zero() {
                std::future::pending::<()>().await;
            }

            let least = sleep(half_jitter(wanted_within));
            self.wanted.notified().await;
            least.await;
        };

        tokio::select! {
            // In this order, and not in a random one, so that a simulated run can be repeated.
            biased;
            () = sleep(delay) => {}
            () = wanted => {}
        }
    }

    /// Reports the outage to the calls that wait for the connection.
    fn report(&self, outage: &Outage) {
        if let Some(endpoint) = self.endpoint.upgrade() {
            endpoint.is_failing(self.number, outage.clone());
        }
    }

    fn cap(&self) -> Duration {
        Duration::from_millis(self.config.reconnect.cap_ms)
    }
}

/// The endpoint has no owner any more.
pub(super) struct Unwanted;

impl Course for Kept {
    type End = Unwanted;

    fn next_attempt(&self, _: Option<&Outage>, _: Instant) -> Result<Option<Instant>, Unwanted> {
        if self.endpoint.strong_count() > 0 {
            Ok(None)
        } else {
            Err(Unwanted)
        }
    }

    async fn pause(&self, outage: &Outage, delay: Duration) -> Result<(), Unwanted> {
        self.report(outage);

        if outage.is_final {
            // Calls do not shorten this one: the answer stays the same until an operator acts.
            let base = Duration::from_millis(self.config.reconnect.base_ms);
            let pause = outage.retry_after.unwrap_or_default().max(self.cap());
            sleep(pause + half_jitter(base)).await;
        } else {
            self.wait(delay).await;
        }
        Ok(())
    }

    fn at_end(&self) -> impl FnOnce(Loss) + Send + 'static {
        let endpoint = self.endpoint.clone();
        move |loss| {
            if let Some(endpoint) = endpoint.upgrade() {
                endpoint.lost(loss);
            }
        }
    }
}

impl Drop for Kept {
    /// The task ends, if it has begun: with a connection, or because its runtime is gone or the user's connector has panicked. Those who
    /// wait are not left to do so for ever.
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.upgrade() {
            let mut inner = endpoint.lock();
            if matches!(&inner.state, State::Connecting(Attempts { number, .. }) if *number == self.number)
            {
                inner.state = State::Idle;
                drop(inner);
                endpoint.changed.notify_waiters();
            }
        }
    }
}
