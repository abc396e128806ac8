//! Limits of calls in flight.

use std::time::Duration;

use rpc_server::Config;

use crate::rig::{ECHO, HOLD, PANIC, Rig};
use crate::support::{Client, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_of_the_server_are_shed_whichever_connection_they_come_on() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 3),
        rig.router(),
    )
    .await;
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    settle().await;
    // The third one is in flight, the fourth one is one too many, though they come in one piece.
    second.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    let shed = second.expect_code(2, 8).await;
    let message = shed["message"].as_str().unwrap();
    assert!(
        message.contains("3 calls in flight, the maximum (`admission.in_flight_max`)"),
        "{message}"
    );
    assert_eq!(shed["rejected"], true);
    assert!(
        (100..=300).contains(&shed["retry_after_ms"].as_u64().unwrap()),
        "{shed}"
    );
    // Without an id as well, even where it would be done at once; and without a word where none is wanted.
    assert_eq!(
        second.ask(&format!("{{\"cmdid\":{ECHO}}}")).await["code"],
        8
    );
    second.send(call(3, ECHO, "\"oneway\":true")).await;
    // Built-in commands are for those who want to know what is going on.
    let stats = second.ask("{\"id\":9,\"cmdid\":3}").await;
    assert_eq!(
        stats["data"]["server"]["limits"]["calls_shed"], 3,
        "{stats}"
    );
    assert_eq!((server.stats().in_flight, rig.probe.started()), (3, 3));
    rig.gate.let_pass(1);
    first.expect("{\"id\":1,\"code\":0}").await;
    second.send(call(4, ECHO, "")).await;
    second.expect("{\"id\":4,\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn ordered_calls_that_wait_count_for_the_server_and_what_is_shed_keeps_its_place() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 2),
        rig.router(),
    )
    .await;
    let mut client = server.connect();
    let hold = format!("{{\"cmdid\":{HOLD}}}\n");
    client.send(hold.repeat(3)).await;
    settle().await;
    // One runs, one waits for its turn, and the line for the third one waits behind them.
    assert_eq!(
        (rig.probe.started(), server.stats().limits.calls_shed),
        (1, 1)
    );
    rig.gate.let_pass(2);
    for code in [0, 0, 8] {
        client.expect_code(None, code).await;
    }
    assert_eq!((server.stats().in_flight, rig.probe.started()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_call_gives_its_place_among_all_back() {
    async fn stream() -> rpc_server::Reply {
        rpc_server::Reply::stream(futures::stream::pending::<Result<u64, rpc_server::Status>>())
    }
    let rig = Rig::new();
    let router = rig.router().route(200, stream).unwrap();
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 1),
        router,
    )
    .await;
    let mut other = server.connect();
    for (line, ending) in [
        (call(1, HOLD, ""), call(9, 4, "\"params\":{\"id\":1}")),
        (call(1, 200, ""), call(9, 4, "\"params\":{\"id\":1}")),
        (call(1, HOLD, "\"timeout_ms\":50"), String::new()),
        (
            call(1, PANIC, "\"params\":{\"at\":\"later\"}"),
            "gate".into(),
        ),
        (call(1, HOLD, ""), "cut".into()),
        (format!("{{\"cmdid\":{HOLD}}}\n").repeat(2), "cut".into()),
    ] {
        let (near, far) = tokio::io::duplex(1024);
        let connection = tokio::spawn(server.handle.serve_connection(far, "pipe"));
        let mut client = Client::new(near);
        client.send(&line).await;
        settle().await;
        assert_eq!(
            other.ask(&format!("{{\"id\":1,\"cmdid\":{ECHO}}}")).await["code"],
            8,
            "while {line}"
        );
        match ending.as_str() {
            "gate" => rig.gate.let_pass(1),
            "cut" => connection.abort(),
            cancel => client.send(cancel).await,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.stats().in_flight, 0, "after {line}");
        assert_eq!(
            other.ask(&format!("{{\"id\":1,\"cmdid\":{ECHO}}}")).await["code"],
            0,
            "after {line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_its_limit_still_answers_pings_and_takes_cancels() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    client.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    settle().await;
    client.send("\n{\"id\":3,\"cmdid\":0,\"params\":1}\n").await;
    client.expect("{\"id\":3,\"code\":0,\"data\":1}").await;
    client.send("{\"cmdid\":0,\"params\":2}\n").await;
    client.expect("{\"code\":0,\"data\":2}").await;
    client
        .send(call(4, 4, "\"params\":{\"id\":1}") + &call(5, ECHO, ""))
        .await;
    client.expect_code(1, 1).await;
    client.expect("{\"id\":5,\"code\":0,\"data\":{}}").await;
    // A ping in the order waits for its turn, and so for a place.
    client
        .send(format!(
            "{{\"cmdid\":{HOLD}}}\n{{\"cmdid\":0,\"params\":3}}\n"
        ))
        .await;
    client.expect_silence_for(Duration::from_secs(1)).await;
    // Once now, and once for the call behind the cancel, which frees its place a moment later.
    assert_eq!(server.stats().limits.in_flight_pauses, 2);
    rig.gate.let_pass(2);
    let mut rest = [
        client.line().await,
        client.line().await,
        client.line().await,
    ];
    rest.sort();
    assert_eq!(
        rest,
        [
            "{\"code\":0,\"data\":3}\n",
            "{\"code\":0}\n",
            "{\"id\":2,\"code\":0}\n"
        ]
    );
}
