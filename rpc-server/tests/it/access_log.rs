//! The access log: one line a call, and nothing in it that is the callers' own.

use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_core::Descriptor;
use rpc_server::{Config, Grants, Params, Reply, Route, Router, Server, Status, Tokens};
use serde_json::{Value, json};

use crate::logged::Logged;
use crate::rig::{ECHO, HOLD, Rig, SLEEP};
use crate::support::{Client, TestServer, call, settle};

const SHOP: u32 = 200;
const THREE: u32 = 201;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TOKEN: &str = "orders-w8JvT3mQx0bKc5RzYh2LpN7d";

/// Buys for a number of milliseconds, and is out of everything that takes no time.
async fn buy(Params(ms): Params<u64>) -> Result<&'static str, Status> {
    if ms == 0 {
        return Err(Status::not_found("the secret is not for sale"));
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok("the secret")
}

async fn three() -> Reply {
    Reply::stream(stream::iter([1, 2, 3]).then(|n| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(n)
    }))
}

fn router(rig: &Rig) -> Router<Rig> {
    let buy = Route::new(buy).describe(Descriptor::new("shop", "buy"));
    rig.router()
        .route(SHOP, buy)
        .unwrap()
        .route(THREE, three)
        .unwrap()
}

fn config(per_million: u32) -> Config {
    Config::default().with(|config| config.access_log.per_million = per_million)
}

/// What the access log has, without what is the same in each line or not to be known.
fn calls(logged: &Logged) -> Vec<Value> {
    let text = logged.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut calls: Vec<_> = lines
        .filter(|line| line["target"] == "rpc_server::access")
        .collect();
    for call in &mut calls {
        let fields = call.as_object_mut().unwrap();
        assert!(fields.remove("timestamp").unwrap().is_string());
        assert!(fields.remove("connection").unwrap().is_u64());
        assert!(fields.remove("connection_requests").unwrap().as_u64() >= Some(1));
        assert_eq!(fields.remove("level").unwrap(), "INFO");
        assert_eq!(fields.remove("message").unwrap(), "call");
        fields.remove("target");
    }
    calls
}

/// Command, id and code of each.
fn ends(logged: &Logged) -> Vec<(u64, Option<u64>, u64)> {
    let end = |call: Value| {
        (
            call["cmdid"].as_u64().unwrap(),
            call["id"].as_u64(),
            call["code"].as_u64().unwrap(),
        )
    };
    calls(logged).into_iter().map(end).collect()
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_call_tells_how_many_requests_its_connection_has_carried() {
    let logged = Logged::begin_json();
    let server = TestServer::with(config(1_000_000), router(&Rig::new())).await;

    for calls in [3, 1] {
        let mut client = server.connect();
        for id in 1..=calls {
            client.send(call(id, SHOP, "\"params\":5")).await;
            client.expect_code(id, 0).await;
        }
    }
    settle().await;

    let text = logged.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let calls = lines.filter(|line| line["target"] == "rpc_server::access");
    let requests: Vec<_> = calls
        .map(|call| call["connection_requests"].as_u64())
        .collect();
    assert_eq!(requests, [Some(1), Some(2), Some(3), Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn each_call_is_one_line_of_json_with_its_command_its_end_and_its_trace() {
    let logged = Logged::begin_json();
    let server = TestServer::with(config(1_000_000), router(&Rig::new())).await;
    let mut client = server.connect();
    let meta =
        format!("\"meta\":{{\"traceparent\":\"00-{TRACE}-00f067aa0ba902b7-01\"}},\"params\":5");
    client.send(call(7, SHOP, &meta)).await;
    client.expect_code(7, 0).await;
    // A usual line, in the order; a trace that cannot be read; an end that is not a good one.
    client
        .ask(&format!("{{\"cmdid\":{ECHO},\"params\":[1,2]}}"))
        .await;
    client
        .send(call(
            8,
            SHOP,
            "\"meta\":{\"traceparent\":\"nonsense\"},\"params\":0",
        ))
        .await;
    client.expect_code(8, 5).await;
    client
        .send(format!(
            "{{\"cmdid\":{SHOP},\"oneway\":true,\"params\":1}}\n"
        ))
        .await;
    client.ask("{\"id\":9,\"cmdid\":0}").await;
    client.send(call(10, 77_777, "")).await;
    client.expect_code(10, 12).await;
    settle().await;
    client.send(call(11, THREE, "")).await;
    for _ in 0..4 {
        client.reply().await;
    }

    let shop = json!({"peer":"pipe","cmdid":SHOP,"service":"shop","method":"buy","code":0,
        "latency_us":0,"data_bytes":0,"oneway":false});
    let with = |base: &Value, fields: Value| {
        let mut all = base.clone();
        all.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        all
    };
    let came = calls(&logged);
    assert_eq!(came.len(), 7, "{came:#?}");
    assert_eq!(
        came[0],
        with(
            &shop,
            json!({"id":7,"latency_us":5_000,"data_bytes":12,"trace":TRACE})
        )
    );
    assert_eq!(
        came[1],
        with(
            &shop,
            json!({"cmdid":ECHO,"service":"rig","method":"echo","data_bytes":5})
        )
    );
    assert_eq!(came[2], with(&shop, json!({"id":8,"code":5})));
    assert_eq!(
        came[3],
        with(
            &shop,
            json!({"id":9,"cmdid":0,"service":"rpc","method":"ping","data_bytes":2})
        )
    );
    let unknown = json!({"peer":"pipe","id":10,"cmdid":77_777,"code":12,"latency_us":0,"data_bytes":0,"oneway":false});
    assert_eq!(came[4], unknown);
    assert_eq!(
        came[5],
        with(&shop, json!({"latency_us":1_000,"oneway":true}))
    );
    let stream =
        json!({"id":11,"cmdid":THREE,"service":"access_log","method":"three","latency_us":30_000});
    assert_eq!(came[6], with(&shop, stream));
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_shed_refused_or_too_late_has_its_line_too() {
    let logged = Logged::begin_json();
    let grants = Grants::new().grant("*", ["100-103"]).unwrap();
    let config = config(1_000_000).with(|config| config.admission.in_flight_max = 1);
    let server = Server::builder()
        .config(config)
        .grants(grants)
        .router(router(&Rig::new()));
    let mut server = TestServer::of(server.bind().await.unwrap());
    let mut client = server.connect();
    client
        .send(call(1, HOLD, "") + &call(2, ECHO, "") + &call(3, SHOP, "\"params\":1"))
        .await;
    client
        .send(format!("{{\"cmdid\":{ECHO},\"id\":9,\"oneway\":true}}\n"))
        .await;
    client.expect_code(2, 8).await;
    client.expect_code(3, 7).await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    client.expect_code(1, 1).await;
    client.send(call(4, ECHO, "\"timeout_ms\":0")).await;
    client.expect_code(4, 4).await;
    let mut twice = server.connect();
    twice.send(call(6, HOLD, "") + &call(6, HOLD, "")).await;
    twice.expect_code(None, 3).await;
    server.begin_to_drain();
    settle().await;
    client.send(call(5, ECHO, "")).await;
    assert!(client.line().await.contains("goaway"));
    client.expect_code(5, 14).await;
    let came = ends(&logged);
    let expected = [
        (ECHO, Some(2), 8),
        (SHOP, Some(3), 7),
        (ECHO, None, 8),
        (HOLD, Some(1), 1),
        (ECHO, Some(4), 4),
        (HOLD, Some(6), 3),
        (ECHO, Some(5), 14),
    ];
    assert_eq!(
        came,
        expected.map(|(cmdid, id, code)| (cmdid.into(), id, code))
    );
    assert!(
        calls(&logged)
            .iter()
            .all(|call| call["service"].is_string()),
        "{:#?}",
        calls(&logged)
    );
}

#[tokio::test(start_paused = true)]
async fn failures_are_logged_whatever_the_sample_unless_they_shall_not_be() {
    for always in [true, false] {
        // A millionth of some calls is not a single one, by this seed.
        fastrand::seed(1);
        let logged = Logged::begin_json();
        let config = config(1).with(|config| config.access_log.failures = always);
        let server = TestServer::with(config, router(&Rig::new())).await;
        let mut client = server.connect();
        for id in 0..50 {
            client
                .send(call(id, SHOP, "\"params\":0") + &call(100 + id, ECHO, ""))
                .await;
            client.expect_code(id, 5).await;
            client.expect_code(100 + id, 0).await;
        }
        let expected: Vec<_> = (0..50).map(|id| (u64::from(SHOP), Some(id), 5)).collect();
        assert_eq!(ends(&logged), if always { expected } else { Vec::new() });
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_sample_the_log_is_silent_about_failures_too() {
    let logged = Logged::begin_json();
    let server = TestServer::with(Config::default(), router(&Rig::new())).await;
    let mut client = server.connect();
    client
        .send(call(1, SHOP, "\"params\":0") + &call(2, ECHO, "") + &call(3, 77_777, ""))
        .await;
    for (id, code) in [(1, 5), (2, 0), (3, 12)] {
        client.expect_code(id, code).await;
    }
    assert_eq!(calls(&logged), [] as [Value; 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_params_data_messages_or_tokens_is_logged_and_names_of_peers_stay_on_their_line()
{
    let logged = Logged::begin();
    let tokens = Tokens::parse(&format!("orders {}\n", Tokens::hash(TOKEN).unwrap())).unwrap();
    let server = Server::builder()
        .config(config(1_000_000))
        .tokens(tokens)
        .router(router(&Rig::new()));
    let server = TestServer::of(server.bind().await.unwrap());
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(
        server
            .handle
            .serve_connection(far, "evil\n\u{1b}[31mINFO call code=0"),
    );
    let mut client = Client::new(near);
    let wrong = TOKEN.replace('w', "v");
    for token in [wrong.as_str(), TOKEN] {
        client
            .ask(&json!({"id":1,"cmdid":6,"params":{"token":token}}).to_string())
            .await;
    }
    let lines = [
        call(2, ECHO, "\"params\":{\"password\":\"the secret\"}"),
        call(3, SHOP, "\"params\":0"),
        call(4, SHOP, "\"params\":\"the secret\""),
        call(
            5,
            SLEEP,
            "\"meta\":{\"key\":\"the secret\"},\"params\":{\"ms\":1}",
        ),
    ];
    for line in lines {
        client.ask(line.trim_end()).await;
    }
    let text = logged.text();
    let access: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("rpc_server::access:"))
        .collect();
    assert_eq!(access.len(), 6, "{text}");
    for (line, code) in access.iter().zip([16, 0, 0, 5, 3, 0]) {
        assert!(
            line.contains("peer=evil\\n\\u{1b}[31mINFO call code=0 connection="),
            "{line}"
        );
        assert!(
            line.contains(&format!(" code={code} latency_us=")),
            "{line}"
        );
    }
    assert!(access[2].contains("identity=orders"), "{text}");
    for secret in ["secret", "password", TOKEN, &wrong] {
        assert!(
            !access.iter().any(|line| line.contains(secret)),
            "{secret}: {text}"
        );
    }
}
