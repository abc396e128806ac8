//! One [`Service`] for router, layers, client and mock.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::frame::{Outcome, Request};

/// Something that answers requests: a handler, a router, a layer around either, a client.
///
/// `call` takes what it needs out of the borrowed request before it returns; the future owns its
/// parts, so that it can outlive the line that the request was read from. A call has no readiness
/// step: limits are kept where the request is admitted.
///
/// ```
/// use rpc_core::{Outcome, Reply, Request, Service};
///
/// /// Answers each call with its own params.
/// struct Echo;
///
/// impl Service for Echo {
///     fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
///         let params = request.params.into_owned();
///         async move { Ok(Reply::raw(params)) }
///     }
/// }
/// ```
pub trait Service: Send + Sync + 'static {
    /// Prepares the call: takes what it needs out of the request, and decodes its params. All else
    /// belongs into the future, and so does what a layer does or counts: a connection may prepare a
    /// call and drop it, because the line turned out to be no request.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up.
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static;
}

impl<S: Service> Service for Arc<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        S::call(self, request)
    }
}

/// A service of any type behind one allocation a call: the future's.
#[derive(Clone)]
pub struct BoxService(Arc<dyn DynService>);

impl BoxService {
    /// Erases the type of `service`.
    pub fn new(service: impl Service) -> Self {
        Self(Arc::new(service))
    }

    /// As [`Service::call`], with the future's type named.
    pub fn call_boxed(&self, request: Request<'_>) -> BoxFuture<'static, Outcome> {
        self.0.call_boxed(request)
    }
}

impl Service for BoxService {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.call_boxed(request)
    }
}

trait DynService: Send + Sync {
    fn call_boxed(&self, request: Request<'_>) -> BoxFuture<'static, Outcome>;
}

impl<S: Service> DynService for S {
    fn call_boxed(&self, request: Request<'_>) -> BoxFuture<'static, Outcome> {
        Box::pin(self.call(request))
    }
}

/// Wraps a service in another one: a timeout, a trace, a limit.
pub trait Layer<S> {
    /// What comes out.
    type Service: Service;

    /// Puts the layer around `inner`.
    fn layer(&self, inner: S) -> Self::Service;
}

/// A [`Layer`] from a function of the inner service.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use rpc_core::{BoxService, Outcome, Request, Service, layer_fn};
///
/// struct CountCalls<S>(S, Arc<AtomicU64>);
///
/// impl<S: Service> Service for CountCalls<S> {
///     fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
///         let (count, call) = (self.1.clone(), self.0.call(request));
///         async move {
///             count.fetch_add(1, Ordering::Relaxed);
///             call.await
///         }
///     }
/// }
///
/// let layer = layer_fn(|inner: BoxService| CountCalls(inner, Arc::default()));
/// # let _ = layer;
/// ```
pub fn layer_fn<S, T: Service, F: Fn(S) -> T>(layer: F) -> LayerFn<S, F> {
    LayerFn(layer, PhantomData)
}

/// See [`layer_fn`].
pub struct LayerFn<S, F>(F, PhantomData<fn(S)>);

impl<S, T: Service, F: Fn(S) -> T> Layer<S> for LayerFn<S, F> {
    type Service = T;

    fn layer(&self, inner: S) -> T {
        (self.0)(inner)
    }
}

/// A [`Service`] from a function, for tests and fallbacks: it gets the request, free of its line.
pub fn service_fn<F, Fut>(call: F) -> ServiceFn<F>
where
    F: Fn(Request<'static>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    ServiceFn(Arc::new(call))
}

/// See [`service_fn`].
pub struct ServiceFn<F>(Arc<F>);

impl<F, Fut> Service for ServiceFn<F>
where
    F: Fn(Request<'static>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let (call, request) = (Arc::clone(&self.0), request.into_owned());
        async move { call(request).await }
    }
}
