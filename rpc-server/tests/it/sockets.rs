//! Servers at sockets of this machine, where time cannot stand still: it jumps, or a test waits for what it expects.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rpc_server::{BoundAddress, Config, Router, Server};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, TestServer};

/// These settings, with handlers that are not cut off while a test waits: what ends one is what the test is about.
pub(crate) fn patient(config: Config) -> Config {
    config.with(|config| config.timeouts.handler_timeout_ms = 600_000)
}

/// A server at a TCP port, and the address of that.
pub(crate) async fn tcp<S>(config: Config, router: Router<S>) -> (TestServer, SocketAddr)
where
    S: Clone + Send + Sync + 'static,
{
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .config(patient(config));
    let server = builder.router(router).bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    (TestServer::of(server), address)
}

/// A server at a TCP port, whose address is returned, and at a Unix socket.
pub(crate) async fn tcp_and_unix<S>(
    path: &Path,
    config: Config,
    router: Router<S>,
) -> (TestServer, SocketAddr)
where
    S: Clone + Send + Sync + 'static,
{
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .listen(format!("unix:{}", path.display()))
        .config(patient(config));
    let server = builder.router(router).bind().await.unwrap();

    let addresses = server.addresses();
    assert_eq!(addresses[1], BoundAddress::Unix(path.to_owned()));
    let address = addresses[0].tcp().unwrap();
    (TestServer::of(server), address)
}

pub(crate) async fn connect(address: SocketAddr) -> Client<TcpStream> {
    Client::new(TcpStream::connect(address).await.unwrap())
}

/// Lets this time pass at once for all timers of this thread.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Waits until it is so: until the server has seen what happened on a socket.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it becomes so");
}
