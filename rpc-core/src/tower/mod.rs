//! Adapters between the services and layers of this crate and those of `tower`, both ways (feature `tower`).
//!
//! | from | to | by |
//! | --- | --- | --- |
//! | a [`Service`]: a router, a handler with layers, a client | a tower service of [`Request`]s | [`IntoTower`] |
//! | a tower service of requests | a [`Service`] | [`FromTower`] |
//! | a tower layer | a [`Layer`], for `Router::layer` and `Client::layer` | [`TowerLayer`] |
//! | a [`Layer`] | a tower layer, for `ServiceBuilder` | [`LayerOfTower`] |
//!
//! The response is a [`Reply`], the error a [`Status`] with its code, its details and its promise that the call did not
//! run ([`Status::is_rejected`]). A tower service owns its requests, so each call copies the params once.
//!
//! ```
//! use futures::FutureExt;
//! use rpc_core::tower::{IntoTower, TowerLayer};
//! use rpc_core::{Layer, RawJson, Reply, Request, Service, service_fn};
//! use tower::util::MapRequestLayer;
//!
//! // A tower layer around a service of this crate.
//! let echo = service_fn(|request| async move { Ok(Reply::raw(request.params)) });
//! let renumber = MapRequestLayer::new(|mut request: Request<'static>| {
//!     request.params = RawJson::parse("7").unwrap();
//!     request
//! });
//! let service = TowerLayer::new(renumber).layer(echo);
//! let reply = Service::call(&service, Request::new(100, RawJson::NULL)).now_or_never().unwrap()?;
//! assert_eq!(reply.data().unwrap().as_str(), "7");
//!
//! // And as a tower service.
//! let mut service = IntoTower::new(service);
//! let call = tower::Service::call(&mut service, Request::new(100, RawJson::NULL));
//! assert!(call.now_or_never().unwrap().is_ok());
//! # Ok::<(), rpc_core::Status>(())
//! ```

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use ::tower::load_shed::error::Overloaded;
use futures::future::BoxFuture;

use crate::frame::{Outcome, Reply, Request};
use crate::service::{Layer, Service};
use crate::status::Status;

/// The error of a tower service of any type.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A [`Service`] as a tower service. It is always ready: limits are kept where a request is admitted. Clones are the
/// same service.
pub struct IntoTower<S>(Arc<S>);

impl<S: Service> IntoTower<S> {
    /// This service for tower.
    pub fn new(service: S) -> Self {
        Self(Arc::new(service))
    }
}

impl<S> Clone for IntoTower<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service> ::tower::Service<Request<'static>> for IntoTower<S> {
    type Response = Reply;
    type Error = Status;
    type Future = BoxFuture<'static, Outcome>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<'static>) -> Self::Future {
        Box::pin(self.0.call(request))
    }
}

/// A tower service as a [`Service`]. Each call takes a clone, waits until that is ready, and calls it.
///
/// An error becomes a [`Status`]:
///
/// | the error is | status |
/// | --- | --- |
/// | a [`Status`], itself or among its sources | that one |
/// | tower's `Overloaded`, of `load_shed` | code 8, rejected |
/// | any other one of `poll_ready` | code 14, rejected: the call was not made |
/// | any other one of the call | code 2, with the error's text |
///
/// A function that is given to [`with_status`](Self::with_status) is asked before these.
pub struct FromTower<T> {
    /// Cloned for each call; the lock makes it `Sync`, which few tower services are.
    service: Mutex<T>,
    status_of: fn(BoxError) -> Result<Status, BoxError>,
}

impl<T> FromTower<T>
where
    T: ::tower::Service<Request<'static>, Response = Reply> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    /// This tower service.
    pub fn new(service: T) -> Self {
        Self::with_status(service, Err)
    }

    /// The same, with a function that is asked first what an error means; it gives back what it does not know.
    pub fn with_status(service: T, status_of: fn(BoxError) -> Result<Status, BoxError>) -> Self {
        Self {
            service: Mutex::new(service),
            status_of,
        }
    }
}

impl<T: Clone> Clone for FromTower<T> {
    fn clone(&self) -> Self {
        Self {
            service: Mutex::new(self.fresh()),
            status_of: self.status_of,
        }
    }
}

impl<T: Clone> FromTower<T> {
    /// A panic while it was cloned has left it as it was.
    fn fresh(&self) -> T {
        self.service
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<T> Service for FromTower<T>
where
    T: ::tower::Service<Request<'static>, Response = Reply> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let step = Step::Waiting {
            service: self.fresh(),
            request: Some(Box::new(request.into_owned())),
        };
        Call {
            step,
            status_of: self.status_of,
        }
    }
}

/// A call of a tower service: until the service is ready, and then its own future. An async block is no such future
/// for the compiler, which then wants it to be `Send` for requests of every lifetime.
struct Call<T: ::tower::Service<Request<'static>>> {
    step: Step<T>,
    status_of: fn(BoxError) -> Result<Status, BoxError>,
}

enum Step<T: ::tower::Service<Request<'static>>> {
    Waiting {
        service: T,
        /// Taken once the service is ready.
        request: Option<Box<Request<'static>>>,
    },
    Running(Pin<Box<T::Future>>),
}

/// Nothing in it is pinned but what is in its own box.
impl<T: ::tower::Service<Request<'static>>> Unpin for Call<T> {}

impl<T> Future for Call<T>
where
    T: ::tower::Service<Request<'static>, Response = Reply>,
    T::Error: Into<BoxError>,
{
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let status_of = self.status_of;
        if let Step::Waiting { service, request } = &mut self.step {
            let ready = ready!(service.poll_ready(cx));
            ready.map_err(|error| unready(error.into(), status_of))?;

            let request = request.take().expect("it is taken once");
            let call = Box::pin(service.call(*request));
            self.step = Step::Running(call);
        }

        match &mut self.step {
            Step::Running(call) => call
                .as_mut()
                .poll(cx)
                .map_err(|error| status(error.into(), status_of).unwrap_or_else(unknown)),
            Step::Waiting { .. } => unreachable!("it has begun to run above"),
        }
    }
}

/// The failure of a call that was not made.
fn unready(error: BoxError, status_of: fn(BoxError) -> Result<Status, BoxError>) -> Status {
    let status = status(error, status_of).unwrap_or_else(|error| {
        Status::unavailable(format!("not ready: {error}")).with_source(Opaque(error))
    });
    status.with_rejected()
}

/// The failure of a call that may have run.
fn unknown(error: BoxError) -> Status {
    Status::unknown(error.to_string()).with_source(Opaque(error))
}

/// The status that an error is, or comes from.
fn status(
    error: BoxError,
    status_of: fn(BoxError) -> Result<Status, BoxError>,
) -> Result<Status, BoxError> {
    let error = match status_of(error) {
        Ok(status) => return Ok(status),
        Err(error) => error,
    };

    let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(cause) = next {
        if let Some(status) = cause.downcast_ref::<Status>() {
            return Ok(status.clone());
        }
        if cause.is::<Overloaded>() {
            let status =
                Status::resource_exhausted("not run: the maximum number of calls is running");
            return Ok(status.with_rejected());
        }
        next = cause.source();
    }

    Err(error)
}

/// An error whose type is not known here, as the source of a status.
#[derive(Debug)]
struct Opaque(BoxError);

impl std::fmt::Display for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Opaque {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

/// A tower layer as a [`Layer`]: `router.layer(TowerLayer::new(ConcurrencyLimitLayer::new(64)))`.
#[derive(Debug, Clone)]
pub struct TowerLayer<L>(L);

impl<L> TowerLayer<L> {
    /// This tower layer, or the stack of a `ServiceBuilder`.
    pub fn new(layer: L) -> Self {
        Self(layer)
    }
}

impl<S, L> Layer<S> for TowerLayer<L>
where
    S: Service,
    L: ::tower::Layer<IntoTower<S>>,
    L::Service: ::tower::Service<Request<'static>, Response = Reply> + Clone + Send + 'static,
    <L::Service as ::tower::Service<Request<'static>>>::Error: Into<BoxError>,
    <L::Service as ::tower::Service<Request<'static>>>::Future: Send,
{
    type Service = FromTower<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        FromTower::new(self.0.layer(IntoTower::new(inner)))
    }
}

/// A [`Layer`] as a tower layer.
///
/// ```
/// use futures::FutureExt;
/// use rpc_core::tower::{IntoTower, LayerOfTower};
/// use rpc_core::{RawJson, Reply, Request, Service, service_fn};
/// use tower::ServiceBuilder;
///
/// let echo = IntoTower::new(service_fn(|request| async move { Ok(Reply::raw(request.params)) }));
/// let mut service = ServiceBuilder::new().layer(LayerOfTower::new(Unchanged)).service(echo);
/// let call = tower::Service::call(&mut service, Request::new(100, RawJson::NULL));
/// assert!(call.now_or_never().unwrap().is_ok());
///
/// /// A layer of this crate that changes nothing.
/// #[derive(Clone)]
/// struct Unchanged;
///
/// impl<S: Service> rpc_core::Layer<S> for Unchanged {
///     type Service = S;
///
///     fn layer(&self, inner: S) -> S {
///         inner
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct LayerOfTower<L>(L);

impl<L> LayerOfTower<L> {
    /// This layer for tower.
    pub fn new(layer: L) -> Self {
        Self(layer)
    }
}

impl<T, L> ::tower::Layer<T> for LayerOfTower<L>
where
    T: ::tower::Service<Request<'static>, Response = Reply> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
    L: Layer<FromTower<T>>,
{
    type Service = IntoTower<L::Service>;

    fn layer(&self, inner: T) -> Self::Service {
        IntoTower::new(self.0.layer(FromTower::new(inner)))
    }
}

#[cfg(test)]
mod tests;
