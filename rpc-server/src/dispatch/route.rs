//! Routes: handlers with what else there is to say about their commands.

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::Arc;

use rpc_core::{BoxService, Descriptor, IntoReply, Layer, Service};

use super::handler::{
    Async, Blocking, Handler, HandlerFuture, HandlerService, RouteHandler, SendFuture,
};
use crate::blocking::RouteThreads;
use crate::layers::{CatchPanic, Detached, Spawned, Tasks, Timeout};

/// A handler with what else there is to say about its command.
///
/// ```
/// use rpc_core::{Descriptor, Status};
/// use rpc_server::{Params, Route, Router};
///
/// async fn send(Params(text): Params<String>) -> Result<u64, Status> {
///     Ok(text.len() as u64)
/// }
///
/// let router = Router::new()
///     .route(2001, Route::new(send).detached().describe(Descriptor::new("sms", "send")))
///     .unwrap();
/// # let _ = router;
/// ```
pub struct Route<H, Args> {
    handler: H,
    /// The function's, as the compiler calls it.
    name: &'static str,
    descriptor: Option<Descriptor>,
    dispatch: Dispatch,
    layers: Vec<Wrap>,
    /// The threads of a handler that blocks.
    blocking: Option<Arc<RouteThreads>>,
    arguments: PhantomData<fn(Args)>,
}

/// Default maximum of calls of one blocking route that run at one time.
const BLOCKING_MAX: usize = 64;

/// A layer whose type is not told.
type Wrap = Box<dyn FnOnce(BoxService) -> BoxService>;

#[derive(Clone, Copy)]
enum Dispatch {
    Inline,
    Spawned,
    Detached,
}

impl Dispatch {
    fn wrap(self, inner: impl Service, tasks: &Tasks) -> BoxService {
        let tasks = tasks.clone();
        match self {
            Self::Inline => BoxService::new(Timeout(inner)),
            Self::Spawned => BoxService::new(Timeout(Spawned { inner, tasks })),
            Self::Detached => BoxService::new(Timeout(Detached { inner, tasks })),
        }
    }
}

impl<F, Args> Route<Async<F>, Args>
where
    F: Handler<Args, Returned: HandlerFuture<Result: IntoReply> + SendFuture>,
{
    /// A route to this async function, which runs in its connection's task.
    pub fn new(handler: F) -> Self {
        Self::of(Async(handler), type_name::<F>())
    }
}

impl<H, Args> Route<H, Args> {
    fn of(handler: H, name: &'static str) -> Self {
        Self {
            handler,
            name,
            descriptor: None,
            dispatch: Dispatch::Inline,
            layers: Vec::new(),
            blocking: None,
            arguments: PhantomData,
        }
    }

    /// Says what the command is, for `describe`.
    #[must_use]
    pub fn describe(mut self, descriptor: Descriptor) -> Self {
        self.descriptor = Some(descriptor);
        self
    }

    /// Puts a layer around the handler, inside of what the route says about where it runs: a limit counts
    /// a detached handler for as long as it runs. The layer that is added last is the outermost.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer<BoxService> + 'static) -> Self {
        self.layers
            .push(Box::new(move |inner| BoxService::new(layer.layer(inner))));
        self
    }

    /// Runs each call in a task of its own: for handlers that compute for a while between their awaits. One that
    /// blocks keeps a thread of the runtime even so: [`blocking`](Self::blocking).
    #[must_use]
    pub fn spawned(mut self) -> Self {
        self.dispatch = Dispatch::Spawned;
        self
    }

    /// Runs each call to its end though the caller is gone, for side effects that must not stop
    /// half-way. The caller still gets code 1 or 4 at its time.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.dispatch = Dispatch::Detached;
        self
    }
}

impl<F, Args> Route<Blocking<F>, Args>
where
    F: Handler<Args, Returned: IntoReply>,
{
    /// A route to a plain function that blocks its thread (files, a database's driver, long computing). It runs in a
    /// thread of the server's [`BlockingPool`](crate::blocking::BlockingPool), at most 64 of its calls at the same
    /// time; [`blocking_at_most`](Self::blocking_at_most) sets another number.
    ///
    /// Further calls wait for their turn, which goes round by connection, and are not run if they are cancelled or
    /// their time is up first. A call that has begun cannot be stopped from outside: its caller gets code 1 or 4 at
    /// its time, the function goes on to its end, and a drain waits for it within its limit. A function that takes
    /// long looks at the [`cancellation`](crate::Context::cancellation) of its [`Context`](crate::Context) now and
    /// then, and returns early. A runtime of the program's own waits longer when it is dropped:
    /// `Runtime::shutdown_timeout` ends it with a function that hangs.
    ///
    /// ```
    /// use rpc_core::Status;
    /// use rpc_server::{Params, Route, Router};
    ///
    /// fn size(Params(path): Params<String>) -> Result<u64, Status> {
    ///     Ok(std::fs::metadata(path).map_err(|error| Status::not_found(error.to_string()))?.len())
    /// }
    ///
    /// let router = Router::new().route(2002, Route::blocking(size)).unwrap();
    /// # let _ = router;
    /// ```
    pub fn blocking(function: F) -> Self {
        Self::blocking_at_most(BLOCKING_MAX, function)
    }

    /// The same, with at most `calls` calls at the same time (at least one). All blocking routes of a server share
    /// its `blocking.threads_max` threads.
    pub fn blocking_at_most(calls: usize, function: F) -> Self {
        let handler = Blocking::new(function, calls);
        let blocking = Some(Arc::clone(&handler.threads));

        Self {
            blocking,
            ..Self::of(handler, type_name::<F>())
        }
    }
}

/// What [`Router::route`](crate::Router::route) takes: a handler, or a [`Route`]. `Via` tells the compiler which, and is
/// never written by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be added to a router with the state `{S}`",
    label = "not a function of at most eight extractors, nor a `Route` of one",
    note = "write `async fn name(arguments) -> Result<T, Status>`, with at most eight arguments: `Params<T>`, \
            `State<{S}>`, `Context` or another extractor each",
    note = "a closure must be `Fn + Send + Sync + 'static`: let it own what it uses (`move`), and clone that for each \
            call"
)]
pub trait IntoRoute<S, Via> {
    /// The route.
    fn into_route(self) -> AnyRoute<S>;
}

/// See [`IntoRoute`].
pub struct ViaRoute<Args>(PhantomData<Args>);

/// See [`IntoRoute`].
pub struct ViaHandler<Args>(PhantomData<Args>);

/// A route to a handler of any type. It holds the handler until the router's state is known, so
/// that all that stands around the handler is one type, and a call one allocation.
pub struct AnyRoute<S> {
    pub(super) name: &'static str,
    pub(super) descriptor: Option<Descriptor>,
    pub(super) blocking: Option<Arc<RouteThreads>>,
    pub(super) takes_line: bool,
    pub(super) assemble: Assemble<S>,
}

pub(super) type Assemble<S> = Box<dyn FnOnce(S, &Tasks) -> BoxService>;

impl<S, Args, H> IntoRoute<S, ViaRoute<Args>> for Route<H, Args>
where
    S: Clone + Send + Sync + 'static,
    Args: 'static,
    H: RouteHandler<S, Args>,
{
    fn into_route(self) -> AnyRoute<S> {
        let Self {
            handler,
            name,
            descriptor,
            dispatch,
            layers,
            blocking,
            ..
        } = self;

        let assemble = move |state: S, tasks: &Tasks| {
            let inner = CatchPanic(HandlerService::<_, _, Args>::new(handler, state));
            if layers.is_empty() {
                return dispatch.wrap(inner, tasks);
            }

            let layered = layers
                .into_iter()
                .fold(BoxService::new(inner), |inner, wrap| wrap(inner));
            dispatch.wrap(CatchPanic(layered), tasks)
        };

        AnyRoute {
            name,
            descriptor,
            blocking,
            takes_line: H::TAKES_LINE,
            assemble: Box::new(assemble),
        }
    }
}

impl<S, Args, F> IntoRoute<S, ViaHandler<Args>> for F
where
    S: Clone + Send + Sync + 'static,
    Args: 'static,
    Async<F>: RouteHandler<S, Args>,
{
    fn into_route(self) -> AnyRoute<S> {
        Route::of(Async(self), type_name::<F>()).into_route()
    }
}

/// `my_service::log::append` is method `append` of service `log`, until someone says otherwise.
pub(super) fn describe_by_name(name: &'static str) -> Descriptor {
    let mut parts = name.rsplit("::").filter(|part| !part.contains('{'));
    let method = parts.next().unwrap_or(name);
    Descriptor::new(parts.next().unwrap_or("service"), method)
}
