//! Streams that have no item for long, or whose server asks them to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use rpc_client::{CallOptions, Client, Code};
use rpc_server::{Config, Router, Server, Status, service};
use tokio::time::Instant;

use super::Number;

#[service]
trait Rare {
    /// The time of the first item above `after`, in hours since the service began.
    #[rpc(
        cmdid = 102,
        idempotent,
        no_timeout,
        resumable(cursor = "n", param = "after")
    )]
    fn watch(&self, after: u64) -> impl Stream<Item = Result<Number, Status>> + Send;
}

struct Hourly {
    began: Instant,
}

impl Rare for Hourly {
    fn watch(&self, after: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
        let n = after + 1;
        let at = self.began + Duration::from_secs(n * 3_600);
        stream::once(async move {
            tokio::time::sleep_until(at).await;
            Ok(Number { n })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_an_item_outlives_any_number_of_connections_that_retire() {
    // The ages of 60 connections.
    let began = Instant::now();
    let mut config = Config::default();
    config.drain.connection_age_max_ms = 60_000;
    let router = Router::new().serve(RareServer(Hourly { began })).unwrap();
    let server = Server::builder().config(config).router(router);
    let handle = server.bind().await.unwrap().handle();
    let connections = Arc::<AtomicUsize>::default();

    let counted = Arc::clone(&connections);
    let connect = move |_: String| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(handle.serve_connection(theirs, "test"));
        std::future::ready(Ok(ours))
    };
    let client = Client::builder("far").connector(connect).build();
    let mut items = RareClient::new(client).watch(0).await.unwrap();

    assert_eq!(items.next().await.unwrap().unwrap().n, 1);
    assert_eq!(began.elapsed().as_secs(), 3_600);
    assert!(connections.load(Ordering::Relaxed) > 40);
}

/// A service that is busy at its first call, and asks for ten minutes.
#[derive(Default)]
struct Busy {
    was_called: AtomicBool,
}

impl Rare for Busy {
    fn watch(&self, after: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
        let item = match self.was_called.swap(true, Ordering::Relaxed) {
            false => Err(Status::unavailable("busy").with_retry_after(Duration::from_secs(600))),
            true => Ok(Number { n: after + 1 }),
        };
        stream::iter([item])
    }
}

async fn client_of_a_busy_service() -> Client {
    let router = Router::new().serve(RareServer(Busy::default())).unwrap();
    let server = Server::builder().router(router).bind().await.unwrap();
    let handle = server.handle();
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(handle.serve_connection(theirs, "test"));
        std::future::ready(Ok(ours))
    };
    Client::builder("far").connector(connect).build()
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_as_long_as_its_server_asks_for_up_to_the_longest_back_off() {
    let begun = Instant::now();
    let rare = RareClient::new(client_of_a_busy_service().await);

    let mut items = rare.watch(3).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap().n, 4);
    // `reconnect.cap_ms`
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_wait_past_its_deadline_whatever_its_server_asks_for() {
    let begun = Instant::now();
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let rare = RareClient::new(client_of_a_busy_service().await).with(options);

    let mut items = rare.watch(3).await.unwrap();
    let failure = items.next().await.unwrap().unwrap_err();
    assert_eq!(failure.code(), Code::DEADLINE_EXCEEDED);
    assert_eq!(begun.elapsed().as_secs(), 3);
}
