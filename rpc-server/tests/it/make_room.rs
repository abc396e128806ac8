//! Connections that rest make room for others at `limits.connections_max`, where the settings say so.

use std::net::SocketAddr;
use std::time::Duration;

use rpc_server::Config;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::rig::{ECHO, HOLD, Rig};
use crate::sockets::{connect, pass, tcp, until};
use crate::support::{Client, TestServer, call};

async fn server(connections_max: usize, rig: &Rig) -> (TestServer, SocketAddr) {
    server_with(connections_max, rig, |_| {}).await
}

async fn server_with(
    connections_max: usize,
    rig: &Rig,
    change: impl FnOnce(&mut Config),
) -> (TestServer, SocketAddr) {
    let config = Config::default().with(|config| {
        config.limits.connections_max = connections_max;
        config.limits.make_room_after_ms = 60_000;
        change(config);
    });
    tcp(config, rig.router()).await
}

/// Lets all connections rest for long enough to make room.
async fn rest() {
    pass(Duration::from_millis(60_001)).await;
}

/// The notice of a connection that is asked to make room.
async fn expect_to_be_asked(client: &mut Client<TcpStream>) {
    let notice: Value = serde_json::from_str(&client.line().await).unwrap();
    assert_eq!(notice["event"], "goaway");
    let message = notice["message"].as_str().unwrap();
    assert!(message.contains("idle longest"), "{message}");
}

#[tokio::test]
async fn at_the_limit_those_that_have_rested_longest_make_room_and_no_others() {
    let rig = Rig::new();
    let (server, address) = server(20, &rig).await;

    let mut resting = Vec::new();
    for _ in 0..16 {
        let mut client = connect(address).await;
        client.send("{\"id\":1,\"cmdid\":0,\"params\":1}\n").await;
        client.expect_code(1, 0).await;
        resting.push(client);
    }
    let (mut without_ids, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let mut client = connect(address).await;
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        without_ids.push(client);

        let mut client = connect(address).await;
        client.send(call(7, HOLD, "")).await;
        busy.push(client);
    }
    until(|| rig.probe.running() == 2).await;
    rest().await;

    // The newcomers have no ids, so that none of them makes room for another one.
    let mut newcomers = Vec::new();
    for mut longest in resting {
        let mut newcomer = connect(address).await;
        assert_eq!(newcomer.ask("{\"cmdid\":0,\"params\":2}").await["data"], 2);
        newcomers.push(newcomer);

        expect_to_be_asked(&mut longest).await;
        drop(longest);
        until(|| server.stats().connections_open == 20).await;
    }

    // Where none rests any more, there is no room.
    let mut late = connect(address).await;
    late.expect_code(None, 8).await;

    for client in without_ids.iter_mut().chain(&mut newcomers) {
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":3}").await["data"], 3);
    }
    rig.gate.let_pass(2);
    for client in &mut busy {
        client.expect_code(7, 0).await;
    }
    let stats = server.stats();
    assert_eq!(
        (stats.connections_retired, stats.connections_refused),
        (16, 1)
    );
}

#[tokio::test]
async fn a_connection_that_is_asked_to_make_room_answers_what_still_comes() {
    let (_server, address) = server(1, &Rig::new()).await;
    let mut resting = connect(address).await;
    resting.send("{\"id\":1,\"cmdid\":0}\n").await;
    resting.expect_code(1, 0).await;
    rest().await;

    let mut newcomer = connect(address).await;
    assert_eq!(newcomer.ask("{\"cmdid\":0,\"params\":2}").await["data"], 2);

    expect_to_be_asked(&mut resting).await;
    resting.send(call(2, ECHO, "\"params\":3")).await;
    let reply = resting.expect_code(2, 0).await;
    assert_eq!(reply["data"], 3);

    // It has been asked already, and there may be no more than one connection over the limit.
    let mut another = connect(address).await;
    another.expect_code(None, 8).await;
}

#[tokio::test]
async fn no_connection_makes_room_for_a_newcomer_whose_address_has_too_many() {
    let change = |config: &mut Config| config.limits.connections_per_address = 2;
    let (server, address) = server_with(2, &Rig::new(), change).await;
    let mut resting = Vec::new();
    for _ in 0..2 {
        let mut client = connect(address).await;
        client.send("{\"id\":1,\"cmdid\":0}\n").await;
        client.expect_code(1, 0).await;
        resting.push(client);
    }
    rest().await;

    let mut newcomer = connect(address).await;
    newcomer.send(call(1, ECHO, "")).await;
    let refused = newcomer.expect_code(None, 8).await;
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("`limits.connections_per_address` of 2"),
        "{message}"
    );

    for client in &mut resting {
        client.send(call(2, ECHO, "\"params\":3")).await;
        assert_eq!(client.expect_code(2, 0).await["data"], 3);
    }
    assert_eq!(server.stats().connections_retired, 0);
}

/// A server of one connection, which has asked that one to make room for the other.
async fn asked(change: impl FnOnce(&mut Config)) -> (TestServer, Client<TcpStream>) {
    let (server, address) = server_with(1, &Rig::new(), change).await;
    let mut resting = connect(address).await;
    resting.send("{\"id\":1,\"cmdid\":0}\n").await;
    resting.expect_code(1, 0).await;
    rest().await;

    let mut newcomer = connect(address).await;
    assert_eq!(newcomer.ask("{\"cmdid\":0,\"params\":2}").await["data"], 2);
    (server, resting)
}

#[tokio::test]
async fn a_client_that_reads_late_that_it_was_asked_to_make_room_has_its_calls_answered() {
    let (server, mut resting) = asked(|config| {
        config.drain.goaway_grace_ms = 1_000;
        config.drain.timeout_ms = 600_000;
    })
    .await;
    until(|| server.stats().connections_retired == 1).await;
    pass(Duration::from_secs(100)).await;

    for id in 2..5 {
        resting.send(call(id, ECHO, "\"params\":3")).await;
        if id == 2 {
            expect_to_be_asked(&mut resting).await;
        }
        assert_eq!(resting.expect_code(id, 0).await["data"], 3);

        pass(Duration::from_secs(20)).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_go_when_it_is_asked_to_has_the_time_of_a_drain() {
    let (_server, mut resting) = asked(|config| {
        config.drain.goaway_grace_ms = 1_000;
        config.drain.timeout_ms = 600_000;
    })
    .await;

    expect_to_be_asked(&mut resting).await;
    pass(Duration::from_secs(300)).await;
    resting.send(call(2, ECHO, "")).await;
    resting.expect_code(2, 0).await;

    pass(Duration::from_secs(301)).await;
    resting.expect_end().await;
}
