//! A layer that limits the calls that begin in a second.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use rpc_core::{CmdId, Layer, Outcome, Request, Service, Status};
use tokio::time::Instant;

use crate::sync::{AtomicU32, AtomicU64};

/// Limits the number of calls that begin in a second, of one command or of a whole router.
///
/// A further call is not run: it ends with code 8, `rejected`, and the time in `retry_after_ms` after which there
/// is room for it. Who has not called for a second may make a second's worth of calls at once. Clones share
/// the rate.
///
/// ```
/// use rpc_core::Status;
/// use rpc_server::Router;
/// use rpc_server::layers::RateLimit;
///
/// async fn search() -> Result<u64, Status> {
///     Ok(7)
/// }
///
/// let rate = RateLimit::per_second(100);
/// let router = Router::new().route(2001, search).unwrap().layer(rate.clone());
/// rate.set(200); // takes effect at once, also while the router is served
/// # let _ = router;
/// ```
#[derive(Debug, Clone)]
pub struct RateLimit(Arc<Rate>);

#[derive(Debug)]
struct Rate {
    per_second: AtomicU32,
    /// The generic cell rate algorithm, in nanoseconds since `begun`: the time at which all calls so far
    /// would have begun, had they come evenly.
    even: AtomicU64,
    begun: Instant,
    shed: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl RateLimit {
    /// Calls that may begin in a second; 0: no limit.
    pub fn per_second(calls: u32) -> Self {
        Self(Arc::new(Rate {
            per_second: AtomicU32::new(calls),
            even: AtomicU64::new(0),
            begun: Instant::now(),
            shed: AtomicU64::new(0),
        }))
    }

    /// Changes the rate.
    pub fn set(&self, calls: u32) {
        // Relaxed, here and below: each is a number by itself, and orders no other memory.
        self.0.per_second.store(calls, Ordering::Relaxed);
    }

    /// Calls that were not run.
    pub fn shed(&self) -> u64 {
        self.0.shed.load(Ordering::Relaxed)
    }

    /// Counts a call, or says how long it has to wait for its turn.
    fn take(&self) -> Result<(), Duration> {
        let rate = self.0.per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return Ok(());
        }

        let now = u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let each = SECOND / u64::from(rate);

        // The last of a second's worth begins a second less its own share ahead of its even time.
        let ahead_max = SECOND - each;
        let next = |even: u64| {
            let even = even.max(now);
            (even - now <= ahead_max).then(|| even.saturating_add(each))
        };

        match self
            .0
            .even
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        {
            Ok(_) => Ok(()),
            Err(even) => Err(Duration::from_nanos(
                (even - now).saturating_sub(ahead_max).max(1),
            )),
        }
    }

    fn check(&self, cmdid: CmdId) -> Result<(), Status> {
        self.take().map_err(|wait| {
            self.0.shed.fetch_add(1, Ordering::Relaxed);

            let rate = self.0.per_second.load(Ordering::Relaxed);
            let message = format!("{rate} calls a second may begin, which is the `requests_per_second` of this limit; this call of cmdid {cmdid} did not run");

            // Those who are told at the same time should not all come back at the same time.
            let after = wait + wait.mul_f64(fastrand::f64()) + Duration::from_millis(1);
            Status::resource_exhausted(message).with_rejected().with_retry_after(after)
        })
    }
}

impl<S: Service> Layer<S> for RateLimit {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimited {
            inner,
            limit: self.clone(),
        }
    }
}

/// A service within a [`RateLimit`].
#[derive(Debug)]
pub struct RateLimited<S> {
    inner: S,
    limit: RateLimit,
}

impl<S: Service> Service for RateLimited<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let cmdid = request.cmdid;
        RateLimitedFuture {
            inner: self.inner.call(request),
            cmdid,
            limit: Some(self.limit.clone()),
        }
    }
}

pin_project! {
    struct RateLimitedFuture<F> {
        #[pin]
        inner: F,
        cmdid: CmdId,
        // Until the first poll: a call that is only prepared counts not.
        limit: Option<RateLimit>,
    }
}

impl<F: Future<Output = Outcome>> Future for RateLimitedFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        if let Some(limit) = this.limit.take()
            && let Err(status) = limit.check(*this.cmdid)
        {
            return Poll::Ready(Err(status));
        }

        this.inner.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_may_come_at_once_and_then_the_rate_holds() {
        let limit = RateLimit::per_second(10);
        let taken = |limit: &RateLimit| (0..100).filter(|_| limit.take().is_ok()).count();

        assert_eq!(taken(&limit), 10);

        let wait = limit.take().unwrap_err();
        assert_eq!(wait.as_millis(), 100);
        tokio::time::advance(wait.saturating_sub(Duration::from_millis(1))).await;
        assert!(limit.take().is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(taken(&limit), 1);

        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(
            taken(&limit),
            10,
            "no more than a second's worth is saved up"
        );

        limit.set(1_000);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!((1..=1_000).contains(&taken(&limit)));

        limit.set(0);
        assert_eq!(taken(&limit), 100);

        limit.set(1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(taken(&limit), 1);
    }
}
