//! The loop that dials: one attempt to connect after another, with back-off between them, until one succeeds. It is the
//! same for a connection that is kept and for one that is opened for a single call; what ends it otherwise, and how
//! long it waits, is said by a [`Course`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::backoff::Backoff;
use tokio::time::{Instant, timeout_at};

use super::authenticate::ConnectFailure;
use super::connect::Connector;
use super::tried::Tried;
use crate::connection::{Common, Connection, Loss};
use crate::error::Cause;
use crate::time::{after, earliest};

/// A time in which connecting fails.
#[derive(Clone)]
pub(super) struct Outage {
    /// When it began.
    pub(super) since: Instant,
    /// How the last attempt failed.
    pub(super) last: Cause,
    /// Whether waiting is of no use: the server has looked at the token and refused it.
    pub(super) is_final: bool,
    /// When the server wants to be asked again, where it said so.
    pub(super) retry_after: Option<Duration>,
}

/// What decides on the loop beside its attempts.
pub(super) trait Course {
    /// Why the loop ends without a connection.
    type End;

    /// Whether an attempt may begin, and until when it may last, if that is before its own time limit.
    fn next_attempt(
        &self,
        failing: Option<&Outage>,
        now: Instant,
    ) -> Result<Option<Instant>, Self::End>;

    /// Waits behind a failed attempt, for `delay` unless the server has asked for another time.
    fn pause(
        &self,
        outage: &Outage,
        delay: Duration,
    ) -> impl Future<Output = Result<(), Self::End>> + Send;

    /// What is called at the end of the connection.
    fn at_end(&self) -> impl FnOnce(Loss) + Send + 'static;
}

/// Connects to one address.
pub(super) struct Dialing<'d> {
    address: &'d Arc<str>,
    common: &'d Common,
    connector: &'d Connector,
    pub(super) backoff: Backoff,
    /// Since when it fails, where that was before the first attempt.
    pub(super) failing_since: Option<Instant>,
}

impl<'d> Dialing<'d> {
    pub(super) fn new(address: &'d Arc<str>, common: &'d Common, connector: &'d Connector) -> Self {
        Self {
            address,
            common,
            connector,
            backoff: common.config.reconnect.backoff(),
            failing_since: None,
        }
    }

    pub(super) async fn run<C: Course>(mut self, course: &C) -> Result<Arc<Connection>, C::End> {
        let config = &self.common.config;
        let mut failing = None;

        loop {
            let now = Instant::now();
            let until = course.next_attempt(failing.as_ref(), now)?;

            let connect_end = after(now, config.timeouts.connect_timeout());
            // One timer for all that ends an attempt.
            let limit = earliest(until, Some(connect_end)).unwrap_or(connect_end);
            let tried = Tried::default();
            let opening =
                self.connector
                    .connect(self.address, self.common, &tried, course.at_end());
            let failure = match timeout_at(limit, opening).await {
                Ok(Ok(connection)) if connection.is_usable() => return Ok(connection),
                // It was sent away before it could be used; the next one need not fare better.
                Ok(Ok(connection)) => ConnectFailure::of_over(&connection),
                Ok(Err(failure)) => failure,
                Err(_) if limit == connect_end => ConnectFailure::no_answer(config, &tried),
                Err(_) => continue,
            };

            let since = *self.failing_since.get_or_insert_with(Instant::now);
            let delay = self.backoff.next_delay_after(since.elapsed());
            failure.log(self.address);

            let outage = failure.since(since);
            course.pause(&outage, delay).await?;
            failing = Some(outage);
        }
    }
}
