//! Calls: their params, answers, failures and limits.

use std::time::Duration;

use rpc_server::{Config, Grants, Server, Tokens};
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::time::timeout;

use super::{ECHO, Http, ORDERS, Rig, post, response};
use crate::logged::Logged;
use crate::sockets::{pass, until};
use crate::support::call;

#[tokio::test]
async fn a_call_is_made_by_name_and_by_number_and_its_data_are_the_body() {
    let http = Http::start().await;
    let mut client = http.connect().await;
    for path in ["/test.echo", "/100", "/test.echo?a=b"] {
        // Of several lines, which are one line of the protocol.
        client
            .send(post(path, "", "{\"a\":\n [1,\r\n \"\\n\"]}\n"))
            .await;
        let reply = response(&mut client).await;
        assert_eq!((reply.status, reply.code()), (200, "0"), "{reply:?}");
        assert_eq!(reply.json(), json!({"a": [1, "\n"]}));
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("connection"), "");
    }

    let empty = http.ask(&post("/test.echo", "", "")).await;
    assert_eq!((empty.status, &*empty.body), (200, "{}"));
    let nothing = http.ask(&post("/test.nothing", "", "{}")).await;
    assert_eq!(
        (nothing.status, nothing.code(), &*nothing.body),
        (204, "0", "")
    );
    let built_in = http.ask(&post("/rpc.health", "", "{}")).await;
    assert_eq!(built_in.json()["status"], "serving");

    let stats = http.server.stats();
    assert_eq!((stats.requests, stats.bad_frames), (6, 0));
}

#[tokio::test]
async fn a_failure_has_its_code_a_status_and_what_the_protocol_says_of_it() {
    let http = Http::start().await;
    let failed = http.ask(&post("/test.fail", "", "{}")).await;
    assert_eq!((failed.status, failed.code()), (422, "1042"));
    let details = json!({"code": 1042, "message": "no such number", "details": {"number": 7}});
    assert_eq!(failed.json(), details);

    let unknown = http.ask(&post("/7777", "", "{}")).await;
    assert_eq!((unknown.status, unknown.code()), (501, "12"));
    let unknown = http.ask(&post("/test.unknown", "", "{}")).await;
    assert_eq!((unknown.status, unknown.code()), (404, "12"));
    let late = http
        .ask(&post("/test.hold", "Rpc-Timeout-Ms: 1\r\n", "{}"))
        .await;
    assert_eq!((late.status, late.code()), (504, "4"));

    for path in ["/4", "/5", "/6", "/rpc.authenticate"] {
        let control = http
            .ask(&post(path, "", "{\"id\":1,\"token\":\"x\"}"))
            .await;
        assert_eq!((control.status, control.code()), (404, "12"), "{path}");
    }
}

#[tokio::test]
async fn a_body_is_one_json_value_and_nothing_behind_it_reaches_the_protocol() {
    let http = Http::start().await;
    let line = call(1, ECHO, "");
    for body in [
        format!("{{}}}}\n{line}"),
        format!("{{}}\n{line}"),
        "{},\"oneway\":true".to_owned(),
        "{},\"cmdid\":101".to_owned(),
        "{\"a\":\"\n\"}".to_owned(),
        "{\"a\":".to_owned(),
        "a=b".to_owned(),
    ] {
        let refused = http.ask(&post("/test.echo", "", &body)).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "3"),
            "{body}: {refused:?}"
        );
    }
    // Neither does a second request that follows one that is refused.
    let mut client = http.connect().await;
    client
        .send(post("/test.echo", "", "{") + &post("/test.echo", "", "{}"))
        .await;
    assert_eq!(response(&mut client).await.status, 400);
    client.expect_end().await;
    assert_eq!(http.rig.probe.started(), 0);
}

#[tokio::test]
async fn fields_of_the_head_reach_the_handler_and_the_logs_and_cookies_do_not() {
    let config = Config::default().with(|config| config.access_log.per_million = 1_000_000);
    let logged = Logged::begin();
    let http = Http::with(config, |options| options).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = format!(
        "traceparent: {trace}\r\nIdempotency-Key: k-1\r\nRpc-Timeout-Ms: 2500\r\nCookie: a=b\r\n"
    );
    let told = http.ask(&post("/test.tell", &headers, "{}")).await.json();
    let meta = json!({"traceparent": trace, "idempotency-key": "k-1"});
    assert_eq!(
        told,
        json!({"identity": null, "meta": meta, "timeout_ms": 2500})
    );

    let text = logged.text();
    let line = text
        .lines()
        .find(|line| line.contains("rpc_server::access"))
        .unwrap();
    assert!(
        line.contains("cmdid=104") && line.contains("4bf92f3577b34da6a3ce929d0e0e4736"),
        "{line}"
    );
}

#[tokio::test]
async fn limits_are_those_of_the_service() {
    let config = Config::default().with(|config| {
        config.limits.frame_bytes_max = 10_000;
        config.admission.in_flight_max = 1;
        config.timeouts.frame_timeout_ms = 50;
    });
    let http = Http::with(config, |options| options).await;
    let long = format!("\"{}\"", "x".repeat(10_000));
    let refused = http.ask(&post("/test.echo", "", &long)).await;
    assert_eq!((refused.status, refused.code()), (413, "8"));
    // Of a length that is not told.
    let chunked = "POST /test.echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let refused = http.ask(&format!("{chunked}{}", chunk.repeat(4))).await;
    assert_eq!((refused.status, refused.code()), (413, "8"));

    let mut slow = http.connect().await;
    slow.send("POST /test.echo HTTP/1.1\r\nHost: local").await;
    slow.expect_end().await;
    assert_eq!(http.server.stats().limits.frame_timeouts, 1);
    let slow = http.ask(&format!("{chunked}1\r\n ")).await;
    assert_eq!((slow.status, slow.code()), (408, "4"));
    assert_eq!(http.server.stats().limits.frame_timeouts, 2);

    let mut holding = http.connect().await;
    holding.send(post("/test.hold", "", "{}")).await;
    until(|| http.rig.probe.running() == 1).await;
    let shed = http.ask(&post("/test.echo", "", "{}")).await;
    assert_eq!((shed.status, shed.code()), (429, "8"));
    assert_eq!(shed.json()["rejected"], true);
    assert_eq!(shed.header("retry-after"), "1");

    // A caller that goes away ends its call.
    drop(holding);
    until(|| http.rig.probe.running() == 0).await;
    assert_eq!(http.rig.probe.finished(), 0);
    until(|| http.server.stats().connections_open == 0).await;
}

#[tokio::test]
async fn a_request_is_the_same_however_it_is_cut() {
    let http = Http::start().await;
    let request = post("/test.echo", "", "{\"a\":1}");
    for cut in 1..request.len() {
        let mut client = http.connect().await;
        client.send(&request[..cut]).await;
        tokio::task::yield_now().await;
        client.send(&request[cut..]).await;
        let reply = response(&mut client).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (200, "{\"a\":1}"),
            "cut at {cut}"
        );
    }

    // Two that come together are answered one after the other.
    let mut client = http.connect().await;
    client.send(request.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(response(&mut client).await.body, "{\"a\":1}");
    }
    assert!(client.io.buffer().is_empty());
    let nothing = timeout(Duration::from_millis(1), client.io.fill_buf()).await;
    assert!(nothing.is_err(), "the connection stays open");
}

#[tokio::test]
async fn a_first_request_that_comes_after_the_age_of_its_connection_is_answered() {
    let config = Config::default().with(|config| config.drain.connection_age_max_ms = 10_000);
    let http = Http::with(config, |options| options).await;
    let mut client = http.connect().await;
    until(|| http.server.stats().connections_open == 1).await;

    pass(Duration::from_secs(12)).await;
    client.send(post("/test.echo", "", "{}")).await;
    assert_eq!(response(&mut client).await.status, 200);
}

#[tokio::test]
async fn the_document_of_openapi_has_what_its_reader_may_call() {
    let lines = format!("orders {}\n", Tokens::hash(ORDERS).unwrap());
    let builder = Server::builder()
        .tokens(Tokens::parse(&lines).unwrap())
        .grants(Grants::new().grant("orders", ["100"]).unwrap());
    let http = Http::of(builder, Rig::default(), |options| options).await;

    let get =
        |headers: &str| format!("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let paths = async |headers: &str| {
        let document = http.ask(&get(headers)).await;
        assert_eq!(document.header("content-type"), "application/json");
        let document = document.json();
        assert_eq!(document["openapi"], "3.1.0");
        document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let built_in = ["/rpc.describe", "/rpc.health", "/rpc.ping", "/rpc.stats"];
    assert_eq!(paths("").await, built_in);
    let token = format!("Authorization: Bearer {ORDERS}\r\n");
    assert!(paths(&token).await.contains(&"/test.echo".to_owned()));
    let evil = http.ask(&get("Origin: http://evil.example\r\n")).await;
    assert_eq!(evil.status, 403);
}
