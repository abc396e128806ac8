//! Peers that do harm, by intent or by accident: each hurts its own connection only.

use std::time::Duration;

use rpc_server::{Config, Router, State};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::rig::{ECHO, FILL, HOLD, HOLD_DETACHED, Rig, filled};
use crate::sockets::{connect, tcp, until};
use crate::support::{Client, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_line_that_never_ends_is_refused_at_the_limit_and_no_more_of_it_is_kept() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.limits.frame_bytes_max = 100_000),
        rig.router(),
    )
    .await;
    let mut good = server.connect();
    let mut client = server.connect();
    client.send("{\"id\":7,\"cmdid\":100,\"params\":\"").await;
    client.send("x".repeat(90_000)).await;
    good.send(call(1, ECHO, "")).await;
    good.expect_code(1, 0).await;
    assert_eq!(server.stats().limits.frames_too_long, 0);
    // Whatever comes after the verdict is read and dropped, so that the verdict is not lost to a reset.
    client.send("x".repeat(500_000)).await;
    let refused = client.expect_code(7, 8).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.frame_bytes_max` of 100000 bytes"),
        "{refused}"
    );
    client.expect_end().await;
    assert_eq!(server.stats().limits.frames_too_long, 1);
    good.send(call(2, ECHO, "")).await;
    good.expect_code(2, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_drips_is_closed_at_its_time_however_steadily_it_drips() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client.send("{\"cmdid\":0,\"params\":1}\n").await;
    client.expect("{\"code\":0,\"data\":1}").await;
    let begun = Instant::now();
    let drip = async {
        let (read, mut write) = tokio::io::split(&mut client.io);
        let drips = async {
            loop {
                if write.write_all(b" ").await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let mut read = Client::new(tokio::io::join(read, tokio::io::sink()));
        tokio::select! {
            biased;
            reply = read.reply() => reply,
            () = drips => panic!("it was told before it was closed"),
        }
    };
    let told = drip.await;
    assert_eq!(
        (told["code"].as_u64(), begun.elapsed().as_secs()),
        (Some(4), 10),
        "{told}"
    );
    client.expect_end().await;
    assert_eq!(server.stats().limits.frame_timeouts, 1);
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_line_ends_that_connection_only() {
    let rig = Rig::new();
    let (server, address) = tcp(Config::default(), rig.router()).await;
    let mut good = connect(address).await;
    let mut bad = connect(address).await;
    good.send(call(1, HOLD, "")).await;
    bad.send(call(1, HOLD, "") + &call(2, HOLD_DETACHED, "") + "{\"id\":3,\"cmdid\":")
        .await;
    until(|| rig.probe.running() == 3).await;
    let io = bad.io.into_inner().into_std().unwrap();
    // Closing with no time to linger is a reset.
    socket2::SockRef::from(&io)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(io);
    until(|| server.stats().connections_open == 1).await;
    // Of its calls, the one that may be dropped is, and the one that must not be runs on.
    until(|| rig.probe.running() == 2).await;
    rig.gate.let_pass(2);
    good.expect("{\"id\":1,\"code\":0}").await;
    until(|| rig.probe.finished() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_within_its_limit_whatever_its_peers_are_doing() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.drain.timeout_ms = 3_000;
        config.admission.in_flight_per_connection = 2;
        config.throttle.frames_per_second = 10;
        config.limits.output_bytes_soft_max = 64 * 1024;
    });
    let mut server = TestServer::with(config, rig.router()).await;
    // One takes no byte of its reply, one has more calls than it may and they hang, one floods, one is
    // half-open with a call that hangs, one drips, and one is gone without a word.
    let mut deaf = server.connect_through(1_024);
    deaf.send(call(1, ECHO, &format!("\"params\":{}", filled(100_000))))
        .await;
    let mut full = server.connect();
    full.send((0..10).map(|id| call(id, HOLD, "")).collect::<String>())
        .await;
    let mut flood = server.connect();
    flood.send("{\"id\":1,\"cmdid\":0}\n".repeat(100)).await;
    let mut half_open = server.connect();
    half_open.send(call(1, HOLD, "")).await;
    half_open.half_close().await;
    let mut drips = server.connect();
    drips.send("{\"cmdid\":0}\n{\"cmdid\"").await;
    drop(server.connect());
    settle().await;
    server.begin_to_drain();
    let begun = Instant::now();
    let drained = server.drained().await;
    assert_eq!(
        begun.elapsed().as_millis() / 10,
        300,
        "the limit, because of those that hang"
    );
    assert!(!drained.is_clean);
    // Those with nothing that hangs were done before.
    assert_eq!(drained.dropped, 3, "{drained:?}");
    assert_eq!(rig.probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_takes_nothing_does_not_hold_back_another_one_s_replies() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut deaf = server.connect_through(1_024);
    for id in 0..100 {
        deaf.send(call(id, FILL, "\"params\":{\"bytes\":32000}"))
            .await;
    }
    rig.gate.let_pass(100);
    settle().await;
    let mut other = server.connect();
    for id in 0..1_000 {
        let begun = Instant::now();
        other.send(call(id, ECHO, "")).await;
        other.expect_code(id, 0).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

#[tokio::test]
async fn the_calls_of_a_peer_that_has_half_closed_and_is_gone_end() {
    /// Tells when it begins, and by its end that it was dropped.
    async fn wait(State(tell): State<UnboundedSender<()>>) {
        tell.send(()).unwrap();
        std::future::pending::<()>().await;
    }

    let (tell, mut told) = unbounded_channel();
    let router = Router::with_state(tell).route(100, wait).unwrap();
    let (server, address) = tcp(Config::default(), router).await;

    let mut client = connect(address).await;
    client.send(call(1, 100, "")).await;
    client.half_close().await;
    told.recv().await.unwrap();

    // A reset, and not another end of the stream.
    socket2::SockRef::from(client.io.get_ref())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    until(|| server.stats().connections_open == 0).await;
    assert_eq!(server.stats().in_flight, 0);
}
