//! A layer that limits the calls that run at one time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures::StreamExt;
use pin_project_lite::pin_project;
use rpc_core::frame::Body;
use rpc_core::{CmdId, Layer, Outcome, Request, Service, Status};

use crate::config::jittered;
use crate::sync::{AtomicU64, AtomicUsize};

/// Time after which a call that found no place is to be sent again, in milliseconds, ±50 % at random.
const RETRY_AFTER_MS: u64 = 200;

/// Limits the number of calls that run at one time, of one command or of a whole router.
///
/// A further call is not run: it ends with code 8, `rejected` and `retry_after_ms`, and a client sends it again. A
/// call has its place until it ends, however that comes: with a reply, a panic, a cancel, or its caller's
/// connection; a stream until its last item. Around a whole router it counts a detached handler only for as long as its
/// caller waits for it. Clones share the places.
///
/// ```
/// use rpc_core::Status;
/// use rpc_server::layers::ConcurrencyLimit;
/// use rpc_server::{Params, Route, Router};
///
/// async fn resize(Params(image): Params<String>) -> Result<String, Status> {
///     Ok(image)
/// }
///
/// let few = ConcurrencyLimit::new(4);
/// let router = Router::new().route(2001, Route::new(resize).layer(few.clone())).unwrap();
/// few.set(8); // takes effect at once, also while the router is served
/// # let _ = router;
/// ```
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit(Arc<Places>);

#[derive(Debug)]
struct Places {
    max: AtomicUsize,
    taken: AtomicUsize,
    shed: AtomicU64,
}

impl ConcurrencyLimit {
    /// Calls that may run at one time; 0: no limit.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Places {
            max: AtomicUsize::new(max),
            taken: AtomicUsize::new(0),
            shed: AtomicU64::new(0),
        }))
    }

    /// Changes the number. Calls that run go on, though there be more of them.
    pub fn set(&self, max: usize) {
        // Relaxed, here and below: each is a number by itself, and orders no other memory.
        self.0.max.store(max, Ordering::Relaxed);
    }

    /// Calls that run now.
    pub fn running(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Calls that were not run.
    pub fn shed(&self) -> u64 {
        self.0.shed.load(Ordering::Relaxed)
    }

    fn take_place(&self, cmdid: CmdId) -> Result<Permit, Status> {
        let max = self.0.max.load(Ordering::Relaxed);
        let taken = self.0.taken.fetch_add(1, Ordering::Relaxed);
        let place = Permit(Arc::clone(&self.0));
        if max == 0 || taken < max {
            return Ok(place);
        }

        self.0.shed.fetch_add(1, Ordering::Relaxed);
        let message = format!(
            "{max} calls are running, which is the `in_flight_max` of this limit; this call of cmdid {cmdid} did not run"
        );
        Err(Status::resource_exhausted(message)
            .with_rejected()
            .with_retry_after(jittered(RETRY_AFTER_MS)))
    }
}

/// Freed when it is dropped, so that no end of a call can forget it.
#[derive(Debug)]
struct Permit(Arc<Places>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: Service> Layer<S> for ConcurrencyLimit {
    type Service = ConcurrencyLimited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyLimited {
            inner,
            limit: self.clone(),
        }
    }
}

/// A service within a [`ConcurrencyLimit`].
#[derive(Debug)]
pub struct ConcurrencyLimited<S> {
    inner: S,
    limit: ConcurrencyLimit,
}

impl<S: Service> Service for ConcurrencyLimited<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let cmdid = request.cmdid;
        ConcurrencyLimitedFuture {
            inner: self.inner.call(request),
            cmdid,
            limit: self.limit.clone(),
            place: None,
        }
    }
}

pin_project! {
    struct ConcurrencyLimitedFuture<F> {
        #[pin]
        inner: F,
        cmdid: CmdId,
        limit: ConcurrencyLimit,
        // Taken at the first poll: a call that is only prepared runs not.
        place: Option<Permit>,
    }
}

impl<F: Future<Output = Outcome>> Future for ConcurrencyLimitedFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.project();
        if this.place.is_none() {
            match this.limit.take_place(*this.cmdid) {
                Ok(place) => *this.place = Some(place),
                Err(status) => return Poll::Ready(Err(status)),
            }
        }

        let outcome = ready!(this.inner.poll(cx));
        let place = this.place.take();

        Poll::Ready(outcome.map(|reply| {
            let body = match reply.into_body() {
                Body::Stream(items) => {
                    let holding = move |_: &_| {
                        // The stream holds the place by holding this.
                        let _ = &place;
                    };
                    Body::Stream(items.inspect(holding).boxed())
                }
                other => other,
            };
            body.into()
        }))
    }
}
