//! Many connections, and more than there may be.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::stream;
use rpc_server::{Config, Reply, Router, State};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;

use crate::rig::Rig;
use crate::sockets::{connect, tcp};
use crate::support::{Client, PATIENCE, TestServer, call};

const PING: &str = "{\"cmdid\":0,\"params\":1}";
/// A full server still answers a ping.
const CALL: &str = "{\"cmdid\":100,\"params\":1}";

#[tokio::test]
async fn a_thousand_connections_at_once_are_all_accepted_and_answered() {
    let (server, address) = tcp(Config::default(), Rig::new().router()).await;
    let all = futures::future::join_all((0..1_000).map(|_| async move {
        let mut client = connect(address).await;
        assert_eq!(client.ask(PING).await["data"], 1);
        client
    }));
    let clients = all.await;
    assert_eq!(
        (
            server.stats().connections_accepted,
            server.stats().connections_open
        ),
        (1_000, 1_000)
    );
    drop(clients);
}

#[tokio::test]
async fn an_address_has_a_limited_number_of_connections_and_other_addresses_and_streams_have_theirs()
 {
    let config = Config::default().with(|config| config.limits.connections_per_address = 2);
    let (server, address) = tcp(config, Rig::new().router()).await;
    let mut first = connect(address).await;
    let mut second = connect(address).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask(PING).await["data"], 1);
    }
    let mut third = connect(address).await;
    let refused = third.ask(CALL).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.connections_per_address` of 2"),
        "{refused}"
    );
    assert_eq!(
        (&refused["code"], &refused["rejected"]),
        (&8.into(), &true.into())
    );
    assert_eq!(refused["retry_after_ms"], 1_000);
    third.expect_end().await;
    assert_eq!(server.stats().limits.connections_over_address_max, 1);
    // All of 127.0.0.0/8 is this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::new(socket.connect(address).await.unwrap());
    assert_eq!(other.ask(PING).await["data"], 1);
    for _ in 0..3 {
        assert_eq!(server.connect().ask(PING).await["data"], 1);
    }
    // Who leaves makes room.
    drop(first);
    let waits = async {
        loop {
            let mut next = connect(address).await;
            let reply = next.ask(CALL).await;
            if reply["code"] == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits)
        .await
        .expect("there is room");
    assert_eq!(second.ask(PING).await["data"], 1);
}

#[tokio::test]
async fn a_limited_number_are_told_that_there_is_no_place_and_the_others_are_closed() {
    let config = Config::default().with(|config| {
        config.limits.connections_max = 1;
        config.accept.refusals_max = 2;
        config.timeouts.linger_timeout_ms = 60_000;
    });
    let (server, address) = tcp(config, Rig::new().router()).await;
    let mut first = connect(address).await;
    assert_eq!(first.ask(PING).await["data"], 1);
    // Both are told, and stay: they hold the two turns.
    let (mut one, mut other) = (connect(address).await, connect(address).await);
    for client in [&mut one, &mut other] {
        assert_eq!(client.ask(CALL).await["code"], 8);
    }
    let mut third = connect(address).await;
    third.send(format!("{CALL}\n")).await;
    third.expect_end().await;
    assert_eq!(
        (
            server.stats().limits.connections_over_max,
            server.stats().limits.refusals_unsaid
        ),
        (3, 1)
    );
}

/// A stream that always has more to read, and takes all that is written. Time passes while it is read.
struct Endless {
    lines: &'static [u8],
    /// How much of the lines has been read, in turns.
    at: usize,
    seen: Arc<Seen>,
    read_takes: Option<Duration>,
}

#[derive(Default)]
struct Seen {
    reads: AtomicUsize,
    writes: AtomicUsize,
    largest: AtomicUsize,
}

impl Endless {
    fn new(lines: &'static [u8]) -> (Self, Arc<Seen>) {
        let seen = Arc::<Seen>::default();
        let endless = Self {
            lines,
            at: 0,
            seen: Arc::clone(&seen),
            read_takes: None,
        };
        (endless, seen)
    }
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.seen.reads.fetch_add(1, Ordering::Relaxed);
        let room = buf.remaining();
        self.seen.largest.fetch_max(room, Ordering::Relaxed);
        while buf.remaining() > 0 {
            let left = &self.lines[self.at..];
            let length = left.len().min(buf.remaining());
            buf.put_slice(&left[..length]);
            self.at = (self.at + length) % self.lines.len();
        }

        if let Some(time) = self.read_takes {
            // It passes at the first poll.
            let _ = pin!(tokio::time::advance(time)).poll(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.seen.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn to_read_a_long_line_uses_up_the_share_of_a_turn() {
    let config = Config::default().with(|config| {
        config.limits.frame_bytes_max = 100_000_000;
        config.limits.connection_bytes_max = 200_000_000;
        config.limits.memory_bytes_max = 400_000_000;
    });
    let server = TestServer::with(config, Rig::new().router()).await;
    let (mut endless, seen) = Endless::new(b"x");
    endless.read_takes = Some(Duration::from_micros(100));

    let mut connection = pin!(server.handle.serve_connection(endless, "endless"));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..5 {
        let before = seen.reads.load(Ordering::Relaxed);
        assert!(connection.as_mut().poll(&mut cx).is_pending());
        let reads = seen.reads.load(Ordering::Relaxed) - before;
        assert!((1..=12).contains(&reads), "{reads} reads, each 0.1 ms");
    }
    assert_eq!(seen.largest.load(Ordering::Relaxed), 64 * 1024);
}

/// Streams whose items take a millisecond each, and how many were taken of all of them.
fn slow_streams() -> (Router<Arc<AtomicUsize>>, Arc<AtomicUsize>) {
    async fn slow(State(taken): State<Arc<AtomicUsize>>) -> Reply {
        Reply::stream(stream::poll_fn(move |cx| {
            taken.fetch_add(1, Ordering::Relaxed);
            // It passes at the first poll.
            let _ = pin!(tokio::time::advance(Duration::from_millis(1))).poll(cx);
            Poll::Ready(Some(Ok(1)))
        }))
    }

    let taken = Arc::<AtomicUsize>::default();
    let router = Router::with_state(Arc::clone(&taken)).route(100, slow);
    (router.unwrap(), taken)
}

/// Polls a connection with such streams, which were called with `rest`, until they have given `most` items or it was
/// polled `polls` times. No poll may give more than two.
async fn few_in_each_turn(streams: u64, rest: &str, polls: usize, most: usize) -> usize {
    let (router, taken) = slow_streams();
    let server = TestServer::start(router).await;
    let (near, far) = tokio::io::duplex(1024 * 1024);
    let mut client = Client::new(near);
    for id in 1..=streams {
        client.send(call(id, 100, rest)).await;
    }

    let mut connection = pin!(server.handle.serve_connection(far, "slow"));
    let mut cx = Context::from_waker(Waker::noop());
    let mut before = 0;
    for _ in 0..polls {
        assert!(connection.as_mut().poll(&mut cx).is_pending());
        let now = taken.load(Ordering::Relaxed);
        let items = now - before;
        assert!(items <= 2, "{items} items, each 1 ms, of {streams} streams");
        before = now;
        if before == most {
            break;
        }
    }
    before
}

#[tokio::test(start_paused = true)]
async fn streams_whose_items_take_long_give_few_of_them_in_a_turn() {
    for streams in [1, 50] {
        assert!(few_in_each_turn(streams, "", 20, usize::MAX).await >= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_without_credit_look_for_few_items_in_a_turn() {
    // Each gives the item that it has credit for, and keeps the next one.
    let found = few_in_each_turn(50, "\"credit\":1", 1_000, 100).await;
    assert_eq!(found, 100);
}

/// Of a runtime that looks at its sockets seldom while its tasks keep it busy.
#[test]
fn a_connection_that_always_has_more_to_do_leaves_the_runtime_its_sockets() {
    const TURNS: usize = 1_000;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(u32::try_from(TURNS).unwrap())
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (server, address) = tcp(Config::default(), Rig::new().router()).await;
        let mut good = connect(address).await;
        let (endless, seen) = Endless::new(b"{\"id\":1,\"cmdid\":100,\"params\":1}\n");
        tokio::spawn(server.handle.serve_connection(endless, "endless"));

        while seen.reads.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(good.ask(PING).await["data"], 1);
        let reads = seen.reads.load(Ordering::Relaxed);
        assert!(reads < TURNS, "{reads} reads, one or more a turn");
    });
}

#[tokio::test]
async fn a_connection_with_little_to_do_waits_for_a_few_of_the_turns_of_a_crowd() {
    const CROWD: usize = 50;

    let (server, address) = tcp(Config::default(), Rig::new().router()).await;
    let mut good = connect(address).await;
    assert_eq!(good.ask(PING).await["data"], 1);

    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let (endless, seen) = Endless::new(b"{\"id\":1,\"cmdid\":100,\"params\":1}\n");
            tokio::spawn(server.handle.serve_connection(endless, "endless"));
            seen
        })
        .collect();
    let writes = |seen: &Arc<Seen>| seen.writes.load(Ordering::Relaxed);
    while crowd.iter().any(|seen| writes(seen) < 3) {
        tokio::task::yield_now().await;
    }

    // The best of a few: a turn is the shorter the less the machine has to do.
    let mut fewest = usize::MAX;
    for _ in 0..5 {
        let before: Vec<_> = crowd.iter().map(writes).collect();
        assert_eq!(good.ask(PING).await["data"], 1);
        let at_turn = crowd
            .iter()
            .zip(before)
            .filter(|(seen, before)| writes(seen) > *before);
        fewest = fewest.min(at_turn.count());
    }
    assert!(
        fewest < CROWD / 2,
        "{fewest} of {CROWD} had their turns before the answer"
    );

    // All of them have theirs in the end.
    let before: Vec<_> = crowd.iter().map(writes).collect();
    while crowd
        .iter()
        .zip(&before)
        .any(|(seen, before)| writes(seen) == *before)
    {
        tokio::task::yield_now().await;
    }
}

/// Asks for so much at once that it takes many turns, and reads all answers.
pub(crate) async fn pipeline(address: SocketAddr) {
    const CALLS: usize = 100_000;

    let mut client = TcpStream::connect(address).await.unwrap();
    let (answers, mut calls) = client.split();
    let asks = async {
        let lines = "{\"id\":1,\"cmdid\":100,\"params\":1}\n".repeat(CALLS);
        calls.write_all(lines.as_bytes()).await.unwrap();
    };
    let reads = async {
        let mut lines = BufReader::new(answers).lines();
        for _ in 0..CALLS {
            lines.next_line().await.unwrap().expect("an answer");
        }
    };
    let both = async { tokio::join!(asks, reads) };
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("it has its turns");
}

#[tokio::test]
async fn connections_that_are_not_polled_again_do_not_keep_the_others_from_their_turns() {
    let (server, address) = tcp(Config::default(), Rig::new().router()).await;

    // As many as are called at one time, and more that wait before the client.
    let stalled: Vec<_> = (0..6)
        .map(|_| {
            let (endless, _) = Endless::new(b"{\"id\":1,\"cmdid\":100,\"params\":1}\n");
            let mut connection = Box::pin(server.handle.serve_connection(endless, "endless"));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(connection.as_mut().poll(&mut cx).is_pending());
            connection
        })
        .collect();

    pipeline(address).await;
    drop(stalled);
}
