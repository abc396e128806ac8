//! Peers that are gone while the server does not read from them: their calls still end.

use std::ops::Range;
use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_server::{Config, Reply, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::rig::{ECHO, HOLD, Rig, filled};
use crate::sockets::{connect, tcp, tcp_and_unix, until};
use crate::support::{Client, TestServer, call, settle};

/// Sends items, each for its credit.
const ITEMS: u32 = 200;

fn small(change: impl FnOnce(&mut Config)) -> Config {
    Config::default()
        .with(|config| {
            config.limits.frame_bytes_max = 20_000;
            config.limits.output_bytes_soft_max = 20_000;
            config.limits.connection_bytes_max = 100_000;
        })
        .with(change)
}

async fn server(rig: &Rig, config: Config) -> TestServer {
    let items = async || Reply::stream(stream::repeat(()).map(|()| Ok::<_, Status>("x")));
    TestServer::with(config, rig.router().route(ITEMS, items).unwrap()).await
}

/// Calls of this command with these ids, each with params of 8,000 bytes.
fn calls(ids: Range<u64>, cmdid: u32) -> String {
    let params = format!("\"credit\":1,\"params\":{}", filled(8_000));
    ids.map(|id| call(id, cmdid, &params)).collect()
}

/// A peer that has sent these lines is not read from, and is gone then: its calls end soon.
async fn check(server: &TestServer, lines: &str, why: &str) {
    let before = server.stats();
    let mut peer = server.connect();
    peer.send(lines).await;
    settle().await;
    assert!(server.stats().in_flight > before.in_flight, "{why}");

    // More than fits into the pipe, a read, and the replies.
    let more = calls(100..140, ECHO);
    let sent = tokio::time::timeout(Duration::from_secs(1), peer.send(more));
    assert!(sent.await.is_err(), "it is read from, though not for {why}");

    drop(peer);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let now = server.stats();
    assert_eq!(
        (now.connections_open, now.in_flight),
        (before.connections_open, before.in_flight),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_peer_that_is_gone_end_where_its_connection_is_full() {
    let rig = Rig::new();

    let few = small(|config| config.admission.in_flight_per_connection = 2);
    let few = server(&rig, few).await;
    check(&few, &calls(0..2, HOLD), "the number of its calls").await;

    let plain = server(&rig, small(|_| {})).await;
    check(&plain, &calls(0..12, HOLD), "their bytes").await;
    let ordered = format!("{{\"cmdid\":{HOLD},\"params\":{}}}\n", filled(8_000)).repeat(12);
    check(&plain, &ordered, "the bytes of calls in order").await;
    let behind_a_stream = call(99, ITEMS, "\"credit\":1") + &calls(0..12, HOLD);
    check(&plain, &behind_a_stream, "bytes, beside a stream").await;

    assert_eq!(rig.probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_peer_that_is_gone_end_where_its_output_is_full_or_it_is_slowed_down() {
    let rig = Rig::new();
    let slow = small(|config| config.throttle.frames_per_second = 10);
    let server = server(&rig, slow).await;

    check(&server, &call(0, HOLD, ""), "its output").await;
    let flood = call(0, HOLD, "") + &"\n".repeat(1_000);
    check(&server, &flood, "its flood").await;

    assert_eq!(rig.probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_peer_that_is_gone_end_where_memory_is_scarce() {
    let rig = Rig::new();
    let scarce = small(|config| config.limits.memory_bytes_max = 120_000);
    let server = server(&rig, scarce).await;
    let mut other = server.connect();
    other.send(calls(0..4, HOLD)).await;
    settle().await;

    check(&server, &calls(0..6, HOLD), "the share of its calls").await;
    check(&server, &calls(0..6, ITEMS), "the share of its streams").await;

    // The other one goes on.
    rig.gate.let_pass(4);
    for _ in 0..4 {
        assert_eq!(other.reply().await["code"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_ended_its_side_waits_for_its_replies_though_its_connection_is_full() {
    let rig = Rig::new();
    let few = small(|config| config.admission.in_flight_per_connection = 2);
    let server = server(&rig, few).await;
    let mut peer = server.connect();

    peer.send((0..4).map(|id| call(id, HOLD, "")).collect::<String>())
        .await;
    peer.half_close().await;
    // What it is sent meanwhile only shows that it is there.
    for _ in 0..20 {
        assert_eq!(peer.line_or_heartbeat().await, "\n");
    }

    rig.gate.let_pass(4);
    for _ in 0..4 {
        assert_eq!(peer.reply().await["code"], 0);
    }
    peer.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_waits_and_is_not_read_from_gets_an_empty_line_each_second_if_it_knows_ids() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut peer = server.connect();
    peer.send(call(1, HOLD, "")).await;
    peer.half_close().await;

    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(peer.line_or_heartbeat().await, "\n");
    }
    let passed = begun.elapsed().as_millis();
    assert!((3_000..3_100).contains(&passed), "{passed} ms");
    rig.gate.let_pass(1);
    assert_eq!(peer.read_to_end().await, "{\"id\":1,\"code\":0}\n");

    let mut simple = server.connect();
    simple.send(format!("{{\"cmdid\":{HOLD}}}\n")).await;
    simple.half_close().await;
    let line = tokio::time::timeout(Duration::from_secs(20), simple.line_or_heartbeat());
    assert!(line.await.is_err());
    rig.gate.let_pass(1);
    assert_eq!(simple.read_to_end().await, "{\"code\":0}\n");
}

/// Waits until the server has no connection.
pub(crate) async fn is_left(server: &TestServer) {
    until(|| server.stats().connections_open == 0).await;
    assert_eq!(server.stats().in_flight, 0);
}

/// Has a connection with room for one call hold that one, and a second one that waits for its room.
pub(crate) async fn fill<IO>(peer: &mut Client<IO>, rig: &Rig)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    peer.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    tokio::io::AsyncWriteExt::flush(&mut peer.io).await.unwrap();
    until(|| rig.probe.running() > 0).await;
    peer.send(call(3, HOLD, "")).await;
    tokio::io::AsyncWriteExt::flush(&mut peer.io).await.unwrap();
}

/// Resets a connection.
pub(crate) fn reset(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_reset_is_seen_on_a_socket_that_is_not_read_from() {
    let (rig, directory) = (Rig::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("socket");
    let one = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let (server, address) = tcp_and_unix(&path, one, rig.router()).await;

    let mut peer = connect(address).await;
    fill(&mut peer, &rig).await;
    reset(peer.io.get_ref());
    drop(peer);
    is_left(&server).await;

    let mut peer = Client::new(UnixStream::connect(&path).await.unwrap());
    fill(&mut peer, &rig).await;
    drop(peer);
    is_left(&server).await;
    assert_eq!(rig.probe.running(), 0);
}

#[tokio::test]
async fn what_a_peer_has_not_cancelled_before_it_closed_ends_soon() {
    let rig = Rig::new();
    let quiet = async || Reply::stream(stream::pending::<Result<(), Status>>());
    let few = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let (server, address) = tcp(few, rig.router().route(ITEMS, quiet).unwrap()).await;

    let calls = |cmdid, count| (0..count).map(|id| call(id, cmdid, "")).collect::<String>();
    let full = calls(HOLD, 10);
    for lines in [calls(ITEMS, 1), calls(HOLD, 1), full] {
        let mut peer = connect(address).await;
        peer.send(lines).await;
        until(|| server.stats().in_flight > 0).await;

        // Its system sends the same as that of a peer that has ended its side.
        drop(peer);
        is_left(&server).await;
    }
    assert_eq!(rig.probe.running(), 0);
}
