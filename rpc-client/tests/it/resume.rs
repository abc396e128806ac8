//! Resumable streams over connections that are lost: each item comes once.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use rpc_client::{BoxService, CallOptions, Client, Code, Service, layers};
use rpc_core::Resume;
use rpc_server::{Config, Router, Server, Status, service};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::Instant;

#[derive(Debug, Serialize, Deserialize)]
struct Number {
    n: u64,
}

#[service]
trait Numbers {
    /// The numbers above `after`, up to `to`; at `gap` they begin later.
    #[rpc(
        cmdid = 100,
        idempotent,
        no_timeout,
        resumable(cursor = "n", param = "after")
    )]
    fn follow(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send;

    /// As `follow`, for callers that cannot go on.
    #[rpc(cmdid = 101, idempotent, no_timeout)]
    fn once(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send;
}

struct Counting;

fn numbers(after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
    // A few at a time, so that connections are lost between items, too.
    stream::iter(after + 1..=to).then(|n| async move {
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
        Ok(Number { n })
    })
}

impl Numbers for Counting {
    fn follow(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
        numbers(after, to)
    }

    fn once(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
        numbers(after, to)
    }
}

/// A byte stream that breaks after a number of bytes, in whatever direction.
struct Breaking {
    io: DuplexStream,
    left: usize,
    breaks: Arc<AtomicUsize>,
}

impl Breaking {
    /// Whether any of these bytes may pass.
    fn check(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 || self.left > 0 {
            return Ok(());
        }

        self.breaks.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What is over the limit is lost on its way.
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.check(read)?;
        let passed = read.min(self.left);
        buf.set_filled(before + passed);
        self.left -= passed;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(bytes.len())?;
        let length = bytes.len().min(self.left);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes[..length]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A client of a server whose connections break after as many bytes as `bytes` says, and how many have broken.
async fn client(
    config: Config,
    bytes: impl Fn() -> usize + Send + Sync + 'static,
) -> (Client, Arc<AtomicUsize>) {
    let router = Router::new().serve(NumbersServer(Counting)).unwrap();
    let server = Server::builder().config(config).router(router);
    let handle = server.bind().await.unwrap().handle();
    let breaks = Arc::<AtomicUsize>::default();

    let counted = Arc::clone(&breaks);
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let breaking = Breaking {
            io: theirs,
            left: bytes(),
            breaks: Arc::clone(&counted),
        };
        tokio::spawn(handle.serve_connection(breaking, "test"));
        std::future::ready(Ok(ours))
    };
    (Client::builder("far").connector(connect).build(), breaks)
}

/// A setting of the environment.
fn setting(name: &str) -> Option<u64> {
    let set = std::env::var(name).ok()?;
    Some(set.parse().expect(name))
}

/// 1,000 cuts by default; `STREAM_CUTS=100000` are more. `STREAM_SEED` cuts again where a run has.
#[tokio::test(start_paused = true)]
async fn of_a_stream_that_is_cut_at_random_each_item_comes_once() {
    let cuts = setting("STREAM_CUTS").unwrap_or(1_000);
    let seed = setting("STREAM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STREAM_SEED={seed}");
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let bytes = move || random.lock().unwrap().usize(60..900);

    let (client, breaks) = client(Config::default(), bytes).await;
    let numbers = NumbersClient::new(client);
    let mut items = numbers.follow(0, u64::MAX).await.unwrap();
    let mut last = 0;
    while (breaks.load(Ordering::Relaxed) as u64) < cuts {
        last += 1;
        assert_eq!(items.next().await.unwrap().unwrap().n, last);
    }
    drop(items);

    // The end comes once, too, wherever the last cut was.
    let mut items = numbers.follow(0, last).await.unwrap();
    for wanted in 1..=last {
        assert_eq!(items.next().await.unwrap().unwrap().n, wanted);
    }
    assert!(items.next().await.is_none());
}

/// The first connection to a server that cannot be reached for ten seconds.
#[derive(Clone, Copy, PartialEq)]
enum First {
    /// It is made, and breaks: the ten seconds begin.
    Breaks,
    /// It cannot be made: the ten seconds have begun already.
    Fails,
}

/// A client of a server that is away for ten seconds.
async fn client_of_a_server_that_is_away(first: First) -> Client {
    let router = Router::new().serve(NumbersServer(Counting)).unwrap();
    let server = Server::builder().router(router).bind().await.unwrap();
    let handle = server.handle();
    let begun = Mutex::new((first == First::Fails).then(Instant::now));

    let connect = move |_: String| {
        let mut begun = begun.lock().unwrap();
        if begun.is_some_and(|begun| begun.elapsed().as_secs() < 10) {
            return std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }

        begun.get_or_insert_with(Instant::now);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let breaking = Breaking {
            io: theirs,
            left: 600,
            breaks: Arc::default(),
        };
        tokio::spawn(handle.serve_connection(breaking, "test"));
        std::future::ready(Ok(ours))
    };
    Client::builder("far").connector(connect).build()
}

/// Reads a stream whose server is away for ten seconds.
async fn check_that_it_comes_back(service: impl Service) {
    let begun = Instant::now();
    let numbers = NumbersClient::new(service);
    let mut items = numbers.follow(0, 40).await.unwrap();
    for wanted in 1..=40 {
        assert_eq!(items.next().await.unwrap().unwrap().n, wanted);
    }

    assert!(items.next().await.is_none());
    assert!(begun.elapsed().as_secs() >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_when_its_server_was_away_for_some_seconds() {
    check_that_it_comes_back(client_of_a_server_that_is_away(First::Breaks).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_when_its_server_was_away_at_its_first_call() {
    check_that_it_comes_back(client_of_a_server_that_is_away(First::Fails).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_begun_fails_at_its_deadline() {
    let client = client_of_a_server_that_is_away(First::Fails).await;
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let numbers = NumbersClient::new(client).with(options);
    let begun = Instant::now();

    let failure = numbers.follow(0, 40).await.unwrap_err();
    assert_eq!(failure.code(), Code::DEADLINE_EXCEEDED);
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_resumable_fails_when_it_cannot_be_begun() {
    let client = client_of_a_server_that_is_away(First::Fails).await;
    let begun = Instant::now();

    let failure = NumbersClient::new(client).once(0, 40).await.unwrap_err();
    assert_eq!(failure.code(), Code::UNAVAILABLE);
    assert!(begun.elapsed().as_secs() < 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_behind_layers_has_the_back_off_of_its_client() {
    let client = client_of_a_server_that_is_away(First::Breaks).await;
    let layered = client
        .layer(layers::Timeout::new(Duration::from_secs(5)))
        .layer(layers::Retry::new(&rpc_client::Config::default()))
        .layer(layers::Trace);
    check_that_it_comes_back(BoxService::new(layered)).await;
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_stream_behind_layers_share_its_one_deadline() {
    let (client, breaks) = client(Config::default(), || 600).await;
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let numbers = NumbersClient::new(client.layer(layers::Trace)).with(options);
    let begun = Instant::now();

    let mut items = numbers.follow(0, u64::MAX).await.unwrap();
    let failure = loop {
        match items.next().await.unwrap() {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.code(), Code::DEADLINE_EXCEEDED);
    assert!(begun.elapsed() < Duration::from_millis(3_500));
    assert!(breaks.load(Ordering::Relaxed) > 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_resumable_ends_with_its_connection() {
    let (client, _) = client(Config::default(), || 2_000).await;
    let numbers = NumbersClient::new(client);
    let items: Vec<_> = numbers.once(0, 1_000).await.unwrap().collect().await;
    let (last, before) = items.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().code(), Code::UNAVAILABLE);
    assert!(before.iter().all(Result::is_ok) && before.len() < 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_over_another_connection_when_its_own_retires() {
    // An age of a moment: each connection goes away soon after its first item.
    let mut config = Config::default();
    config.drain.connection_age_max_ms = 1;
    config.drain.goaway_grace_ms = 1;
    let (client, breaks) = client(config, || usize::MAX).await;
    let numbers = NumbersClient::new(client);
    let mut items = numbers.follow(0, 50).await.unwrap();
    for wanted in 1..=50 {
        assert_eq!(items.next().await.unwrap().unwrap().n, wanted);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(items.next().await.is_none());
    assert_eq!(breaks.load(Ordering::Relaxed), 0);
}

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

#[test]
fn describe_tells_the_members_of_the_cursor() {
    let [follow, once] = &NumbersService::descriptors()[..] else {
        panic!("there are two commands");
    };
    assert_eq!(follow.resumable, [Resume::new("n", "after")]);
    assert!(once.resumable.is_empty());
    let described = serde_json::to_value(follow).unwrap();
    assert_eq!(
        described["resumable"],
        serde_json::json!([{"cursor": "n", "param": "after"}])
    );
}
