//! Waiting for an endpoint's connection, which one task opens for all calls.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{Endpoint, Outcome, State};
use crate::connection::Connection;
use crate::error::{Cause, Error};

/// What a call that waits has to do.
enum Look {
    Take(Arc<Connection>),
    /// Wait for a change, until then at most.
    Wait(Option<Instant>),
}

impl Endpoint {
    /// The connection, once it is open.
    ///
    /// # Errors
    /// Connecting has failed for longer than a call waits, or the task that connects was stopped.
    pub(super) async fn wait(&self) -> Result<Arc<Connection>, Error> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change in between is missed.
            changed.as_mut().enable();

            match self.look()? {
                Look::Take(connection) => return Ok(connection),
                Look::Wait(None) => changed.await,
                // At the end of its patience it looks again.
                Look::Wait(Some(until)) => timeout_at(until, changed).await.unwrap_or_default(),
            }
        }
    }

    fn look(&self) -> Result<Look, Error> {
        let outcome = match &self.lock().state {
            State::Connected(connection) => return Ok(Look::Take(Arc::clone(connection))),
            State::Idle => {
                return Err(self.not_sent(Cause::new("the task that connects was stopped")));
            }
            State::Connecting(attempts) => attempts.outcome.clone(),
        };

        let failure = match outcome {
            Outcome::FirstUnderWay => return Ok(Look::Wait(None)),
            Outcome::AfterLoss(_) if self.common.config.reconnect.fail_fast_after().is_zero() => {
                return Ok(Look::Wait(None));
            }
            Outcome::AfterLoss(failure) | Outcome::Failing(failure) => failure,
        };

        self.wanted.notify_one();
        let until = failure
            .since
            .checked_add(self.common.config.reconnect.fail_fast_after());
        if failure.is_final || until.is_some_and(|until| until <= Instant::now()) {
            return Err(self.not_sent(failure.last));
        }
        Ok(Look::Wait(until))
    }
}
