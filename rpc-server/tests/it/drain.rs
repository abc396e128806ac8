//! Going away: what was accepted is answered, what comes late is rejected, and nothing holds the server up.

use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use rpc_core::Resume;
use rpc_server::{Config, Descriptor, Kind, Reply, Route, Router, Status};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, HOLD_DETACHED, Rig, SLEEP};
use crate::sockets::{connect, tcp_and_unix};
use crate::support::{TestServer, call, settle};

const GOAWAY: &str = "{\"event\":\"goaway\",";
/// Streams numbers for ever, one every 100 ms.
const TICKS: u32 = 200;

async fn ticks() -> Reply {
    Reply::stream(every_100_ms())
}

fn every_100_ms() -> impl Stream<Item = Result<Value, Status>> + Send {
    stream::iter(0..).then(|n: u64| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(json!({"n": n}))
    })
}

#[tokio::test(start_paused = true)]
async fn goaway_is_sent_only_where_an_id_was_used() {
    let rig = Rig::new();
    let mut server = TestServer::start(rig.router()).await;
    let (mut multiplexed, mut ordered, mut idle) =
        (server.connect(), server.connect(), server.connect());
    multiplexed.send("{\"id\":1,\"cmdid\":0}\n").await;
    multiplexed
        .expect("{\"id\":1,\"code\":0,\"data\":{}}")
        .await;
    ordered.send("{\"cmdid\":0}\n").await;
    ordered.expect("{\"code\":0,\"data\":{}}").await;
    settle().await;
    server.begin_to_drain();
    let notice = multiplexed.line().await;
    assert!(notice.starts_with(GOAWAY), "{notice}");
    multiplexed.expect_end().await;
    ordered.expect_end().await;
    idle.expect_end().await;
    let drained = server.drained().await;
    assert!(drained.is_clean);
    assert_eq!((drained.connections, drained.dropped), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_answered_and_what_comes_late_is_rejected() {
    let rig = Rig::new();
    let mut server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    // One multiplexed call and three ordered ones, of which two wait for their turn.
    client
        .send(call(1, HOLD, "") + &format!("{{\"cmdid\":{HOLD}}}\n").repeat(3))
        .await;
    settle().await;
    server.begin_to_drain();
    assert!(client.line().await.starts_with(GOAWAY));
    client.send(call(2, ECHO, "")).await;
    let late = client.expect_code(2, 14).await;
    assert_eq!(late["rejected"], true);
    // Nothing is said to a oneway call, and an ordered one is answered in its turn.
    client
        .send(format!(
            "{{\"cmdid\":{HOLD},\"oneway\":true}}\n{{\"cmdid\":{HOLD}}}\n"
        ))
        .await;
    client.send("{\"id\":3,\"cmdid\":2}\n").await;
    client
        .expect(&format!(
            "{{\"id\":3,\"code\":0,\"data\":{{\"status\":\"draining\",\"instance\":\"{}\"}}}}",
            rpc_server::instance()
        ))
        .await;
    // Long after the grace: calls in flight have the drain's own time.
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.send(call(4, ECHO, "")).await;
    client.expect_code(4, 14).await;
    rig.gate.let_pass(4);
    let mut ordered = Vec::new();
    for _ in 0..5 {
        let reply = client.reply().await;
        match reply["id"].as_u64() {
            Some(id) => assert_eq!((id, &reply["code"]), (1, &0.into())),
            None => ordered.push((reply["code"].as_u64(), reply["rejected"].as_bool())),
        }
    }
    assert_eq!(
        ordered,
        [
            (Some(0), None),
            (Some(0), None),
            (Some(0), None),
            (Some(14), Some(true))
        ]
    );
    client.expect_end().await;
    assert!(server.drained().await.is_clean);
    assert_eq!((rig.probe.started(), rig.probe.finished()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn requests_on_their_way_have_the_grace_and_none_is_left_unanswered() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.drain.goaway_grace_ms = 500;
        config.timeouts.linger_timeout_ms = 1_000;
    });
    let mut server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    settle().await;
    server.begin_to_drain();
    let start = Instant::now();
    for n in 0..4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send(call(n, ECHO, "")).await;
        if n == 0 {
            assert!(
                client.line().await.starts_with(GOAWAY),
                "only now it is known to use ids"
            );
        }
        client.expect_code(n, 14).await;
    }
    client.expect_end().await;
    assert_eq!(
        start.elapsed().as_millis() / 10,
        50,
        "closed after the grace"
    );
    // A peer that stays is waited for no longer than the linger.
    assert!(server.drained().await.is_clean);
    assert_eq!(start.elapsed().as_millis() / 10, 150);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_after_goaway_makes_the_drain_quick() {
    let rig = Rig::new();
    let mut server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client.send(call(1, SLEEP, "\"params\":{\"ms\":50}")).await;
    settle().await;
    server.begin_to_drain();
    let start = Instant::now();
    assert!(client.line().await.starts_with(GOAWAY));
    client.half_close().await;
    client.expect("{\"id\":1,\"code\":0,\"data\":50}").await;
    client.expect_end().await;
    drop(client);
    assert!(server.drained().await.is_clean);
    assert!(
        start.elapsed() < Duration::from_millis(60),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_dropped_at_the_drain_timeout_and_reported() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.drain.timeout_ms = 3_000);
    let mut server = TestServer::with(config, rig.router()).await;
    let (mut hangs, mut ends) = (server.connect(), server.connect());
    hangs.send(call(1, HOLD, "")).await;
    ends.send(call(1, SLEEP, "\"params\":{\"ms\":2000}")).await;
    settle().await;
    server.begin_to_drain();
    let start = Instant::now();
    assert!(ends.line().await.starts_with(GOAWAY));
    ends.expect("{\"id\":1,\"code\":0,\"data\":2000}").await;
    ends.expect_end().await;
    drop(ends);
    let drained = server.drained().await;
    assert_eq!(start.elapsed().as_millis(), 3_000);
    assert_eq!(
        (drained.is_clean, drained.connections, drained.dropped),
        (false, 2, 1)
    );
    assert_eq!(
        (
            rig.probe.started(),
            rig.probe.running(),
            rig.probe.finished()
        ),
        (2, 0, 1)
    );
    assert!(hangs.line().await.starts_with(GOAWAY));
    hangs.expect_code(1, 14).await;
    hangs.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_at_the_drain_timeout_ends_with_code_14() {
    let rig = Rig::new();
    let streams = Router::new().route(TICKS, ticks).unwrap();
    let router = rig.router().merge(streams).unwrap();
    let config = Config::default().with(|config| config.drain.timeout_ms = 3_000);
    let mut server = TestServer::with(config, router).await;
    let mut client = server.connect();
    // A stream, a call, and of two ordered calls one that waits for its turn.
    let ordered = format!("{{\"cmdid\":{HOLD}}}\n").repeat(2);
    client
        .send(call(1, TICKS, "") + &call(2, HOLD, "") + &ordered)
        .await;
    settle().await;
    server.begin_to_drain();
    let start = Instant::now();
    let drained = server.drained().await;
    assert_eq!(start.elapsed().as_millis(), 3_000);
    assert!(!drained.is_clean);
    assert_eq!(drained.dropped, 1);
    assert_eq!((rig.probe.started(), rig.probe.running()), (2, 0));

    assert!(client.line().await.starts_with(GOAWAY));
    let replies = client.read_to_end().await;
    let replies: Vec<Value> = replies
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (items, ends) = replies.split_at(replies.len() - 4);
    for (n, item) in items.iter().enumerate() {
        let wanted = json!({"id": 1, "code": 0, "more": true, "data": {"n": n}});
        assert_eq!(item, &wanted);
    }
    assert!(items.len() >= 29, "it goes on: {}", items.len());
    let mut ends: Vec<_> = ends
        .iter()
        .map(|end| {
            let said = end["message"].as_str().unwrap();
            assert!(said.contains("drain.timeout_ms"), "{said}");
            let is_rejected = end["rejected"].as_bool();
            (end["id"].as_u64(), end["code"].as_u64(), is_rejected)
        })
        .collect();
    ends.sort_unstable();
    let wanted = [
        (None, Some(14), None),
        (None, Some(14), Some(true)),
        (Some(1), Some(14), None),
        (Some(2), Some(14), None),
    ];
    assert_eq!(ends, wanted, "only what has not run is rejected");
}

#[tokio::test(start_paused = true)]
async fn idle_half_closed_and_mid_frame_peers_do_not_hold_it_up() {
    let rig = Rig::new();
    // A line's time that runs out while the connection lingers changes nothing.
    for frame_timeout_ms in [10_000, 800, 300] {
        let config =
            Config::default().with(|config| config.timeouts.frame_timeout_ms = frame_timeout_ms);
        let mut server = TestServer::with(config, rig.router()).await;
        let (_idle, mut spoken, mut half_closed) =
            (server.connect(), server.connect(), server.connect());
        let (mut first_line, mut later_line) = (server.connect(), server.connect());
        spoken.send("{\"id\":1,\"cmdid\":0}\n").await;
        half_closed
            .send(call(1, SLEEP, "\"params\":{\"ms\":100}"))
            .await;
        half_closed.half_close().await;
        first_line.send("{\"cmd").await;
        later_line.send("{\"cmdid\":0}\n{\"cmdid\":").await;
        settle().await;
        server.begin_to_drain();
        let start = Instant::now();
        let drained = server.drained().await;
        assert_eq!(
            (drained.is_clean, drained.connections, drained.dropped),
            (true, 5, 0)
        );
        assert!(
            start.elapsed() < Duration::from_millis(1_600),
            "{:?}",
            start.elapsed()
        );
        let refusals = first_line.read_to_end().await.lines().count();
        assert_eq!(
            refusals,
            usize::from(frame_timeout_ms == 300),
            "at {frame_timeout_ms} ms"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_credit_does_not_hold_up_a_peer_that_leaves() {
    use rpc_server::{Reply, Router};
    async fn forever() -> Reply {
        Reply::stream(futures::stream::repeat_with(|| Ok(1)))
    }
    let mut server = TestServer::start(Router::new().route(100, forever).unwrap()).await;
    let mut client = server.connect();
    client.send(call(1, 100, "\"credit\":1")).await;
    client
        .expect("{\"id\":1,\"code\":0,\"more\":true,\"data\":1}")
        .await;
    server.begin_to_drain();
    let start = Instant::now();
    assert!(client.line().await.starts_with(GOAWAY));
    // Credit still counts while it drains.
    client
        .send("{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}\n")
        .await;
    client
        .expect("{\"id\":1,\"code\":0,\"more\":true,\"data\":1}")
        .await;
    client.half_close().await;
    client.expect_code(1, 8).await;
    client.expect_end().await;
    drop(client);
    assert!(server.drained().await.is_clean);
    assert!(
        start.elapsed() < Duration::from_millis(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn detached_work_is_waited_for_though_its_caller_is_gone() {
    let rig = Rig::new();
    let mut server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(call(1, HOLD_DETACHED, "") + "{\"cmdid\":4,\"params\":{\"id\":1}}\n")
        .await;
    client.expect_code(1, 1).await;
    drop(client);
    settle().await;
    server.begin_to_drain();
    let start = Instant::now();
    let gate = rig.gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(9)).await;
        gate.let_pass(1);
    });
    assert!(server.drained().await.is_clean);
    assert_eq!((start.elapsed().as_secs(), rig.probe.finished()), (9, 1));
}

#[tokio::test(start_paused = true)]
async fn detached_work_that_hangs_is_not_waited_for_past_the_drain_timeout() {
    let rig = Rig::new();
    let merged = rpc_server::Router::new().merge(rig.router()).unwrap();
    let mut server = TestServer::start(merged).await;
    let mut client = server.connect();
    client
        .send(call(1, HOLD_DETACHED, "\"timeout_ms\":100"))
        .await;
    client.expect_code(1, 4).await;
    drop(client);
    settle().await;
    server.begin_to_drain();
    let start = Instant::now();
    let drained = server.drained().await;
    assert_eq!((drained.is_clean, start.elapsed().as_secs()), (false, 10));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_handed_over_while_it_drains_is_told_of_the_drain() {
    let rig = Rig::new();
    let mut server = TestServer::start(rig.router()).await;
    let mut busy = server.connect();
    busy.send(call(1, HOLD, "")).await;
    settle().await;
    server.begin_to_drain();
    settle().await;
    let mut late = server.connect();
    late.send(call(1, ECHO, "")).await;
    assert!(late.line().await.starts_with(GOAWAY));
    assert_eq!(late.expect_code(1, 14).await["rejected"], true);
    late.expect_end().await;
    rig.gate.let_pass(1);
    assert!(server.drained().await.is_clean);
}

#[tokio::test]
async fn the_listeners_refuse_as_soon_as_it_drains() {
    let rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let (mut server, address) = tcp_and_unix(&path, Config::default(), rig.router()).await;
    let mut client = connect(address).await;
    client
        .send(call(1, HOLD, "") + "{\"id\":2,\"cmdid\":0}\n")
        .await;
    client.expect("{\"id\":2,\"code\":0,\"data\":{}}").await;
    server.begin_to_drain();
    // Sent once the listeners are gone.
    assert!(client.line().await.starts_with(GOAWAY));
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(
        !path.exists(),
        "the socket's file is gone with its listener"
    );
    rig.gate.let_pass(1);
    client.expect("{\"id\":1,\"code\":0}").await;
    client.half_close().await;
    client.expect_end().await;
    drop(client);
    assert!(server.drained().await.is_clean);
}

#[tokio::test(start_paused = true)]
async fn a_resumable_stream_ends_behind_an_item_and_all_others_go_on() {
    async fn twenty_ticks() -> Reply {
        Reply::stream(every_100_ms().take(20))
    }
    let named = |method| Descriptor::new("test", method).kind(Kind::Stream);
    let resumable = named("follow").resumable([Resume::new("n", "after")]);
    let router = Router::new()
        .route(100, Route::new(twenty_ticks).describe(resumable))
        .and_then(|router| router.route(101, Route::new(twenty_ticks).describe(named("once"))))
        .unwrap();
    let mut server = TestServer::start(router).await;
    let mut client = server.connect();
    client.send(call(1, 100, "") + &call(2, 101, "")).await;
    for id in [1, 2] {
        let item = json!({"id": id, "code": 0, "more": true, "data": {"n": 0}});
        assert_eq!(client.reply().await, item);
    }

    server.begin_to_drain();
    assert_eq!(client.reply().await["event"], "goaway");
    let end = client.expect_code(1, 14).await;
    assert!(end["message"].as_str().unwrap().contains("cursor"), "{end}");
    assert_eq!(end.get("rejected"), None, "it has run");
    for n in 1..20 {
        let item = json!({"id": 2, "code": 0, "more": true, "data": {"n": n}});
        assert_eq!(client.reply().await, item);
    }
    client.expect("{\"id\":2,\"code\":0}").await;
    client.expect_end().await;
    assert!(server.drained().await.is_clean);
}

#[tokio::test(start_paused = true)]
async fn a_resumable_stream_of_a_peer_that_has_ended_its_side_ends_as_the_drain_begins() {
    let quiet = async || Reply::stream(stream::pending::<Result<(), Status>>());
    let named = Descriptor::new("test", "follow").kind(Kind::Stream);
    let named = named.resumable([Resume::new("n", "after")]);
    let router = Router::new().route(100, Route::new(quiet).describe(named));
    let mut server = TestServer::start(router.unwrap()).await;
    let mut client = server.connect();
    client.send(call(1, 100, "")).await;
    client.half_close().await;
    settle().await;

    let begun = Instant::now();
    server.begin_to_drain();
    client.expect_code(1, 14).await;
    client.expect_end().await;
    assert!(server.drained().await.is_clean);
    assert!(begun.elapsed() < Duration::from_secs(1));
}
