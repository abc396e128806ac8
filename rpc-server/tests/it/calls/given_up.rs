//! Calls that are cancelled, or whose peer is lost.

use std::time::Duration;

use rpc_server::{Context, Route, Router, State};
use tokio::sync::mpsc;

use crate::rig::{ECHO, HOLD, HOLD_DETACHED, HOLD_SPAWNED, Rig, SLEEP};
use crate::support::{TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn cancel_drops_the_handler_and_the_code_is_1() {
    for cmdid in [HOLD, HOLD_SPAWNED] {
        let rig = Rig::new();
        let server = TestServer::start(rig.router()).await;
        let mut client = server.connect();
        client.send(call(7, cmdid, "")).await;
        settle().await;
        assert_eq!(rig.probe.running(), 1);
        // The second one names a call that is over.
        client
            .send("{\"cmdid\":4,\"params\":{\"id\":7}}\n{\"cmdid\":4,\"params\":{\"id\":7}}\n")
            .await;
        client.expect_code(7, 1).await;
        settle().await;
        assert_eq!(
            (rig.probe.running(), rig.probe.finished()),
            (0, 0),
            "{cmdid}"
        );
        rig.gate.let_pass(1);
        client.expect_silence_for(Duration::from_secs(60)).await;
        assert_eq!(server.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_is_free_as_soon_as_its_call_is_cancelled() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    let cancel = "{\"cmdid\":4,\"params\":{\"id\":1}}\n";
    client
        .send(format!("{}{cancel}", call(1, HOLD, "")).repeat(1_000))
        .await;
    client.send(call(1, ECHO, "\"params\":2")).await;
    for _ in 0..1_000 {
        client.expect_code(1, 1).await;
    }
    client.expect("{\"id\":1,\"code\":0,\"data\":2}").await;
    assert_eq!((rig.probe.started(), rig.probe.running()), (1_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_runs_on_after_a_cancel_a_timeout_and_a_lost_peer() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client.send(call(1, HOLD_DETACHED, "")).await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    client.expect_code(1, 1).await;
    client
        .send(call(2, HOLD_DETACHED, "\"timeout_ms\":100"))
        .await;
    client.expect_code(2, 4).await;
    client
        .send(format!(
            "{}{}",
            call(3, HOLD_DETACHED, ""),
            call(4, SLEEP, "\"params\":{\"ms\":1}")
        ))
        .await;
    drop(client);
    settle().await;
    settle().await;
    assert_eq!(
        server.stats().connections_open,
        0,
        "the write of call 4 has shown that the peer is gone"
    );
    assert_eq!((rig.probe.running(), rig.probe.finished()), (3, 1));
    rig.gate.let_pass(3);
    settle().await;
    assert_eq!((rig.probe.running(), rig.probe.finished()), (0, 4));
}

/// Reports the moment in which its caller is gone.
async fn report(State(news): State<mpsc::UnboundedSender<u64>>, context: Context) {
    let id = context.id().unwrap();
    let cancellation = context.cancellation().clone();
    assert!(!cancellation.is_cancelled());
    cancellation.cancelled().await;
    assert!(cancellation.is_cancelled());
    news.send(id).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_learns_that_its_caller_has_gone() {
    let (sender, mut news) = mpsc::unbounded_channel();
    let router = Router::with_state(sender)
        .route(100, Route::new(report).detached())
        .unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    client.send(call(1, 100, "")).await;
    settle().await;
    assert!(news.try_recv().is_err());
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    assert_eq!(news.recv().await, Some(1));
    client.expect_code(1, 1).await;

    client.send(call(2, 100, "\"timeout_ms\":100")).await;
    assert_eq!(news.recv().await, Some(2));
    client.expect_code(2, 4).await;

    client
        .send(format!(
            "{}{}",
            call(3, 100, ""),
            call(4, 100, "\"timeout_ms\":100")
        ))
        .await;
    drop(client);
    let mut last = [news.recv().await, news.recv().await];
    last.sort_unstable();
    assert_eq!(last, [Some(3), Some(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_peer_cancels_its_inline_and_spawned_handlers() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(call(1, HOLD, "") + &call(2, HOLD_SPAWNED, "") + &call(3, HOLD, "\"oneway\":true"))
        .await;
    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n{{\"cmdid\":{HOLD}}}\n"))
        .await;
    client
        .send(call(5, SLEEP, "\"params\":{\"ms\":1000}"))
        .await;
    settle().await;
    assert_eq!(rig.probe.running(), 5, "the second ordered call waits");
    drop(client);
    settle().await;
    // From here on it may just have ended its side.
    assert_eq!(rig.probe.running(), 5);
    // The reply that cannot be written shows that the peer is gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(
        (
            rig.probe.started(),
            rig.probe.running(),
            rig.probe.finished()
        ),
        (5, 0, 1)
    );
    let stats = server.stats();
    assert_eq!((stats.connections_open, stats.in_flight), (0, 0));
}
