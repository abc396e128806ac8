//! The table from cmdid to handler.

use std::any::type_name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::future::{Future, ready};
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use rpc_core::typed::{self, Method, Serve};
use rpc_core::{
    BoxService, CmdId, Context, Descriptor, IntoReply, Layer, Outcome, Request, Service, Status,
};
use serde::de::DeserializeOwned;
use tokio_util::task::TaskTracker;

use super::extract::{self, FromRequest, Params};
use super::handler::{
    self, Async, Blocking, Handler, HandlerFuture, HandlerService, RouteHandler, SendFuture,
};
use crate::blocking::RouteThreads;
use crate::layers::{CatchPanic, Deduplicate, Detached, Spawned, Timeout, Traced};
use crate::metrics::Command;

/// Maps each cmdid to its handler. It is a [`Service`] itself, so a test needs no socket.
///
/// ```
/// use rpc_core::{RawJson, Request, Service, Status};
/// use rpc_server::{Params, Router};
///
/// async fn double(Params(n): Params<i64>) -> Result<i64, Status> {
///     Ok(n * 2)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Router::new().route(100, double)?;
/// let reply = router.call(Request::new(100, RawJson::parse("21")?)).await?;
/// assert_eq!(reply.data().unwrap().as_str(), "42");
/// # Ok(())
/// # }
/// ```
pub struct Router<S = ()> {
    state: S,
    routes: Routes,
}

/// The routes without the state that they were made with.
pub(crate) struct Routes {
    table: BTreeMap<CmdId, RouteEntry>,
    fallback: Option<BoxService>,
    unknown: BoxService,
    /// The keys of typed commands with `dedup`; made for the first of them.
    dedup: Option<Deduplicate>,
    /// What runs on though its callers are gone.
    pub(crate) detached: Vec<TaskTracker>,
    /// The threads of blocking routes.
    pub(crate) blocking: Vec<Arc<RouteThreads>>,
}

struct RouteEntry {
    service: BoxService,
    name: &'static str,
    location: &'static Location<'static>,
    descriptor: Descriptor,
    /// What its calls are counted as, once a server has numbered its commands.
    command: Command,
}

impl RouteEntry {
    fn named(&self) -> NamedHandler {
        NamedHandler {
            name: self.name,
            location: self.location,
        }
    }
}

impl Router {
    /// A router without routes and without state.
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router whose handlers may take [`State<S>`](crate::State).
    pub fn with_state(state: S) -> Self {
        let detached = vec![TaskTracker::new()];
        let unknown = BoxService::new(Unknown);

        Self {
            state,
            routes: Routes {
                table: BTreeMap::new(),
                fallback: None,
                unknown,
                dedup: None,
                detached,
                blocking: Vec::new(),
            },
        }
    }

    /// Adds a command: an async function, or a [`Route`] that says more about it.
    ///
    /// # Errors
    /// Where the cmdid has a handler already (the error names both), or is one of the built-in
    /// 0-99.
    #[track_caller]
    pub fn route<Via>(
        mut self,
        cmdid: impl Into<CmdId>,
        route: impl IntoRoute<S, Via>,
    ) -> Result<Self, RouteError> {
        let cmdid = cmdid.into();
        let route = route.into_route();
        self.routes.blocking.extend(route.blocking);

        let mut descriptor = route
            .descriptor
            .unwrap_or_else(|| describe_by_name(route.name));
        descriptor.cmdid = cmdid;

        let entry = RouteEntry {
            service: (route.assemble)(self.state.clone(), &self.routes.detached[0]),
            name: route.name,
            location: Location::caller(),
            descriptor,
            command: Command::OTHER,
        };

        self.routes.insert(cmdid, entry)?;
        Ok(self)
    }

    /// Adds all commands of a typed service: the wrapper that [`#[service]`](crate::service) makes around an
    /// implementor of its trait.
    ///
    /// ```
    /// use rpc_server::{Router, Status, service};
    ///
    /// #[service]
    /// pub trait Greeter {
    ///     /// Greets someone by name.
    ///     #[rpc(cmdid = 100, idempotent)]
    ///     async fn greet(&self, name: String) -> Result<String, Status>;
    /// }
    ///
    /// struct Polite;
    ///
    /// impl Greeter for Polite {
    ///     async fn greet(&self, name: String) -> Result<String, Status> {
    ///         Ok(format!("Good day, {name}."))
    ///     }
    /// }
    ///
    /// let router = Router::new().serve(GreeterServer(Polite)).unwrap();
    /// # let _ = router;
    /// ```
    ///
    /// # Errors
    /// Where one of its cmdids has a handler already: the error names both.
    #[track_caller]
    pub fn serve(self, service: impl Serve) -> Result<Self, RouteError> {
        let serving = Serving {
            router: self,
            location: Location::caller(),
        };
        Ok(service.serve(serving)?.router)
    }

    /// Keeps the keys of typed commands with `dedup` that are served from here on in this store, in place of one in
    /// memory with the default limits.
    #[must_use]
    pub fn deduplicate(mut self, keys: Deduplicate) -> Self {
        self.routes.set_dedup(keys);
        self
    }

    /// Adds all commands of another router, whatever its state. Its fallback is taken where this
    /// one has none.
    ///
    /// # Errors
    /// Where both have a handler for one cmdid.
    pub fn merge<T>(mut self, other: Router<T>) -> Result<Self, RouteError> {
        for (cmdid, entry) in other.routes.table {
            self.routes.insert(cmdid, entry)?;
        }
        self.routes.fallback = self.routes.fallback.or(other.routes.fallback);
        self.routes.detached.extend(other.routes.detached);
        self.routes.blocking.extend(other.routes.blocking);
        Ok(self)
    }

    /// Puts a layer around every command added so far, fallback included. Time spent in the layer
    /// counts towards the call's deadline, and its panics are caught. What a layer must and must not do
    /// is told at [`Service`].
    #[must_use]
    pub fn layer<L: Layer<BoxService>>(mut self, layer: L) -> Self {
        let wrap = |service: BoxService| BoxService::new(Timeout(CatchPanic(layer.layer(service))));
        for entry in self.routes.table.values_mut() {
            entry.service = wrap(entry.service.clone());
        }
        self.routes.fallback = self.routes.fallback.map(wrap);
        self
    }

    /// Gives each call of the commands added so far a span of `tracing`, target `rpc_server::trace`, with
    /// service, method, code and the peer's address, in the trace that the caller names in
    /// `traceparent`, or in a new one. The handler's log lines stand in it, and the calls that it makes
    /// `within` its [`Context`](crate::Context) carry it on. Costs a copy of the params, and the span.
    ///
    /// With the feature `otel` the span is OpenTelemetry's too, where a layer of `tracing-opentelemetry`
    /// is installed: the feature's module `otel` makes one that sends to a collector.
    #[must_use]
    pub fn traced(mut self) -> Self {
        for RouteEntry {
            service,
            descriptor,
            ..
        } in self.routes.table.values_mut()
        {
            *service = BoxService::new(Traced::new(service.clone(), descriptor));
        }

        self
    }

    /// Puts a layer around one command, as [`layer`](Self::layer) does around all of them.
    ///
    /// # Errors
    /// Where there is no such command yet.
    pub fn layer_on<L: Layer<BoxService>>(
        mut self,
        cmdid: impl Into<CmdId>,
        layer: L,
    ) -> Result<Self, RouteError> {
        let cmdid = cmdid.into();
        let Some(entry) = self.routes.table.get_mut(&cmdid) else {
            return Err(RouteError::Unknown { cmdid });
        };

        entry.service = BoxService::new(Timeout(CatchPanic(layer.layer(entry.service.clone()))));
        Ok(self)
    }

    /// Answers what no command is there for; without it, that is code 12.
    #[must_use]
    pub fn fallback(mut self, service: impl Service) -> Self {
        self.routes.fallback = Some(BoxService::new(Timeout(CatchPanic(service))));
        self
    }

    /// What `describe` tells of the commands, by cmdid.
    pub fn descriptors(&self) -> Vec<&Descriptor> {
        self.routes.descriptors()
    }

    pub(crate) fn into_routes(self) -> Routes {
        self.routes
    }
}

impl Routes {
    fn insert(&mut self, cmdid: CmdId, entry: RouteEntry) -> Result<(), RouteError> {
        if cmdid.is_built_in() {
            let handler = entry.named();
            return Err(RouteError::BuiltIn { cmdid, handler });
        }

        match self.table.entry(cmdid) {
            Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Ok(())
            }
            Entry::Occupied(taken) => {
                let (first, second) = (taken.get().named(), entry.named());
                Err(RouteError::Twice {
                    cmdid,
                    first,
                    second,
                })
            }
        }
    }

    fn set_dedup(&mut self, keys: Deduplicate) {
        self.detached.push(keys.tasks().clone());
        self.dedup = Some(keys);
    }

    /// The keys of commands with `dedup`.
    fn dedup(&mut self) -> Deduplicate {
        if let Some(keys) = &self.dedup {
            return keys.clone();
        }

        let keys = Deduplicate::default();
        self.set_dedup(keys.clone());
        keys
    }

    pub(crate) fn descriptors(&self) -> Vec<&Descriptor> {
        self.table.values().map(|entry| &entry.descriptor).collect()
    }

    /// Gives each command its place among those that are counted, beginning here.
    pub(crate) fn number_commands(&mut self, first: usize) {
        for (place, entry) in self.table.values_mut().enumerate() {
            entry.command = Command::at(first + place);
        }
    }

    /// Who answers this command, and what its calls are counted as.
    pub(crate) fn find(&self, cmdid: CmdId) -> (&BoxService, Command) {
        match self.table.get(&cmdid) {
            Some(entry) => (&entry.service, entry.command),
            None => (
                self.fallback.as_ref().unwrap_or(&self.unknown),
                Command::OTHER,
            ),
        }
    }
}

/// Answers what nobody else is there for.
struct Unknown;

impl Service for Unknown {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let status = Status::unimplemented(format!(
            "no command has cmdid {}; `describe` (cmdid 1) lists those that are there",
            request.cmdid
        ));
        ready(Err(status))
    }
}

impl<S: Clone + Send + Sync + 'static> Service for Router<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.routes.find(request.cmdid).0.call_boxed(request)
    }
}

/// A router to which a typed service adds its commands.
struct Serving<S> {
    router: Router<S>,
    /// Where the service is added.
    location: &'static Location<'static>,
}

impl<S: Clone + Send + Sync + 'static> typed::Routes for Serving<S> {
    type Error = RouteError;

    fn params<P: DeserializeOwned + Send + 'static>(request: &Request<'_>) -> Result<P, Status> {
        Params::from_request(request, &()).map(|Params(params)| params)
    }

    fn no_params(request: &Request<'_>) -> Result<(), Status> {
        handler::check(request)
    }

    fn context(request: &Request<'_>) -> Context {
        extract::context_of(request)
    }

    fn add(
        mut self,
        method: &Method,
        mut descriptor: Descriptor,
        handler: impl Service,
    ) -> Result<Self, RouteError> {
        let routes = &mut self.router.routes;
        let handler = CatchPanic(handler);
        let service = if let Some(dedup) = &mut descriptor.dedup {
            let keys = routes.dedup();
            dedup.store = Some(keys.store().to_owned().into());
            BoxService::new(Timeout(keys.layer(handler)))
        } else {
            BoxService::new(Timeout(handler))
        };

        let entry = RouteEntry {
            service,
            name: method.path,
            location: self.location,
            descriptor,
            command: Command::OTHER,
        };

        routes.insert(method.cmdid, entry)?;
        Ok(self)
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.routes
                    .table
                    .iter()
                    .map(|(cmdid, entry)| (cmdid, entry.name)),
            )
            .finish()
    }
}

/// The reason that a command could not be added, or given a layer.
///
/// ```
/// use rpc_server::{RouteError, Router};
///
/// let router = Router::new().route(100, || async {}).unwrap();
/// match router.route(100, || async {}) {
///     Err(RouteError::Twice { cmdid, first, .. }) => {
///         assert_eq!(cmdid.number(), 100);
///         println!("{cmdid} is the number of {} at {} already", first.name, first.location);
///     }
///     _ => unreachable!("100 has a handler"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The cmdid is one of the protocol's own, 0-99.
    BuiltIn {
        /// The number.
        cmdid: CmdId,
        /// The handler that was to be added.
        handler: NamedHandler,
    },
    /// The cmdid has a handler already.
    Twice {
        /// The number.
        cmdid: CmdId,
        /// The handler that it has.
        first: NamedHandler,
        /// The handler that was to be added.
        second: NamedHandler,
    },
    /// No command that could be given a layer has this cmdid.
    Unknown {
        /// The number.
        cmdid: CmdId,
    },
}

/// A handler, as a [`RouteError`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedHandler {
    /// The name of the function, as the compiler gives it.
    pub name: &'static str,
    /// The place of the call that added the handler.
    pub location: &'static Location<'static>,
}

impl fmt::Display for NamedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at {}", self.name, self.location)
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn { cmdid, handler } => write!(
                f,
                "cmdid {cmdid} ({handler}) is built in: 0-99 are the protocol's, services begin at 100"
            ),
            Self::Twice {
                cmdid,
                first,
                second,
            } => write!(
                f,
                "cmdid {cmdid} is registered twice: {} (at {}) and {} (at {})",
                first.name, first.location, second.name, second.location
            ),
            Self::Unknown { cmdid } => write!(
                f,
                "no command has cmdid {cmdid}, so there is none to put a layer around"
            ),
        }
    }
}

impl std::error::Error for RouteError {}

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

/// Calls of one blocking route that run at one time, where nothing else is said.
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
    fn around(self, inner: impl Service, tasks: &TaskTracker) -> BoxService {
        match self {
            Self::Inline => BoxService::new(Timeout(inner)),
            Self::Spawned => BoxService::new(Timeout(Spawned(inner))),
            Self::Detached => BoxService::new(Timeout(Detached {
                inner,
                tasks: tasks.clone(),
            })),
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
    /// its `blocking_threads_max` threads.
    pub fn blocking_at_most(calls: usize, function: F) -> Self {
        let handler = Blocking::new(function, calls);
        let blocking = Some(Arc::clone(&handler.threads));

        Self {
            blocking,
            ..Self::of(handler, type_name::<F>())
        }
    }
}

/// What [`Router::route`] takes: a handler, or a [`Route`]. `Via` tells the compiler which, and is
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
    name: &'static str,
    descriptor: Option<Descriptor>,
    blocking: Option<Arc<RouteThreads>>,
    assemble: Assemble<S>,
}

type Assemble<S> = Box<dyn FnOnce(S, &TaskTracker) -> BoxService>;

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

        let assemble = move |state: S, tasks: &TaskTracker| {
            let inner = CatchPanic(HandlerService::<_, _, Args>::new(handler, state));
            if layers.is_empty() {
                return dispatch.around(inner, tasks);
            }

            let layered = layers
                .into_iter()
                .fold(BoxService::new(inner), |inner, wrap| wrap(inner));
            dispatch.around(CatchPanic(layered), tasks)
        };

        AnyRoute {
            name,
            descriptor,
            blocking,
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
fn describe_by_name(name: &'static str) -> Descriptor {
    let mut parts = name.rsplit("::").filter(|part| !part.contains('{'));
    let method = parts.next().unwrap_or(name);
    Descriptor::new(parts.next().unwrap_or("service"), method)
}
