//! Servers and peers for the tests.

use std::collections::HashMap;
use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rpc_client::{BoxByteStream, Client, Config, Connect};
use rpc_core::{Reply, Status};
use rpc_server::{Context, Params, Router, Server, ServerHandle, State};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::TcpSocket;

/// Longer than every limit of a client: what has not come by then never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What the handlers of [`router`] count.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) ran: Arc<AtomicU64>,
    pub(crate) dropped: Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct Delayed {
    value: u64,
    #[serde(default)]
    ms: u64,
}

/// 100 answers its `value` after `ms`; 101 never answers; 102 counts; 103 fails as rejected; 104
/// streams `value` numbers; 105 answers its metadata; 106 panics.
pub(crate) fn router(seen: Seen) -> Router<Seen> {
    Router::with_state(seen)
        .route(100, delayed)
        .and_then(|router| router.route(101, never))
        .and_then(|router| router.route(102, count))
        .and_then(|router| router.route(103, reject))
        .and_then(|router| router.route(104, numbers))
        .and_then(|router| router.route(105, meta))
        .and_then(|router| router.route(106, panics))
        .unwrap()
}

async fn delayed(Params(Delayed { value, ms }): Params<Delayed>) -> Result<u64, Status> {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    Ok(value)
}

async fn never(State(seen): State<Seen>) -> Result<(), Status> {
    struct Dropped(Seen);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
    seen.ran.fetch_add(1, Ordering::SeqCst);
    let _dropped = Dropped(seen);
    pending().await
}

async fn count(State(seen): State<Seen>) -> Result<u64, Status> {
    Ok(seen.ran.fetch_add(1, Ordering::SeqCst) + 1)
}

async fn reject() -> Status {
    Status::resource_exhausted("too much")
        .with_rejected()
        .with_retry_after(Duration::from_millis(20))
}

async fn numbers(Params(Delayed { value, .. }): Params<Delayed>) -> Reply {
    Reply::stream(futures::stream::iter((0..value).map(Ok)))
}

async fn meta(context: Context) -> Result<(Option<String>, bool), Status> {
    Ok((context.meta("traceparent"), context.timeout().is_some()))
}

async fn panics() -> Result<(), Status> {
    panic!("on purpose")
}

/// A client and a server that are joined in memory.
pub(crate) async fn pair(seen: Seen, config: Config) -> (Client, ServerHandle) {
    let server = Server::builder().router(router(seen)).bind().await.unwrap();
    let handle = server.handle();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(handle.serve_connection(theirs, "memory"));
    (Client::over(ours, "memory", config), handle)
}

/// A server without a socket, and a client's connector to it: with either, time can be paused.
pub(crate) async fn in_memory<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
) -> (impl Connect + Clone, ServerHandle) {
    let handle = Server::builder()
        .router(router)
        .bind()
        .await
        .unwrap()
        .handle();
    let server = handle.clone();
    let connect = move |_address: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(server.serve_connection(theirs, "memory"));
        ready(Ok(ours))
    };
    (connect, handle)
}

/// Servers without sockets that can be connected to, by their addresses: time can be paused.
#[derive(Clone, Default)]
pub(crate) struct Servers(Arc<Mutex<HashMap<String, Arc<dyn Connect>>>>);

impl Servers {
    pub(crate) async fn start(&self, address: &str) -> ServerHandle {
        self.serve(address, router(Seen::default())).await
    }

    /// Starts a server of these commands.
    pub(crate) async fn serve<S: Clone + Send + Sync + 'static>(
        &self,
        address: &str,
        router: Router<S>,
    ) -> ServerHandle {
        let (connect, handle) = in_memory(router).await;
        self.add(address, connect);
        handle
    }

    pub(crate) fn add(&self, address: &str, connect: impl Connect) {
        let mut servers = self.0.lock().unwrap();
        servers.insert(address.to_owned(), Arc::new(connect));
    }

    pub(crate) fn client(&self, target: &str) -> Client {
        self.client_with(target, Config::default())
    }

    pub(crate) fn client_with(&self, target: &str, config: Config) -> Client {
        let builder = Client::builder(target).connector(self.clone());
        builder.config(config).build()
    }
}

impl Connect for Servers {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxByteStream>> {
        match self.0.lock().unwrap().get(address) {
            Some(server) => server.connect(address),
            None => ready(Err(io::Error::other("no such server yet"))).boxed(),
        }
    }
}

/// An address at which nothing listens, for as long as this is kept: no other socket is given its port.
pub(crate) struct Nowhere {
    pub(crate) address: SocketAddr,
    /// Bound and never listening.
    _reserved: TcpSocket,
}

impl Nowhere {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            _reserved: socket,
        }
    }
}

/// A server on a TCP port of its own, until the test ends.
pub(crate) async fn tcp(seen: Seen) -> (String, ServerHandle) {
    serving(router(seen)).await
}

/// A server of these commands on a TCP port of its own, until the test ends.
pub(crate) async fn serving<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
) -> (String, ServerHandle) {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await
        .unwrap();
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    tokio::spawn(server.serve(pending()));
    (address, handle)
}

/// Calls until all endpoints are connected, so that what comes later is the policy's doing.
pub(crate) async fn connect_all(client: &Client) {
    let are_connected = || {
        let endpoints = client.endpoints();
        endpoints.iter().all(|endpoint| endpoint.is_connected)
    };
    while !are_connected() {
        let called = client.call::<_, u64>(100, &json!({"value": 1})).await;
        called.unwrap();
    }
}

/// A peer that the test plays itself, line by line.
pub(crate) struct Peer {
    pub(crate) lines: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    pub(crate) output: WriteHalf<DuplexStream>,
}

impl Peer {
    pub(crate) fn new(config: Config) -> (Client, Self) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(theirs);
        (
            Client::over(ours, "played", config),
            Self {
                lines: BufReader::new(input).lines(),
                output,
            },
        )
    }

    pub(crate) async fn line(&mut self) -> serde_json::Value {
        let line = self
            .lines
            .next_line()
            .await
            .unwrap()
            .expect("the client has not closed");
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) async fn send(&mut self, line: &str) {
        self.output.write_all(line.as_bytes()).await.unwrap();
        self.output.write_all(b"\n").await.unwrap();
    }
}
