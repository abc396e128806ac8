//! Counters of calls, waits and connections.

use std::time::Duration;

use rpc_server::{Config, Params, Status};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::rig::{ECHO, HOLD, Rig, SLEEP};
use crate::support::{Client, TestServer, call, settle};

/// Fails with the code that it is given.
const FAIL: u32 = 120;

async fn fail(Params(code): Params<u32>) -> Result<(), Status> {
    Err(Status::new(code, "as it was asked to"))
}

async fn start() -> (Rig, TestServer) {
    let rig = Rig::new();
    let server = TestServer::start(rig.router().route(FAIL, fail).unwrap()).await;
    (rig, server)
}

async fn stats<IO: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<IO>, params: &str) -> Value {
    let line = format!(r#"{{"id":9999,"cmdid":3,"params":{params}}}"#);
    client.ask(&line).await["data"].take()
}

fn command(stats: &Value, cmdid: impl Into<Value>) -> Value {
    let cmdid = cmdid.into();
    let all = stats["commands"].as_array().unwrap();
    all.iter()
        .find(|command| command["cmdid"] == cmdid)
        .unwrap_or(&Value::Null)
        .clone()
}

/// As a time of the histogram: exact to an eighth.
#[track_caller]
fn is_about(us: &Value, ms: u64) {
    let us = us.as_u64().unwrap();
    assert!(
        us.abs_diff(ms * 1_000) * 8 <= ms * 1_000,
        "{us} µs instead of {ms} ms"
    );
}

#[tokio::test(start_paused = true)]
async fn each_command_counts_its_calls_by_code_and_their_time() {
    let (_rig, server) = start().await;
    let mut client = server.connect();
    for n in 0..98 {
        client.send(call(n, SLEEP, r#""params":{"ms":10}"#)).await;
        client.expect_code(n, 0).await;
    }
    for n in 0..2 {
        client.send(call(n, SLEEP, r#""params":{"ms":700}"#)).await;
        client.expect_code(n, 0).await;
    }
    // Of one read, and of two kinds in turn.
    let mixed: String = (0..10)
        .map(|n| {
            call(
                n,
                FAIL,
                if n % 2 == 0 {
                    "\"params\":5"
                } else {
                    "\"params\":1042"
                },
            )
        })
        .collect();
    client.send(mixed).await;
    for n in 0..10 {
        client
            .expect_code(n, if n % 2 == 0 { 5 } else { 1042 })
            .await;
    }
    let stats = stats(&mut client, "{}").await;
    let slept = command(&stats, SLEEP);
    assert_eq!(
        (&slept["method"], &slept["calls"]),
        (&json!("sleep"), &json!({ "OK": 100 }))
    );
    assert_eq!(slept["latency"]["count"], 100);
    is_about(&slept["latency"]["p50_us"], 10);
    is_about(&slept["latency"]["p99_us"], 700);
    is_about(&slept["latency"]["p999_us"], 700);
    is_about(&slept["latency"]["sum_us"], 98 * 10 + 2 * 700);
    assert_eq!(
        command(&stats, FAIL)["calls"],
        json!({ "NOT_FOUND": 5, "OF_SERVICES": 5 })
    );
    assert_eq!(command(&stats, FAIL)["latency"]["count"], 10);
    assert_eq!(command(&stats, FAIL)["params_bytes"], 5 + 5 * 4);
    // A call counts once it has ended, and this one had not.
    assert_eq!(command(&stats, 3), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_too_late_to_run_are_counted_as_their_command() {
    let (_rig, server) = start().await;
    let mut client = server.connect();
    let late = r#""timeout_ms":0,"params":3"#;
    client
        .send(
            call(1, ECHO, late)
                + &format!("{{\"cmdid\":{ECHO},{late}}}\n")
                + &call(2, 77_777, late),
        )
        .await;
    client.expect_code(1, 4).await;
    client.expect_code(None, 4).await;
    client.expect_code(2, 4).await;
    let stats = stats(&mut client, "{}").await;
    let echo = command(&stats, ECHO);
    assert_eq!(
        (&echo["calls"], &echo["in_flight"]),
        (&json!({ "DEADLINE_EXCEEDED": 2 }), &json!(0))
    );
    assert_eq!(
        command(&stats, Value::Null)["calls"],
        json!({ "DEADLINE_EXCEEDED": 1 })
    );
}

#[tokio::test(start_paused = true)]
async fn peers_cannot_make_labels() {
    let (_rig, server) = start().await;
    let mut client = server.connect();
    for n in 0..500 {
        client
            .send(call(n, 200 + u32::try_from(n).unwrap(), ""))
            .await;
        client.expect_code(n, 12).await;
    }
    client.send(call(1, 77, "")).await;
    client.expect_code(1, 12).await;
    client.send(call(2, ECHO, "\"params\":3")).await;
    client.expect_code(2, 0).await;
    let stats = stats(&mut client, "{}").await;
    assert_eq!(
        command(&stats, Value::Null)["calls"],
        json!({ "UNIMPLEMENTED": 501 })
    );
    assert_eq!(command(&stats, Value::Null)["service"], "other");
    assert_eq!(stats["commands"].as_array().unwrap().len(), 2, "{stats}");
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_told_by_command_until_they_end_however_they_do() {
    let (rig, server) = start().await;
    let mut watcher = server.connect();
    let (near, far) = tokio::io::duplex(1024);
    let connection = tokio::spawn(server.handle.serve_connection(far, "pipe"));
    let mut client = Client::new(near);
    client
        .send(call(1, HOLD, "") + &call(2, HOLD, "") + &call(3, HOLD, ""))
        .await;
    settle().await;
    assert_eq!(
        command(&stats(&mut watcher, "{}").await, HOLD)["in_flight"],
        3
    );
    client
        .send("{\"cmdid\":4,\"oneway\":true,\"params\":{\"id\":1}}\n")
        .await;
    client.expect_code(1, 1).await;
    rig.gate.let_pass(1);
    client.expect_code(2, 0).await;
    let now = command(&stats(&mut watcher, "{}").await, HOLD);
    assert_eq!(
        (&now["in_flight"], &now["calls"]),
        (&json!(1), &json!({ "CANCELLED": 1, "OK": 1 }))
    );
    connection.abort();
    settle().await;
    assert_eq!(
        command(&stats(&mut watcher, "{}").await, HOLD)["in_flight"],
        0
    );
    assert_eq!(server.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_and_for_room_is_told() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let server = TestServer::with(config, rig.router()).await;
    let mut watcher = server.connect();
    let mut client = server.connect();
    let ordered = format!("{{\"cmdid\":{HOLD}}}\n");
    client.send(ordered.repeat(3)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.gate.let_pass(3);
    for _ in 0..3 {
        client.expect_code(None, 0).await;
    }
    let waits = stats(&mut watcher, "{}").await["waits"].take();
    assert_eq!(
        (&waits["in_order"]["count"], &waits["for_room"]["count"]),
        (&json!(1), &json!(1))
    );
    is_about(&waits["in_order"]["p50_us"], 300);
    is_about(&waits["for_room"]["p50_us"], 300);
}

#[tokio::test(start_paused = true)]
async fn the_busiest_connections_are_listed_for_who_asks() {
    let (rig, server) = start().await;
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for _ in 0..n {
            client.send(call(1, ECHO, "")).await;
            client.expect_code(1, 0).await;
        }
    }
    clients[4].send(call(7, HOLD, "")).await;
    settle().await;
    let mut watcher = server.connect();
    assert_eq!(stats(&mut watcher, "{}").await["connections"], json!([]));
    let listed = stats(&mut watcher, "{\"connections\":2}").await["connections"].take();
    let requests: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["requests"].as_u64().unwrap())
        .collect();
    assert_eq!(requests, [5, 3]);
    let busiest = &listed[0];
    assert_eq!(
        (&busiest["peer"], &busiest["in_flight"]),
        (&json!("pipe"), &json!(1))
    );
    assert!(
        busiest["bytes_in"].as_u64() > Some(50) && busiest["bytes_out"].as_u64() > Some(50),
        "{busiest}"
    );
    rig.gate.let_pass(1);
    drop(clients);
    settle().await;
    let listed = stats(&mut watcher, "{\"connections\":100000}").await["connections"].take();
    assert_eq!(
        listed.as_array().unwrap().len(),
        1,
        "only the one that asks: {listed}"
    );
}
