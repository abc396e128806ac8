//! The client: what a service links to call another one.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use rpc_core::{CmdId, Layer, Meta, Outcome, RawJson, Reply, Request, Service, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::blocking;
use crate::builder::ClientBuilder;
use crate::config::Config;
use crate::connect::Connector;
use crate::connection::{Connection, PendingCall, PendingStream, Refusal, decode};
use crate::error::{Error, Kind};
use crate::events::{ConnectionEvent, Events};
use crate::reconnect::Endpoint;
use crate::service_client::ServiceClient;

/// Calls one service over one connection, which is opened by the first call and shared by all of
/// them; clones share it too.
///
/// Any number of tasks call at once: their requests travel side by side, and a slow one holds up no
/// other. A lost connection is opened again by the next call.
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
    endpoint: Arc<Endpoint>,
    events: Events,
}

impl Client {
    /// A client of the service at `"127.0.0.1:8889"`, `"log.internal:8889"` or
    /// `"unix:/run/rpc.sock"`. Nothing is opened before the first call; an address that is none
    /// fails that call.
    pub fn new(address: impl AsRef<str>) -> Self {
        Self::with_config(address, Config::default())
    }

    /// As [`new`](Self::new), with settings.
    pub fn with_config(address: impl AsRef<str>, config: Config) -> Self {
        Self::builder(address).config(config).build()
    }

    /// A client with more than settings of its own: with a [`Connect`](crate::Connect) that opens its
    /// byte streams.
    pub fn builder(address: impl AsRef<str>) -> ClientBuilder {
        ClientBuilder::new(address.as_ref())
    }

    pub(crate) fn build(address: Arc<str>, config: Config, connector: Connector) -> Self {
        let events = Events::default();
        Self { endpoint: Endpoint::new(address, Arc::new(config), connector, events.clone()), events }
    }

    /// A client over a byte stream that is open already: an in-memory pipe, TLS of your own. When it
    /// ends, calls fail; nothing is opened in its place. `name` stands for the address in errors.
    ///
    /// The connection is driven by a task on the current runtime.
    pub fn over<IO>(io: IO, name: &str, config: Config) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (address, config): (Arc<str>, _) = (Arc::from(name), Arc::new(config));
        let events = Events::default();
        let (connection, driver) =
            Connection::new(io, Arc::clone(&address), Arc::clone(&config), events.clone());
        tokio::spawn(driver);
        Self { endpoint: Endpoint::connected(address, config, connection, events.clone()), events }
    }

    /// The address that it calls.
    pub fn address(&self) -> &str {
        self.endpoint.address()
    }

    /// Calls a command and decodes its data. The deadline is `call_timeout_ms` from now.
    ///
    /// # Errors
    /// See [`Error`]: each call ends in exactly one way, by its deadline.
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

    /// Sends a command that is not answered. It returns when the request stands in the connection's
    /// output; [`flush`](Self::flush) waits until it has left.
    ///
    /// # Errors
    /// Where there is no connection, and none within the deadline. What happens at the server is not
    /// reported.
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
        let is_ordered = self.endpoint.config().ordered;
        Command { client: self, cmdid: cmdid.into(), timeout: None, meta: BTreeMap::new(), is_ordered }
    }

    /// This client with a layer around it; see [`layers`](crate::layers).
    pub fn layer<L: Layer<Self>>(&self, layer: L) -> ServiceClient<L::Service> {
        ServiceClient::new(self.clone()).call_timeout(self.endpoint.config().call_timeout()).layer(layer)
    }

    /// This client for plain threads: it shares the connection.
    pub fn blocking(&self) -> blocking::Client {
        self.clone().into()
    }

    /// Whether there is a connection that takes calls right now. A call does not need one: it opens
    /// what it needs.
    pub fn is_connected(&self) -> bool {
        self.endpoint.current().is_some()
    }

    /// Opens the connection now, where there is none: calls open it by themselves.
    ///
    /// # Errors
    /// Where it cannot be opened, or not within `call_timeout_ms`.
    pub async fn connect(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.endpoint.config().call_timeout();
        self.endpoint.connection(Some(deadline)).await.map(drop)
    }

    /// What becomes of the connections, from now on: a stream of events that ends with the client. It
    /// holds `events_max` of them for a slow reader; one that is slower is told how many it missed.
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
        self.events.listen(self.endpoint.config().events_max)
    }

    /// Waits until everything that was sent so far has been handed to the system.
    ///
    /// # Errors
    /// Where the connection ended before that.
    pub async fn flush(&self) -> Result<(), Error> {
        match self.endpoint.latest() {
            Some(connection) => connection.flush().await,
            None => Ok(()),
        }
    }

    /// Sends a request as it is: with an id multiplexed (under an id of this connection's own),
    /// without one ordered. Its `timeout` is its deadline; without one, `call_timeout_ms` is.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn send(&self, request: Request<'static>) -> Result<Option<RawJson<'static>>, Error> {
        match self.start(request).await? {
            Some(pending) => pending.await,
            None => Ok(None),
        }
    }

    /// The first half of [`send`](Self::send): when it returns, the request has its place in the
    /// order of the connection. Nothing is pending for a oneway request.
    pub(crate) async fn start(&self, request: Request<'static>) -> Result<Option<PendingCall>, Error> {
        let mut command = self.command(request.cmdid);
        command.timeout = request.timeout;
        command.is_ordered |= request.id.is_none();
        if request.oneway {
            return command.put(request).await.map(|()| None);
        }
        let deadline = command.deadline();
        command.begin(request, Some(deadline), false).await.map(|pending| Some(pending.polled_elsewhere()))
    }
}

/// A call with options of its own; see [`Client::command`].
#[derive(Clone)]
pub struct Command<'c> {
    client: &'c Client,
    cmdid: CmdId,
    timeout: Option<Duration>,
    meta: BTreeMap<String, String>,
    is_ordered: bool,
}

impl Command<'_> {
    /// How long to wait for the result, from the moment of the call. The server is told, and stops
    /// when it is over.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds metadata.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Sends the call without an id: such calls run one after another, in the order in which they
    /// were made.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.is_ordered = true;
        self
    }

    /// As [`Client::call`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call<P, T>(&self, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let mut pending = self.begin_call(params).await?;
        let data = poll_fn(|cx| pending.poll_data(cx)).await?;
        pending.decode(data)
    }

    /// As [`call`](Self::call), with the data as the server sent it; `None` for a reply without data.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_raw<P>(&self, params: &P) -> Result<Option<RawJson<'static>>, Error>
    where
        P: Serialize + ?Sized,
    {
        self.begin_call(params).await?.await
    }

    /// As [`Client::notify`].
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn notify<P>(&self, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        let mut request = self.request(params)?;
        request.oneway = true;
        request.timeout = None;
        self.put(request).await
    }

    /// As [`Client::stream`]; always multiplexed.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn stream<P, T>(&self, params: &P) -> Result<BoxStream<'static, Result<T, Error>>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        let pending = self.begin_stream(self.request(params)?).await?;
        let address = Arc::clone(self.client.endpoint.address());
        let typed =
            move |item: Result<RawJson<'static>, Error>| item.and_then(|item| decode(Some(&item), &address));
        Ok(pending.map(typed).boxed())
    }

    async fn begin_stream(&self, mut request: Request<'static>) -> Result<PendingStream, Error> {
        request.credit = Some(self.client.endpoint.config().stream_credit);
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        self.begin(request, deadline, true).await.map(PendingStream::new)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.time_limit()
    }

    fn time_limit(&self) -> Duration {
        self.timeout.unwrap_or_else(|| self.client.endpoint.config().call_timeout())
    }

    fn request<P: Serialize + ?Sized>(&self, params: &P) -> Result<Request<'static>, Error> {
        let endpoint = &self.client.endpoint;
        let params = RawJson::serialize(params)
            .map_err(|error| Error::new(Kind::Params(Arc::new(error)), endpoint.address(), None))?;
        let mut request = Request::new(self.cmdid, params);
        request.meta = Meta::from_entries(&self.meta);
        if self.is_ordered {
            // tornado-TCP's server wants one.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            request.timestamp = i64::try_from(since.as_secs()).ok();
        }
        Ok(request)
    }

    /// Begins a call: at once where there is a connection that takes it, as a rule. What else there may
    /// be to do is kept out of the call's future, of which there are as many as calls in flight.
    async fn begin_call<P: Serialize + ?Sized>(&self, params: &P) -> Result<PendingCall, Error> {
        let deadline = self.deadline();
        let at_once = poll_fn(|cx| Poll::Ready(self.begin_at_once(params, deadline, cx.waker())));
        match at_once.await? {
            Ok(pending) => Ok(pending),
            Err(request) => Box::pin(self.begin(*request, Some(deadline), false)).await,
        }
    }

    /// The request, where it could not be sent at once.
    fn begin_at_once<P: Serialize + ?Sized>(
        &self,
        params: &P,
        deadline: Instant,
        waker: &Waker,
    ) -> Result<Result<PendingCall, Box<Request<'static>>>, Error> {
        let mut request = self.request(params)?;
        if let Some(connection) = self.client.endpoint.latest() {
            request.timeout = self.tells_timeout().then(|| self.time_limit());
            if let Ok(pending) = connection.begin(&request, Some(deadline), self.is_ordered, false, waker) {
                return Ok(Ok(pending));
            }
        }
        Ok(Err(Box::new(request)))
    }

    /// A server that knows no ids may not know `timeout_ms` either: it is told where the caller asks for it.
    fn tells_timeout(&self) -> bool {
        self.timeout.is_some() || !self.is_ordered
    }

    /// Begins the call on a connection that takes it, as soon as there is one. What is told to the
    /// server is the time that is left then.
    async fn begin(
        &self,
        mut request: Request<'static>,
        deadline: Option<Instant>,
        is_stream: bool,
    ) -> Result<PendingCall, Error> {
        // A stream without an id could not be given credit, so it has one.
        let is_ordered = self.is_ordered && !is_stream;
        loop {
            let mut connection = Some(self.connection(deadline).await?);
            request.timeout = deadline
                .filter(|_| self.tells_timeout())
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let begun = poll_fn(|cx| {
                let connection = connection.take().expect("this is polled once");
                Poll::Ready(connection.begin(&request, deadline, is_ordered, is_stream, cx.waker()))
            });
            match begun.await {
                Ok(pending) => return Ok(pending),
                Err((connection, refusal)) => self.wait(&connection, refusal, deadline, is_ordered).await?,
            }
        }
    }

    async fn put(&self, request: Request<'static>) -> Result<(), Error> {
        let deadline = Some(self.deadline());
        loop {
            let connection = self.connection(deadline).await?;
            match connection.notify(&request, self.is_ordered) {
                Ok(()) => return Ok(()),
                Err(refusal) => self.wait(&connection, refusal, deadline, self.is_ordered).await?,
            }
        }
    }

    async fn connection(&self, deadline: Option<Instant>) -> Result<Arc<Connection>, Error> {
        match self.client.endpoint.current() {
            Some(connection) => Ok(connection),
            None => self.client.endpoint.connection(deadline).await,
        }
    }

    async fn wait(
        &self,
        connection: &Connection,
        refusal: Refusal,
        deadline: Option<Instant>,
        is_ordered: bool,
    ) -> Result<(), Error> {
        let room = match refusal {
            // Another connection may take it.
            Refusal::Over => return Ok(()),
            Refusal::Full => connection.wait_for_room(is_ordered),
        };
        let Some(deadline) = deadline else {
            room.await;
            return Ok(());
        };
        let late = |_| Error::new(Kind::Deadline { was_sent: false }, self.client.endpoint.address(), None);
        tokio::time::timeout_at(deadline, room).await.map_err(late)
    }
}

/// A client answers requests like a router does, only elsewhere: what is written against the trait
/// takes either. A request with `credit` expects a stream and gets one, under credit of the client's own.
impl Service for Client {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let client = self.clone();
        let request = request.into_owned();
        async move {
            if request.credit.is_some() {
                let mut command = client.command(request.cmdid);
                command.timeout = request.timeout;
                let items = command.begin_stream(request).await?;
                return Ok(Reply::stream(items.map_err(Status::from)));
            }
            let data = client.send(request).await?;
            Ok(data.map_or_else(Reply::empty, Reply::raw))
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).finish_non_exhaustive()
    }
}
