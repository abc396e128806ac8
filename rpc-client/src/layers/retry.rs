//! A layer that tries failed calls again.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rpc_core::{Layer, Outcome, Request, Service};
use tokio::time::Instant;

use crate::call::{Budget, FailedTry, RetryState};
use crate::config::Config;

/// Tries a call again that the service inside has rejected: it did not run. One that may have run is tried again too
/// where it is idempotent, by [`Command::idempotent`](crate::Command::idempotent) or as an `idempotent` method of a typed client,
/// and failed with code 14 or says when to come back. One with an `idempotency-key` alone is not: only a client knows
/// whether its connection leads to the store of keys that has seen the call.
///
/// For a service that does not do so itself: a router, a mock, a client with `retry.attempts_max` of 1. The
/// settings are those of a client: `retry.attempts_max`, `retry.base_ms`, `retry.cap_ms` and the retry budget, which all calls
/// through one layer share. The deadline stays the same over all tries; a call without an id, which has its
/// place in an order, is tried once. Of a streaming call the beginning is tried again. It needs tokio's
/// clock.
///
/// ```
/// use rpc_client::layers::Retry;
/// use rpc_client::{Client, Config};
///
/// let once = Client::with_config("127.0.0.1:8889", Config::default().with(|config| config.retry.attempts_max = 1));
/// let often = once.layer(Retry::new(&Config::default().with(|config| config.retry.attempts_max = 5)));
/// # let _ = often;
/// ```
#[derive(Debug, Clone)]
pub struct Retry {
    config: Config,
}

impl Retry {
    /// A layer that tries again as these settings say.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
        }
    }
}

impl<S: Service> Layer<S> for Retry {
    type Service = RetryService<S>;

    fn layer(&self, inner: S) -> RetryService<S> {
        let budget = Budget::new(&self.config, Instant::now());
        RetryService(Arc::new(Shared {
            inner,
            config: self.config.clone(),
            budget,
        }))
    }
}

/// See [`Retry`].
pub struct RetryService<S>(Arc<Shared<S>>);

struct Shared<S> {
    inner: S,
    config: Config,
    budget: Budget,
}

impl<S: Service> Service for RetryService<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let shared = Arc::clone(&self.0);
        let request = request.into_owned();
        async move { shared.call(request).await }
    }
}

impl<S: Service> Shared<S> {
    async fn call(&self, mut request: Request<'static>) -> Outcome {
        self.budget.count_call();
        let deadline = deadline_of(&request, Instant::now());
        let mut tries = RetryState::new(&self.config, &self.budget, deadline);

        loop {
            let failure = match self.inner.call(request.clone()).await {
                Err(failure) if request.id.is_some() => failure,
                outcome => return outcome,
            };

            let failed = FailedTry::of_service(&failure, &request);
            let Some(begin) = tries.next(&failed, Instant::now()) else {
                // Only the last try was rejected, where one before it may have run.
                return Err(if tries.may_have_run() {
                    failure.without_rejected()
                } else {
                    failure
                });
            };

            tokio::time::sleep_until(begin).await;
            request.timeout =
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        }
    }
}

fn deadline_of(request: &Request<'_>, now: Instant) -> Option<Instant> {
    let own = request.timeout.and_then(|timeout| now.checked_add(timeout));
    [own, request.scope.deadline.map(Instant::from_std)]
        .into_iter()
        .flatten()
        .min()
}

impl<S> fmt::Debug for RetryService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryService")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}
