//! The client: what a service links to call another one.

pub mod blocking;
mod builder;
pub mod log;
pub mod pipe;
mod registry;
#[cfg(feature = "sms")]
pub mod sms;

use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use futures::future::try_join_all;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use rpc_core::scope::Parent;
use rpc_core::typed::{MethodResult, TypedRequest};
use rpc_core::{Body, CmdId, Layer, Outcome, RawJson, Reply, Request, Service, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::balance::EndpointStats;
use crate::balance::Route;
use crate::balance::RouteHint;
use crate::call::Attempt;
use crate::call::Command;
use crate::call::Hedging;
use crate::call::{Budget, CallContext};
use crate::config::Config;
use crate::connection::{Common, Connection};
use crate::discover::Target;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use crate::events::ConnectionEvent;
use crate::layers::ServiceClient;
use crate::metrics::Report;
use crate::time::{Inherited, after};

pub use builder::ClientBuilder;
pub use registry::{OwnOptions, Registry, ServiceConfig, registry, shared, shared_with};

/// Calls one service, over one connection as a rule: it is opened by the first call and shared by all
/// of them; clones share it too.
///
/// Any number of tasks call at once: their requests travel side by side, and a slow one holds up no
/// other. A lost connection is opened again by the next call. [`pool.mode`](crate::config::Pool::mode) has other numbers of
/// connections; a target of several endpoints gets one for each, and every call is
/// [balanced](crate::config::Balancing) anew.
///
/// ```no_run
/// use rpc_client::Client;
///
/// #[derive(serde::Serialize)]
/// struct Hello<'a> {
///     name: &'a str,
/// }
///
/// # async fn example() -> Result<(), rpc_client::Error> {
/// let client = Client::new("127.0.0.1:8889");
/// let greeting: String = client.call(100, &Hello { name: "world" }).await?;
/// # let _ = greeting;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    context: Arc<CallContext>,
    /// Of the call that this client's calls are made for.
    inherited: Option<Arc<Inherited>>,
}

impl Client {
    /// A client of the service at `"127.0.0.1:8889"`, `"log.internal:8889"` or
    /// `"unix:/run/rpc.sock"`, at several such endpoints with commas between them, or wherever else a
    /// [`Target`] says. Nothing is opened before the first call; an invalid target fails that call.
    pub fn new(target: impl Into<Target>) -> Self {
        Self::builder(target).build()
    }

    /// As [`new`](Self::new), with settings. With ones that [`Config::check`] refuses, every call fails, as not sent,
    /// with what is wrong with them.
    pub fn with_config(target: impl Into<Target>, config: Config) -> Self {
        Self::builder(target).config(config).build()
    }

    /// A client with more than settings of its own: with a [`Connect`](crate::Connect) that opens its
    /// byte streams.
    pub fn builder(target: impl Into<Target>) -> ClientBuilder {
        ClientBuilder::new(target.into())
    }

    /// A client over a byte stream that is open already: an in-memory pipe, TLS of your own. When it
    /// ends, calls fail; nothing is opened in its place. `name` stands for the address in errors.
    ///
    /// The connection is driven by a task on the current runtime. It belongs to the code that has opened it, and so
    /// does authentication: `pool.token_file` and `tls` of the settings are of no effect here. Where the server asks
    /// for a token, show it by the first call; [`ClientBuilder::connector`] makes clients that show
    /// [theirs](ClientBuilder::token) on each connection.
    ///
    /// ```no_run
    /// use rpc_client::{Client, CmdId, Config};
    ///
    /// # async fn example(stream: tokio::io::DuplexStream, token: &str) -> Result<(), rpc_client::Error> {
    /// let client = Client::over(stream, "pipe", Config::default());
    /// let _: serde_json::Value = client.call(CmdId::AUTHENTICATE, &serde_json::json!({"token": token})).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn over<IO>(io: IO, name: &str, config: Config) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if config.check().is_err() {
            return Self::with_config(name, config);
        }

        let address: Arc<str> = Arc::from(name);
        let common = Common::new(Arc::new(config));

        let (connection, driver) = Connection::new(io, Arc::clone(&address), common.clone());
        tokio::spawn(driver);

        let endpoint = Endpoint::connected(Arc::clone(&address), common.clone(), connection);
        Self::from_parts(address, common, Route::Sole(endpoint))
    }

    /// The whole of a client: above the route stand the deadline, the retries and the backups of
    /// [`Command`]; below it pools, endpoints and connections.
    pub(crate) fn from_parts(target: Arc<str>, common: Common, route: Route) -> Self {
        let budget = Budget::new(&common.config, Instant::now());
        let hedging = Hedging::new(&common.config);
        let context = CallContext {
            target,
            config: Arc::clone(&common.config),
            events: common.events,
            lost_oneways: common.lost_oneways,
            metrics: common.metrics,
            route,
            budget,
            hedging,
        };

        Self {
            context: Arc::new(context),
            inherited: None,
        }
    }

    pub(crate) fn context(&self) -> &CallContext {
        &self.context
    }

    fn inherited(&self) -> Option<&Inherited> {
        self.inherited.as_deref()
    }

    /// What it calls: an address, or the target as it was given.
    pub fn address(&self) -> &str {
        &self.context.target
    }

    /// What is known of each endpoint: whether it is connected, its calls, its latency. The numbers are
    /// kept where calls are balanced: with several endpoints, or several connections to one.
    pub fn endpoints(&self) -> Vec<EndpointStats> {
        self.context.route.endpoints()
    }

    /// Calls a command and decodes its data. It may take `timeouts.call_timeout_ms`.
    ///
    /// # Errors
    /// See [`Error`]: each call ends in exactly one way, by its deadline. What was not sent or rejected has
    /// been tried again before, and so has what may have run of an
    /// [idempotent](Command::idempotent) command, as far as [`retry.attempts_max`](crate::config::Retry::attempts_max), the deadline and the
    /// retry budget allow.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up: the server is told, and a late reply is ignored.
    pub async fn call<P, T>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.command(cmdid).call(params).await
    }

    /// Sends a command that is not answered. It returns when the request is in the connection's output,
    /// and says nothing of the server; [`flush`](Self::flush) waits until the server has read it. In the mode
    /// `short` this waits for that itself.
    ///
    /// # Errors
    /// There is no connection, and none could be opened within the deadline. What happens at the server is not
    /// reported.
    ///
    /// # Cancel safety
    /// A future that is dropped while it waits for a connection, or for room on it, has sent nothing; in the mode
    /// `short` the request may have left.
    pub async fn notify<P>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        self.command(cmdid).notify(params).await
    }

    /// Calls a command that answers with a stream of items. There is no deadline unless
    /// [`Command::timeout`] sets one; dropping the stream gives the call up.
    ///
    /// # Errors
    /// As [`call`](Self::call), for the beginning; what fails later is the stream's last item.
    ///
    /// # Cancel safety
    /// Dropping the future, or the stream later, gives the call up.
    pub async fn stream<P, T>(
        &self,
        cmdid: impl Into<CmdId>,
        params: &P,
    ) -> Result<BoxStream<'static, Result<T, Error>>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        self.command(cmdid).stream(params).await
    }

    /// A call with options of its own.
    ///
    /// ```no_run
    /// # async fn example(client: rpc_client::Client) -> Result<(), rpc_client::Error> {
    /// let seq: u64 = client
    ///     .command(1001)
    ///     .timeout(std::time::Duration::from_millis(200))
    ///     .meta("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    ///     .call(&"params")
    ///     .await?;
    /// # let _ = seq;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, cmdid: impl Into<CmdId>) -> Command<'_> {
        Command::new(&self.context, self.inherited(), cmdid.into())
    }

    /// This client for the calls that a handler makes to do its work: none of them goes on for longer than
    /// the handler's own call, and each belongs to its trace (`traceparent`, `tracestate`). It shares the connections, so it
    /// costs no more than a clone.
    ///
    /// `parent` is what the handler has: `rpc_server::Context`, or a [`Request`] or
    /// [`Scope`](rpc_core::Scope) in a service of its own kind.
    ///
    /// ```no_run
    /// use rpc_client::Client;
    /// use rpc_core::Status;
    /// use rpc_core::scope::Parent;
    ///
    /// async fn handler(users: Client, context: impl Parent) -> Result<String, Status> {
    ///     // With 200 ms left of the handler's time, neither takes longer than that.
    ///     let users = users.within(&context);
    ///     let id: u64 = users.call(200, &"ann").await?;
    ///     Ok(users.call(201, &id).await?)
    /// }
    /// ```
    #[must_use]
    pub fn within(&self, parent: &impl Parent) -> Self {
        let inherited = Inherited::from(parent).under(self.inherited());
        Self {
            context: Arc::clone(&self.context),
            inherited: Some(Arc::new(inherited)),
        }
    }

    /// This client with a layer around it; see [`layers`](crate::layers).
    pub fn layer<L: Layer<Self>>(&self, layer: L) -> ServiceClient<L::Service> {
        ServiceClient::new(self.clone())
            .call_timeout(self.context.config.timeouts.call_timeout())
            .layer(layer)
    }

    /// This client for plain threads: it shares the connection.
    pub fn blocking(&self) -> blocking::Client {
        self.clone().into()
    }

    /// Whether there is a connection that takes calls right now. A call does not need one: it opens
    /// what it needs.
    pub fn is_connected(&self) -> bool {
        self.context.route.is_connected()
    }

    /// Opens a connection now, unless one is open: calls open it by themselves. In the mode `short` it
    /// is closed again.
    ///
    /// # Errors
    /// Where none can be opened, at any endpoint, or not within `timeouts.call_timeout_ms`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a kept connection to be opened, for the next call.
    pub async fn connect(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.context.config.timeouts.call_timeout();
        self.context
            .route
            .lease(RouteHint::default(), Some(deadline))
            .await
            .map(drop)
    }

    /// Waits until the service can be called, for `timeout` at most: until a connection to one of its endpoints is open
    /// and the server says there that it is serving (command 2, `health`). A program waits so at its start for the
    /// services that it needs, in whatever order they are started; later it just calls them.
    ///
    /// The endpoints are looked at again and again, about twice a second. A server that does not know `health` is ready
    /// by answering that, and one that is called without ids ([`pool.ordered`](crate::config::Pool::ordered)) by its
    /// connection.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn example() -> Result<(), rpc_client::Error> {
    /// let orders = rpc_client::Client::new("orders.internal:8889");
    /// orders.ready(Duration::from_secs(30)).await?;
    /// let open: u64 = orders.call(2001, &()).await?;
    /// # let _ = open;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No endpoint was ready in time: the error says what was wrong last, and has its code. What waiting cannot change
    /// is told at once: settings and a target that cannot work, a token that is refused (code 16 or 7).
    ///
    /// # Cancel safety
    /// Dropping the future gives the question up that is under way; a connection that is being opened is left to the
    /// next call.
    pub async fn ready(&self, timeout: Duration) -> Result<(), Error> {
        // Apart: it is made once, and calls have small futures.
        Box::pin(self.command(CmdId::HEALTH).ready(timeout)).await
    }

    /// What becomes of the connections, from now on: a stream of events that ends with the client. It
    /// holds `limits.events_max` of them for a slow reader; one that is slower is told how many it missed.
    ///
    /// ```no_run
    /// use futures::StreamExt;
    ///
    /// # async fn example(client: rpc_client::Client) {
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     println!("{event:?}");
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> BoxStream<'static, ConnectionEvent> {
        self.context
            .events
            .listen(self.context.config.limits.events_max)
    }

    /// What was counted since the client was made, by all of its clones: what became of its calls, by command and code,
    /// their latencies, retries and backups; connections and ejections. Counting costs nothing to speak of, and
    /// asking a millisecond at most. [`Report::to_prometheus`] is the same as text.
    ///
    /// ```no_run
    /// # fn example(client: rpc_client::Client) {
    /// for command in client.report().commands {
    ///     println!("{:?}: {} calls, p99 {} us", command.cmdid, command.calls(), command.latency.p99_us);
    /// }
    /// # }
    /// ```
    pub fn report(&self) -> Report {
        self.context.metrics.report(&self.context.target)
    }

    /// Waits until the servers have read everything that was sent without an answer since the last flush, and
    /// everything else has been handed to the system; for `timeouts.call_timeout_ms` at most.
    ///
    /// A server has read a oneway call when it answers a later line of the connection: a ping that the flush
    /// sends, where no call has been answered since. It has then taken the call or refused it for good, and may not
    /// have run it yet. Where calls have no ids ([`pool.ordered`](crate::config::Pool::ordered), and connections with nothing but
    /// [ordered](Command::ordered) calls) a ping may not be known, and the flush waits for the system alone.
    ///
    /// # Errors
    /// Where the server has not answered in time (code 4), or a connection ended before that, also one that has
    /// been replaced by now (code 14): what was sent may have run or not, as
    /// [`may_have_run`](Error::may_have_run) says. Each loss is told once.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing back; a later flush waits for the same.
    pub async fn flush(&self) -> Result<(), Error> {
        let deadline = after(Instant::now(), self.context.config.timeouts.call_timeout());
        let latest = self.context.route.latest();
        let flushes = try_join_all(latest.iter().map(|connection| connection.flush()));
        let result = timeout_at(deadline, flushes).await;

        if let Some(lost) = self.context.lost_oneways.take() {
            return Err(lost);
        }
        result
            .map_err(|_| {
                Error::new(
                    Kind::Deadline { was_sent: true },
                    &self.context.target,
                    None,
                )
            })?
            .map(drop)
    }

    /// Sends a request as it is: with an id multiplexed (under an id of this connection's own),
    /// without one ordered. Its `timeout` is its deadline; without one, `timeouts.call_timeout_ms` is.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As [`call`](Self::call), and for a oneway request as [`notify`](Self::notify).
    pub async fn send(
        &self,
        mut request: Request<'static>,
    ) -> Result<Option<RawJson<'static>>, Error> {
        let command = Command::of(&self.context, self.inherited(), &mut request);
        if request.oneway {
            return command.send_oneway(request).await.map(|()| None);
        }

        command.send(request).await
    }

    /// As [`send`](Self::send), in two halves and without retries: when the first one returns, the request
    /// has its place in the order of the connection. Nothing is pending for a oneway request.
    pub(crate) async fn start(
        &self,
        mut request: Request<'static>,
    ) -> Result<Option<Attempt>, Error> {
        let command = Command::of(&self.context, self.inherited(), &mut request);
        if request.oneway {
            return command.send_oneway(request).await.map(|()| None);
        }

        command.start_once(request).await.map(Some)
    }

    /// The reply to a request as it is; one with `credit` is answered with a stream.
    pub(crate) async fn reply_to(&self, mut request: Request<'static>) -> Result<Reply, Error> {
        if request.credit.is_some() {
            let command = Command::of(&self.context, self.inherited(), &mut request);
            // Apart, so that other calls, of which there are more, have smaller futures.
            let items = Box::pin(command.items(request)).await?;
            // They are JSON already.
            return Ok(Body::Stream(items.map_err(Error::into_status).boxed()).into());
        }

        let data = self.send(request).await?;
        Ok(data.map_or_else(Reply::empty, Reply::raw))
    }
}

/// A client answers requests like a router does, only elsewhere: what is written against the trait
/// takes either. A request with `credit` expects a stream and gets one, under credit of the client's own.
impl Service for Client {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let client = self.clone();
        let request = request.into_owned();
        async move {
            let reply = client.reply_to(request).await;
            reply.map_err(Error::into_status)
        }
    }

    fn call_typed<R: MethodResult>(
        &self,
        request: Result<TypedRequest<'_>, Status>,
    ) -> impl Future<Output = R> + Send {
        let request = match request {
            Ok(request) => request,
            Err(status) => return Either::Left(ready(R::from_data(Err(status))).boxed()),
        };

        let command = Command::of_typed(&self.context, self.inherited(), &request);
        if !request.is_plain() || !command.is_usual() {
            let call = Service::call(self, request.into_request());
            // Apart, as above.
            return Either::Left(call.map(R::from_outcome).boxed());
        }

        let params = request.into_params();
        Either::Right(async move {
            let result = command.call_written(params).await;
            R::from_result(result.map_err(Error::into_status))
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
