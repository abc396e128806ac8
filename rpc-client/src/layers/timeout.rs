//! A layer that gives each call a deadline.

use std::future::Future;
use std::time::Duration;

use rpc_core::{Layer, Outcome, Request, Service, Status};
use tokio::time::{Instant, timeout_at};

use crate::time::after;

/// Gives each call at most this long, and a call that has less its own time. Past it the call is given
/// up and its code is 4; it may have run.
///
/// The service inside is told, so that a client tells its server. Of a streaming call it limits the
/// time to the beginning. It needs tokio's clock.
///
/// ```
/// use std::time::Duration;
///
/// use rpc_client::layers::Timeout;
/// use rpc_client::{Code, RawJson, ServiceClient, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let never = service_fn(|_| std::future::pending());
/// let client = ServiceClient::new(never).layer(Timeout::new(Duration::from_millis(10)));
/// let failure = client.call::<_, u64>(100, &RawJson::NULL).await.unwrap_err();
/// assert_eq!(failure.code(), Code::DEADLINE_EXCEEDED);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Timeout(Duration);

impl Timeout {
    /// A layer that ends calls after `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self(timeout)
    }
}

impl<S: Service> Layer<S> for Timeout {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> TimeoutService<S> {
        TimeoutService {
            inner,
            timeout: self.0,
        }
    }
}

/// See [`Timeout`].
#[derive(Debug, Clone)]
pub struct TimeoutService<S> {
    inner: S,
    timeout: Duration,
}

impl<S: Service> Service for TimeoutService<S> {
    fn call(&self, mut request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let deadline = if request.credit.is_some() {
            // Only until the first item: what the request says would end the stream.
            after(Instant::now(), self.timeout)
        } else {
            shorten(&mut request, self.timeout)
        };
        ends_by(deadline, self.inner.call(request))
    }
}

/// Gives the request `timeout` from now where it has more, for a client's server and for a router here,
/// and says when that is over.
pub(crate) fn shorten(request: &mut Request<'_>, timeout: Duration) -> Instant {
    let now = Instant::now();
    let timeout = request.timeout.map_or(timeout, |own| own.min(timeout));
    let deadline = shorten_here(request, timeout, now);
    request.timeout = Some(deadline.saturating_duration_since(now));
    deadline
}

/// As [`shorten`], for this process alone.
pub(crate) fn shorten_here(request: &mut Request<'_>, timeout: Duration, now: Instant) -> Instant {
    let mut deadline = after(now, timeout);
    if let Some(own) = request.scope.deadline {
        deadline = deadline.min(Instant::from_std(own));
    }

    request.scope.deadline = Some(deadline.into_std());
    deadline
}

/// The outcome of the call, or code 4 at the deadline.
pub(crate) async fn ends_by(deadline: Instant, call: impl Future<Output = Outcome>) -> Outcome {
    timeout_at(deadline, call).await.unwrap_or_else(|_| {
        Err(Status::deadline_exceeded(
            "no reply before the deadline; the call may have run",
        ))
    })
}
