//! Figures of the last minutes: failures, slow calls, and whether all is well.

use std::time::Duration;

use rpc_server::{AdminConfig, Config, Params, Server, Status};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::rig::{ECHO, Rig, SLEEP};
use crate::support::{Client, TestServer, call};

/// Fails with the code that it is given.
const FAIL: u32 = 120;

async fn fail(Params((code, _secret)): Params<(u32, String)>) -> Result<(), Status> {
    Err(Status::new(code, "a secret of the handler"))
}

async fn start() -> TestServer {
    let router = Rig::new().router().route(FAIL, fail).unwrap();
    let builder = Server::builder().config(Config::default()).router(router);
    let server = builder.admin(AdminConfig::default()).bind().await.unwrap();
    TestServer::of(server)
}

async fn stats<IO: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<IO>, params: &str) -> Value {
    let line = format!(r#"{{"id":9999,"cmdid":3,"params":{params}}}"#);
    client.ask(&line).await["data"].take()
}

/// Calls that go well, and after them calls that fail with code 13.
async fn call_and_fail<IO: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Client<IO>,
    good: u64,
    failing: u64,
) {
    for _ in 0..good {
        client.send(call(1, ECHO, "\"params\":\"a secret\"")).await;
        client.expect_code(1, 0).await;
    }
    for _ in 0..failing {
        client
            .send(call(1, FAIL, "\"params\":[13,\"a secret\"]"))
            .await;
        client.expect_code(1, 13).await;
    }
}

async fn page(server: &TestServer, accept: &str) -> String {
    let mut client = server.connect();
    client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
        ))
        .await;
    client.read_to_end().await
}

#[tokio::test(start_paused = true)]
async fn all_is_well_is_not_said_while_a_third_of_the_calls_fail_and_is_a_minute_after() {
    let server = start().await;
    let mut client = server.connect();
    call_and_fail(&mut client, 20, 0).await;
    let health = stats(&mut client, "{}").await["health"].take();
    assert_eq!(
        health,
        json!({ "is_ready": true, "severity": "good", "headline": "All is well.", "problems": [] })
    );

    call_and_fail(&mut client, 0, 10).await;
    // 20 calls, `stats` itself, and 10 failures: the last `stats` has not ended.
    let health = stats(&mut client, "{}").await["health"].take();
    let problem = health["problems"][0].as_str().unwrap();
    assert_eq!(
        (&health["is_ready"], &health["severity"]),
        (&json!(true), &json!("critical"))
    );
    assert!(
        problem.contains("% of the calls of the last minute failed (10 of 31)")
            && problem.contains("with code 13 INTERNAL"),
        "{problem}"
    );

    // No call came meanwhile.
    tokio::time::sleep(Duration::from_secs(80)).await;
    let health = stats(&mut client, "{}").await["health"].take();
    assert_eq!(health["headline"], "All is well.", "{health}");
}

#[tokio::test(start_paused = true)]
async fn failures_and_slow_calls_are_told_without_params_and_to_those_who_may_know_of_others() {
    let server = start().await;
    let mut client = server.connect();
    call_and_fail(&mut client, 5, 7).await;
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":1500}"))
        .await;
    client.expect_code(1, 0).await;

    let recent = stats(&mut client, "{\"connections\":50}").await["recent"].take();
    let failure = &recent["failures"][0];
    assert_eq!(
        (&failure["cmdid"], &failure["code"], &failure["times"]),
        (&json!(FAIL), &json!("INTERNAL"), &json!(7))
    );
    assert_eq!(failure["peer"], "pipe");
    assert!(failure["ago_ms"].as_u64() >= Some(1_500), "{failure}");

    let slow = &recent["slowest"][0];
    assert_eq!(
        (&slow["method"], &slow["code"]),
        (&json!("sleep"), &json!("OK"))
    );
    assert!(slow["took_us"].as_u64() >= Some(1_500_000), "{slow}");
    assert!(!recent.to_string().contains("secret"), "{recent}");

    // Peers are named to those that ask for connections, which grants may refuse.
    let recent = stats(&mut client, "{}").await["recent"].take();
    assert_eq!(
        (&recent["failures"], &recent["slowest"]),
        (&json!([]), &json!([]))
    );
}

#[tokio::test(start_paused = true)]
async fn percentiles_of_a_command_are_those_of_the_last_minutes() {
    let server = start().await;
    let mut client = server.connect();
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":3000}"))
        .await;
    client.expect_code(1, 0).await;

    let p99 = |stats: &Value, window: &str| {
        let all = stats["commands"].as_array().unwrap();
        let slept = all
            .iter()
            .find(|command| command["cmdid"] == SLEEP)
            .unwrap();
        slept[window]["latency"]["p99_us"].as_u64().unwrap()
    };
    let now = stats(&mut client, "{}").await;
    assert!(p99(&now, "minute") > 2_500_000 && p99(&now, "five_minutes") > 2_500_000);

    tokio::time::sleep(Duration::from_secs(80)).await;
    let now = stats(&mut client, "{}").await;
    assert_eq!(p99(&now, "minute"), 0);
    assert!(p99(&now, "five_minutes") > 2_500_000);
    let history = &now["recent"]["history"];
    assert_eq!(history["p99_us"].as_array().unwrap().len(), 8, "{history}");

    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(p99(&stats(&mut client, "{}").await, "five_minutes"), 0);
}

#[tokio::test(start_paused = true)]
async fn curl_is_shown_the_figures_as_text_and_a_browser_without_javascript_is_too() {
    let server = start().await;
    let mut client = server.connect();
    call_and_fail(&mut client, 20, 10).await;

    let text = page(&server, "*/*").await;
    assert!(text.contains("content-type: text/plain"), "{text}");
    let expected = [
        "Serving, but many calls fail:",
        "% of the calls of the last minute failed (10 of 30)",
        "last 5 minutes",
        "INTERNAL",
        "10 times",
        "admission.in_flight_max",
        "blocking work: 0 of 64 threads",
    ];
    for part in expected {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("secret") && !text.contains('<'), "{text}");

    let html = page(&server, "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert!(html.contains("content-type: text/html"), "{html}");
    let (_, figures) = html.split_once("<noscript>").unwrap();
    let (figures, _) = figures.split_once("</noscript>").unwrap();
    for part in expected {
        assert!(figures.contains(part), "{part} is not in\n{figures}");
    }
}
