//! The client for code without a runtime.

use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::iter::FusedIterator;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use rpc_core::typed::Blocking;
use rpc_core::{CmdId, RawJson, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::call::{self, Timed};
use crate::client;
use crate::config::Config;
use crate::discover::Target;
use crate::error::{Cause, Error, Kind};
use crate::metrics::Report;

/// Calls a service from plain threads: each call blocks its thread until it ends, by its deadline.
///
/// It is the [`Client`](crate::Client) behind another door: connection, settings, retries and errors are the
/// same, and threads that share a client (clones share too) share its connection. One thread of the
/// process, started by the first call, moves the bytes of all blocking clients; it is called
/// `rpc-blocking` and ends with the process.
///
/// Inside an async runtime a call would block the runtime's thread, so it fails there with code 9 and says
/// so, in `spawn_blocking` as well: there, take the async client, and
/// `Handle::current().block_on(client.call(..))`.
///
/// ```no_run
/// use rpc_client::blocking::Client;
///
/// fn main() -> Result<(), rpc_client::Error> {
///     let client = Client::new("127.0.0.1:8889");
///     let greeting: String = client.call(100, &"world")?;
///     println!("{greeting}");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: client::Client,
}

impl Client {
    /// As the async [`Client::new`](crate::Client::new).
    pub fn new(target: impl Into<Target>) -> Self {
        client::Client::new(target).into()
    }

    /// As the async [`Client::with_config`](crate::Client::with_config).
    pub fn with_config(target: impl Into<Target>, config: Config) -> Self {
        client::Client::with_config(target, config).into()
    }

    /// The address that it calls.
    pub fn address(&self) -> &str {
        self.inner.address()
    }

    /// Calls a command and decodes its data. The deadline is `timeouts.call_timeout_ms` from now.
    ///
    /// # Errors
    /// See [`Error`]; code 9, not sent, inside an async runtime.
    pub fn call<P, T>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.command(cmdid).call(params)
    }

    /// Sends a command that is not answered; [`flush`](Self::flush) waits until the server has read it.
    ///
    /// # Errors
    /// As the async [`Client::notify`](crate::Client::notify); code 9 inside an async runtime.
    pub fn notify<P>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        self.command(cmdid).notify(params)
    }

    /// Calls a command that answers with a stream of items. There is no deadline unless
    /// [`Command::timeout`] sets one; dropping the items gives the call up.
    ///
    /// # Errors
    /// As [`call`](Self::call), for the beginning; what fails later is the last item.
    pub fn stream<P, T>(&self, cmdid: impl Into<CmdId>, params: &P) -> Result<Items<T>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        self.command(cmdid).stream(params)
    }

    /// A call with options of its own.
    ///
    /// ```no_run
    /// # fn example(client: rpc_client::blocking::Client) -> Result<(), rpc_client::Error> {
    /// let seq: u64 = client.command(1001).timeout(std::time::Duration::from_millis(200)).call(&"params")?;
    /// # let _ = seq;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, cmdid: impl Into<CmdId>) -> Command<'_> {
        self.inner.command(cmdid).made_by(self)
    }

    /// Whether there is a connection that takes calls right now. A call does not need one: it opens
    /// what it needs.
    pub fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    /// Opens the connection now, unless it is open: calls open it by themselves.
    ///
    /// # Errors
    /// Where it cannot be opened, or not within `timeouts.call_timeout_ms`; code 9 inside an async runtime.
    pub fn connect(&self) -> Result<(), Error> {
        block_on(&self.inner, self.inner.connect())
    }

    /// As the async [`Client::ready`](crate::Client::ready): waits until the service can be called, for `timeout` at
    /// most.
    ///
    /// ```no_run
    /// # fn example(client: rpc_client::blocking::Client) -> Result<(), rpc_client::Error> {
    /// client.ready(std::time::Duration::from_secs(30))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As the async [`Client::ready`](crate::Client::ready); code 9 inside an async runtime.
    pub fn ready(&self, timeout: Duration) -> Result<(), Error> {
        block_on(&self.inner, self.inner.ready(timeout))
    }

    /// As the async [`Client::flush`](crate::Client::flush): waits until the servers have read what was sent
    /// without an answer.
    ///
    /// # Errors
    /// As the async [`Client::flush`](crate::Client::flush); code 9 inside an async runtime.
    pub fn flush(&self) -> Result<(), Error> {
        block_on(&self.inner, self.inner.flush())
    }

    /// As the async [`Client::report`](crate::Client::report): what was counted since the client was made.
    pub fn report(&self) -> Report {
        self.inner.report()
    }

    /// The async client behind it, which shares its connection.
    pub fn as_async(&self) -> &client::Client {
        &self.inner
    }
}

impl From<client::Client> for Client {
    /// A blocking client that shares the async one's connection.
    fn from(inner: client::Client) -> Self {
        Self { inner }
    }
}

/// What a generated client for plain threads takes, as `OrdersBlockingClient::new(client)`.
impl Blocking for Client {
    type Service = client::Client;

    fn service(&self) -> client::Client {
        self.inner.clone()
    }

    fn wait<F: Future>(&self, call: F) -> Result<F::Output, Status> {
        block_on(&self.inner, async { Ok(call.await) }).map_err(Error::into_status)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("blocking::Client")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// The process's blocking client of this address: it shares the connection of
/// [`rpc_client::shared`](crate::shared).
pub fn shared(address: &str) -> Client {
    crate::client::shared(address).into()
}

/// A call with options of its own; see [`Client::command`].
pub type Command<'c> = call::Command<'c, Client>;

impl call::Connected for Client {}

impl Command<'_> {
    /// As [`Client::call`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call<P, T>(&self, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        block_on(self.client(), self.on_connections().call(params))
    }

    /// As [`call`](Self::call), with the data as the server sent it; `None` for a reply without data.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_raw<P>(&self, params: &P) -> Result<Option<RawJson<'static>>, Error>
    where
        P: Serialize + ?Sized,
    {
        block_on(self.client(), self.on_connections().call_raw(params))
    }

    /// As the async [`Command::timed`](crate::Command::timed): the result, and where the time of the call went.
    pub fn timed<P, T>(&self, params: &P) -> Timed<T>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let command = self.on_connections();
        block_on(self.client(), async { Ok(command.timed(params).await) })
            .unwrap_or_else(Timed::not_made)
    }

    /// As [`Client::notify`].
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub fn notify<P>(&self, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        block_on(self.client(), self.on_connections().notify(params))
    }

    /// As [`Client::stream`].
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub fn stream<P, T>(&self, params: &P) -> Result<Items<T>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        let stream = block_on(self.client(), self.on_connections().stream(params))?;
        Ok(Items {
            stream: Some(stream),
            client: self.client().clone(),
        })
    }

    fn client(&self) -> &client::Client {
        &self.caller().inner
    }

    /// The same call as its async client makes it.
    fn on_connections(&self) -> call::Command<'_> {
        self.clone().made_by(self.client().context())
    }
}

/// The items of a streaming call, each of which is waited for. Dropping them gives the call up.
pub struct Items<T> {
    stream: Option<BoxStream<'static, Result<T, Error>>>,
    client: client::Client,
}

impl<T> Iterator for Items<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let stream = self.stream.as_mut()?;
        let next = block_on(&self.client, async { Ok(stream.next().await) })
            .unwrap_or_else(|error| Some(Err(error)));

        if !matches!(next, Some(Ok(_))) {
            // A failure is the last item, and gives the call up if the server did not send it.
            self.stream = None;
        }

        next
    }
}

impl<T> FusedIterator for Items<T> {}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("is_over", &self.stream.is_none())
            .finish_non_exhaustive()
    }
}

/// Waits on this thread for what the background thread's runtime drives.
fn block_on<T>(
    client: &client::Client,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let address = || Arc::<str>::from(client.address());
    if Handle::try_current().is_ok() {
        return Err(Error::new(
            Kind::Misused(Cause::new(
                "a blocking client was called inside an async runtime, whose thread it would block; \
                 use `rpc_client::Client` there",
            )),
            &address(),
            None,
        ));
    }

    let runtime = runtime().map_err(|error| {
        let cause = Cause::with_source(
            format!("the thread of the blocking clients cannot start: {error}"),
            error,
        );
        Error::new(Kind::NotSent(cause), &address(), None)
    })?;

    runtime.block_on(call)
}

/// The runtime of all blocking clients, which a thread of its own drives until the process ends.
fn runtime() -> io::Result<&'static Handle> {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    /// One thread starts it; a start that failed is tried again by the next call.
    static STARTING: Mutex<()> = Mutex::new(());

    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }

    // It guards no data that a panic could have left half done.
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("rpc-blocking".into())
        .spawn(move || runtime.block_on(pending::<()>()))?;

    Ok(RUNTIME.get_or_init(|| handle))
}
