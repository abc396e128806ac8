//! One [`Service`] for router, layers, client and mock.

use std::future::{Future, ready};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Either};

use crate::frame::{Outcome, Request};
use crate::status::Status;
use crate::typed::{MethodResult, TypedRequest};

/// Something that answers requests: a handler, a router, a layer around either, a client.
///
/// A call has two phases. `call` prepares it: it takes what it needs out of the borrowed request and
/// returns a future that owns its parts, so that the future can outlive the line that the request was
/// read from. Polling the future runs it. A call has no readiness step: limits are kept where the
/// request is admitted.
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
///
/// # Layers: a prepared call may never be polled
///
/// A server does not read a line twice. It hands a line that looks right to the service, and the
/// decoding of the params, which the handler needs anyway, shows whether the line is JSON. If it is
/// not, the server drops the prepared call and answers code 3. A client prepares a call and drops it
/// if its caller has gone. So everything that is done *for* a call belongs into the future: counting,
/// taking a place, logging, starting a clock. What `call` itself does, a line that never was a request
/// can make it do.
///
/// Of these two layers the first is wrong:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use futures::FutureExt;
/// use rpc_core::{Outcome, RawJson, Reply, Request, Service, service_fn};
///
/// /// Wrong: counts calls that never run.
/// struct CountPrepared<S>(S, Arc<AtomicU64>);
///
/// impl<S: Service> Service for CountPrepared<S> {
///     fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
///         self.1.fetch_add(1, Ordering::Relaxed);
///         self.0.call(request)
///     }
/// }
///
/// /// Right: counts in the future.
/// struct CountRun<S>(S, Arc<AtomicU64>);
///
/// impl<S: Service> Service for CountRun<S> {
///     fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
///         // The inner call is prepared here, while the request is there.
///         let (count, call) = (Arc::clone(&self.1), self.0.call(request));
///         async move {
///             count.fetch_add(1, Ordering::Relaxed);
///             call.await
///         }
///     }
/// }
///
/// let (prepared, run) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
/// let inner = service_fn(|_| async { Ok(Reply::empty()) });
/// let service = CountPrepared(CountRun(inner, Arc::clone(&run)), Arc::clone(&prepared));
/// let counts = || (prepared.load(Ordering::Relaxed), run.load(Ordering::Relaxed));
///
/// drop(service.call(Request::new(100, RawJson::NULL))); // the line was not a request
/// assert_eq!(counts(), (1, 0));
///
/// service.call(Request::new(100, RawJson::NULL)).now_or_never().unwrap()?;
/// assert_eq!(counts(), (2, 1));
/// # Ok::<(), rpc_core::Status>(())
/// ```
///
/// Three more rules for layers:
///
/// * The inner `call` is made in `call`, not in the future: the request is borrowed, and gone by then.
///   A layer that calls more than once, as a retry does, takes [`Request::into_owned`] for that, which
///   copies the params.
/// * The future can be dropped at each of its awaits, when the caller cancels, goes away, or its
///   deadline passes. What must be given back, as a place that was taken, is given back by the `Drop`
///   of a guard that the future holds.
/// * A failure that says [rejected](crate::Status::with_rejected) promises that the command did not
///   run. A layer may promise that only before it has polled the inner call.
pub trait Service: Send + Sync + 'static {
    /// Prepares the call: takes what it needs out of the request, and decodes its params. All else
    /// belongs into the future: a connection may prepare a call and drop it, because the line turned
    /// out not to be a request.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up: of the command's work, what was done until then stays done, and the rest
    /// is not done.
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static;

    /// A unary call whose data are decoded, for typed clients: [`call`](Self::call), unless the service can decode
    /// them in place, as a client does where it has read them. A request that could not be made fails the call here, as a
    /// future around this one would make each call larger.
    #[doc(hidden)]
    fn call_typed<R: MethodResult>(
        &self,
        request: Result<TypedRequest<'_>, Status>,
    ) -> impl Future<Output = R> + Send {
        match request {
            Ok(request) => Either::Left(self.call(request.into_request()).map(R::from_outcome)),
            Err(status) => Either::Right(ready(R::from_data(Err(status)))),
        }
    }
}

impl<S: Service> Service for Arc<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        S::call(self, request)
    }

    fn call_typed<R: MethodResult>(
        &self,
        request: Result<TypedRequest<'_>, Status>,
    ) -> impl Future<Output = R> + Send {
        S::call_typed(self, request)
    }
}

/// A service of any type behind one allocation a call: the future's. Clones are the same service.
///
/// ```
/// use rpc_core::{BoxService, Reply, service_fn};
///
/// let services: Vec<BoxService> = vec![
///     BoxService::new(service_fn(|_| async { Ok(Reply::empty()) })),
///     BoxService::new(service_fn(|request| async move { Ok(Reply::raw(request.params)) })),
/// ];
/// # let _ = services;
/// ```
#[derive(Clone)]
pub struct BoxService(Arc<dyn DynService>);

impl BoxService {
    /// Erases the type of `service`.
    pub fn new(service: impl Service) -> Self {
        Self(Arc::new(service))
    }

    /// As [`Service::call`], with the future's type named.
    ///
    /// # Cancel safety
    /// As [`Service::call`]: dropping the future gives the call up.
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
///
/// ```
/// use futures::FutureExt;
/// use rpc_core::{RawJson, Reply, Request, Service, Status, service_fn};
///
/// let double = service_fn(|request| async move {
///     let n: i64 = request.params.decode().map_err(|_| Status::invalid_argument("`params` must be a number"))?;
///     Reply::new(&(n * 2))
/// });
///
/// let reply = double.call(Request::new(100, RawJson::parse("21").unwrap())).now_or_never().unwrap()?;
/// assert_eq!(reply.data().unwrap().as_str(), "42");
/// # Ok::<(), Status>(())
/// ```
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
