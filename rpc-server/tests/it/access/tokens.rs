//! Tokens: right, wrong, late and too many.

use std::io::Write;
use std::time::Duration;

use rpc_server::{Config, ListenOptions, Server, Tokens};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{BILLING, Guarded, ORDERS, READ, WHO, authenticate, both, quick, router, tokens};
use crate::logged::Logged;
use crate::sockets::pass;
use crate::support::{Client, Probe, TestServer, call};

const WRONG: &str = "a-token-that-is-wrong-0123456789";

#[tokio::test]
async fn calls_behind_a_right_token_in_the_same_write_are_served() {
    let guarded = Guarded::start(quick()).await;
    let mut client = guarded.connect().await;
    let token = json!({ "cmdid": 6, "params": { "token": BILLING } });
    client
        .send(format!(
            "{token}\n{}{{\"cmdid\":{WHO}}}\n",
            call(1, WHO, "")
        ))
        .await;
    client
        .expect(&format!(
            "{{\"code\":0,\"data\":{{\"identity\":\"billing\",\"instance\":\"{}\"}}}}",
            rpc_server::instance()
        ))
        .await;
    client
        .expect("{\"id\":1,\"code\":0,\"data\":\"billing\"}")
        .await;
    client.expect("{\"code\":0,\"data\":\"billing\"}").await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_answered_late_and_never_with_a_word_of_it() {
    let logged = Logged::begin();
    let server = TestServer::with(Config::default(), router(&Probe::default())).await;
    server.handle.set_tokens(Some(both()));
    let mut client = server.connect();
    let start = tokio::time::Instant::now();
    let reply = client.ask(&authenticate(WRONG)).await;
    assert_eq!(reply["code"], 16, "{reply}");
    assert!(!reply.to_string().contains(WRONG), "{reply}");
    assert_eq!(start.elapsed().as_millis(), 1_000);
    // Others of the connection do not wait for it.
    client.send(format!("{}\n", authenticate(WRONG))).await;
    client.send(call(1, WHO, "")).await;
    assert_eq!(client.reply().await["id"], 1);
    assert_eq!(client.reply().await["id"], 9);
    for wrong in [
        json!(WRONG),
        json!({ "token": 5 }),
        json!({ "tokens": WRONG }),
        Value::Null,
    ] {
        let reply = client
            .ask(&json!({ "id": 9, "cmdid": 6, "params": wrong }).to_string())
            .await;
        assert_eq!(reply["code"], 3, "{reply}");
        assert!(!reply.to_string().contains(WRONG), "{reply}");
    }
    assert_eq!(
        client.ask(&authenticate(ORDERS)).await["data"]["identity"],
        "orders"
    );
    let text = logged.text();
    assert!(!text.contains(WRONG) && !text.contains(ORDERS), "{text}");
    assert!(
        text.contains("rpc_server::audit") && text.contains("wrong token"),
        "{text}"
    );
    assert!(text.contains("identity=orders by=\"token\""), "{text}");
}

#[tokio::test]
async fn too_many_wrong_tokens_from_one_address_are_not_looked_at_any_more() {
    let guarded =
        Guarded::start(quick().with(|config| config.token_failures.per_address = 3)).await;
    let mut early = guarded.connect().await;
    assert_eq!(early.ask(&authenticate(ORDERS)).await["code"], 0);
    for _ in 0..3 {
        let mut client = guarded.connect().await;
        assert_eq!(client.ask(&authenticate(WRONG)).await["code"], 16);
    }
    let mut client = guarded.connect().await;
    for token in [WRONG, ORDERS] {
        let reply = client.ask(&authenticate(token)).await;
        assert_eq!(
            (&reply["code"], &reply["rejected"]),
            (&json!(8), &json!(true)),
            "{reply}"
        );
        assert!(
            reply["message"]
                .as_str()
                .unwrap()
                .contains("`token_failures.per_address` (3)"),
            "{reply}"
        );
        assert!(reply["retry_after_ms"].as_u64().unwrap() > 0);
    }
    assert_eq!(
        early.ask("{\"id\":1,\"cmdid\":100}").await["data"],
        "orders",
        "those who are in stay in"
    );
    let stats = guarded.server.stats().access;
    assert_eq!((stats.token_failures, stats.token_failures_limited), (3, 2));
}

/// Lets time pass until this number of connections have not authenticated in theirs.
async fn time_out(guarded: &Guarded, connections: u64) {
    while guarded.server.stats().access.authentication_timeouts < connections {
        pass(Duration::from_secs(61)).await;
    }
}

#[tokio::test]
async fn a_connection_that_does_not_authenticate_in_time_is_refused_in_words_and_closed() {
    let logged = Logged::begin();
    let guarded =
        Guarded::start(quick().with(|config| config.accept.authentication_timeout_ms = 60_000))
            .await;
    let mut silent = guarded.connect().await;
    time_out(&guarded, 1).await;
    let reply = silent.reply().await;
    assert_eq!(reply["code"], 16);
    assert!(
        reply["message"]
            .as_str()
            .unwrap()
            .contains("`accept.authentication_timeout_ms` of 60000 ms"),
        "{reply}"
    );
    silent.expect_end().await;
    let mut known = guarded.connect().await;
    assert_eq!(known.ask(&authenticate(ORDERS)).await["code"], 0);
    let mut silent = guarded.connect().await;
    time_out(&guarded, 2).await;
    assert_eq!(silent.reply().await["code"], 16);
    assert_eq!(
        known.ask("{\"id\":1,\"cmdid\":100}").await["data"],
        "orders",
        "its time has passed, too"
    );
    assert_eq!(guarded.server.stats().access.authentication_timeouts, 2);
    logged
        .line_with("closed: not authenticated within `accept.authentication_timeout_ms`")
        .await;
}

#[tokio::test]
async fn a_token_in_an_array_does_not_authenticate() {
    let guarded = Guarded::start(quick()).await;
    let mut client = guarded.connect().await;

    // In the usual order of fields, and in another one.
    for line in [
        json!({ "id": 9, "cmdid": 6, "params": [ORDERS] }).to_string(),
        format!("{{\"cmdid\":6,\"id\":9,\"params\":[\"{ORDERS}\"],\"credit\":1}}"),
    ] {
        let reply = client.ask(&line).await;
        assert_eq!(
            (&reply["id"], &reply["code"]),
            (&json!(9), &json!(3)),
            "{reply}"
        );
        let message = reply["message"].as_str().unwrap();
        assert!(
            message.contains("must be an object") && !message.contains(ORDERS),
            "{message}"
        );
    }

    assert_eq!(client.ask(&call(1, READ, "")).await["code"], 16);
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
}

#[tokio::test]
async fn peers_of_a_unix_socket_are_held_back_but_never_locked_out_by_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let options =
        ListenOptions::new(format!("unix:{}", path.display())).require_authentication(true);
    let config = quick().with(|config| config.token_failures.per_address = 1);
    let server = Server::builder()
        .listen_with(options)
        .config(config)
        .tokens(both());
    let server = TestServer::of(
        server
            .router(router(&Probe::default()))
            .bind()
            .await
            .unwrap(),
    );
    let mut client = Client::new(UnixStream::connect(&path).await.unwrap());
    for _ in 0..3 {
        assert_eq!(client.ask(&authenticate(WRONG)).await["code"], 16);
    }
    assert_eq!(client.ask(&authenticate(ORDERS)).await["code"], 0);
    assert_eq!(server.stats().access.token_failures, 3);
}

#[test]
fn a_file_of_tokens_that_everybody_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "orders {}", Tokens::hash(ORDERS).unwrap()).unwrap();
    assert_eq!(
        Tokens::load(file.path()).unwrap(),
        tokens(&[("orders", ORDERS)])
    );
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let message = Tokens::load(file.path()).unwrap_err().to_string();
    assert!(
        message.contains("other users may write it (mode 0666)"),
        "{message}"
    );
}
