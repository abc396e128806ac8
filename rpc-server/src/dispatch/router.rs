//! The table from cmdid to handler.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::future::{Future, ready};
use std::panic::Location;
use std::sync::Arc;

use rpc_core::typed::{self, Method, Serve};
use rpc_core::{BoxService, CmdId, Context, Descriptor, Layer, Outcome, Request, Service, Status};
use serde::de::DeserializeOwned;
use tokio_util::task::TaskTracker;

use super::extract::{self, FromRequest, Params};
use super::handler;
use super::route::{IntoRoute, describe_by_name};
use super::route_error::{NamedHandler, RouteError};
use crate::blocking::RouteThreads;
use crate::layers::{CatchPanic, Deduplicate, Tasks, Timeout, Traced};
use crate::limit::Results;
use crate::metrics::CommandIndex;

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
    keeps_fallback_line: bool,
    unknown: BoxService,
    /// The keys of typed commands with `dedup`; made for the first of them.
    dedup: Option<Deduplicate>,
    /// The tasks of this router's own handlers.
    tasks: Tasks,
    /// What runs on though its callers are gone.
    pub(crate) detached: Vec<TaskTracker>,
    /// The results of handlers in tasks of their own.
    pub(crate) results: Vec<Results>,
    /// The threads of blocking routes.
    pub(crate) blocking: Vec<Arc<RouteThreads>>,
}

/// Who answers a command.
pub(crate) struct Found<'a> {
    pub(crate) service: &'a BoxService,
    /// What its calls are counted as.
    pub(crate) command: CommandIndex,
    /// Whether the line stays with a request that becomes owned.
    pub(crate) keeps_line: bool,
}

struct RouteEntry {
    service: BoxService,
    keeps_line: bool,
    name: &'static str,
    location: &'static Location<'static>,
    descriptor: Descriptor,
    /// What its calls are counted as, once a server has numbered its commands.
    command: CommandIndex,
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
        let tasks = Tasks::default();
        let unknown = BoxService::new(Unknown);

        Self {
            state,
            routes: Routes {
                table: BTreeMap::new(),
                fallback: None,
                keeps_fallback_line: false,
                unknown,
                dedup: None,
                detached: vec![tasks.detached.clone()],
                results: vec![tasks.results.clone()],
                tasks,
                blocking: Vec::new(),
            },
        }
    }

    /// Adds a command: an async function, or a [`Route`](crate::Route) that says more about it.
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
            service: (route.assemble)(self.state.clone(), &self.routes.tasks),
            keeps_line: route.takes_line,
            name: route.name,
            location: Location::caller(),
            descriptor,
            command: CommandIndex::OTHER,
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
        if self.routes.fallback.is_none() {
            self.routes.fallback = other.routes.fallback;
            self.routes.keeps_fallback_line = other.routes.keeps_fallback_line;
        }
        self.routes.detached.extend(other.routes.detached);
        self.routes.results.extend(other.routes.results);
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
    /// `traceparent`, or in a new one. The handler's log lines belong to it, and the calls that it makes
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

    /// Keeps the lines of the calls of every command added so far, fallback included, for layers that
    /// look at them: `request.scope.line()` is the line of each call that starts at once, and with this
    /// also of those that wait for their turn, or that a layer outside has made owned. Costs these calls
    /// a copy of their line, which counts with their connection. A handler that takes a
    /// [`RawLine`](crate::RawLine) needs none of this.
    ///
    /// ```
    /// use std::future::Future;
    ///
    /// use rpc_core::{BoxService, Outcome, Request, Service, layer_fn};
    /// use rpc_server::Router;
    ///
    /// /// Writes each line to an archive.
    /// struct Archived(BoxService);
    ///
    /// impl Service for Archived {
    ///     fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
    ///         let line = request.scope.raw_line();
    ///         let call = self.0.call(request);
    ///         async move {
    ///             // What is prepared may never be polled: what is done for the call is done here.
    ///             tracing::debug!(bytes = line.as_deref().map(<[u8]>::len), "archived");
    ///             call.await
    ///         }
    ///     }
    /// }
    ///
    /// # async fn echo(params: rpc_core::RawJson<'static>) -> rpc_core::Reply { rpc_core::Reply::raw(params) }
    /// let router = Router::new().route(100, echo).unwrap().layer(layer_fn(Archived)).keep_lines();
    /// # let _ = router;
    /// ```
    #[must_use]
    pub fn keep_lines(mut self) -> Self {
        for entry in self.routes.table.values_mut() {
            entry.keeps_line = true;
        }
        self.routes.keeps_fallback_line = self.routes.fallback.is_some();
        self
    }

    /// Puts a layer around one command, as [`layer`](Self::layer) does around all of them.
    ///
    /// # Errors
    /// There is no such command yet.
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
            entry.command = CommandIndex::at(first + place);
        }
    }

    /// Whether the command's stream goes on in a further call.
    pub(crate) fn is_resumable(&self, cmdid: CmdId) -> bool {
        let entry = self.table.get(&cmdid);
        entry.is_some_and(|entry| !entry.descriptor.resumable.is_empty())
    }

    /// Who answers this command.
    #[inline]
    pub(crate) fn find(&self, cmdid: CmdId) -> Found<'_> {
        match self.table.get(&cmdid) {
            Some(entry) => Found {
                service: &entry.service,
                command: entry.command,
                keeps_line: entry.keeps_line,
            },
            None => Found {
                service: self.fallback.as_ref().unwrap_or(&self.unknown),
                command: CommandIndex::OTHER,
                keeps_line: self.keeps_fallback_line,
            },
        }
    }
}

/// Answers commands without a handler.
struct Unknown;

impl Service for Unknown {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let status = Status::unimplemented(format!(
            "no command has cmdid {}; `describe` (cmdid 1) lists the available commands",
            request.cmdid
        ));
        ready(Err(status))
    }
}

impl<S: Clone + Send + Sync + 'static> Service for Router<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.routes.find(request.cmdid).service.call_boxed(request)
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
        // A service whose descriptor names a store keeps its keys itself.
        let in_memory = descriptor
            .dedup
            .as_mut()
            .filter(|dedup| dedup.store.is_none());
        let service = if let Some(dedup) = in_memory {
            let keys = routes.dedup();
            dedup.store = Some(keys.store().to_owned().into());
            BoxService::new(Timeout(keys.layer(handler)))
        } else {
            BoxService::new(Timeout(handler))
        };

        let entry = RouteEntry {
            service,
            keeps_line: false,
            name: method.path,
            location: self.location,
            descriptor,
            command: CommandIndex::OTHER,
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
