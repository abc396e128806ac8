//! Tokens, shown on each new connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpc_client::{Client, Code, Config, Mode};
use rpc_server::{ListenOptions, Router, Server, Tokens};
use serde_json::Value;

use super::{TOKEN, ask, impatient, serve, who};
use crate::support::serving;

fn token_file(directory: &Path, token: &str) -> PathBuf {
    let file = directory.join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    file
}

#[tokio::test]
async fn a_client_with_a_token_authenticates_on_each_new_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (address, handle) =
        serve(ListenOptions::new("127.0.0.1:0").require_authentication(true)).await;
    let token_file = Some(token_file(directory.path(), TOKEN));
    let mut connections = 0;
    for (mode, ordered) in [
        (Mode::Single, false),
        (Mode::Single, true),
        (Mode::Pooled(2), false),
        (Mode::Short, false),
        (Mode::Short, true),
    ] {
        let config = impatient().with(|config| {
            config.pool.mode = mode;
            config.pool.ordered = ordered;
            config.pool.token_file = token_file.clone();
        });
        let client = Client::with_config(&*address, config);
        for _ in 0..2 {
            assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "orders");
        }
        connections += if mode == Mode::Short { 2 } else { 1 };
        assert_eq!(
            handle.stats().access.authentications,
            connections,
            "{mode:?}"
        );
    }
    let client = Client::builder(&*address)
        .config(impatient())
        .token(TOKEN)
        .build();
    assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "orders");
    assert!(!format!("{client:?}").contains(TOKEN));
    // A client without a token gets no further.
    let error = ask(&address, impatient()).await.unwrap_err();
    assert_eq!(error.code(), Code::UNAUTHENTICATED);
}

#[tokio::test]
async fn a_client_over_a_stream_of_its_users_own_is_authenticated_by_its_user() {
    let (_, handle) = serve(ListenOptions::new("127.0.0.1:0")).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(handle.serve_connection(far, "pipe"));
    let directory = tempfile::tempdir().unwrap();
    let token_file = Some(token_file(directory.path(), TOKEN));
    let client = Client::over(
        near,
        "pipe",
        impatient().with(|config| config.pool.token_file = token_file),
    );
    assert_eq!(
        client.call::<_, Value>(100, &()).await.unwrap(),
        Value::Null
    );
    let token = serde_json::json!({ "token": TOKEN });
    let shown: Value = client
        .call(rpc_client::CmdId::AUTHENTICATE, &token)
        .await
        .unwrap();
    assert_eq!(shown["identity"], "orders");
    assert_eq!(client.call::<_, Value>(100, &()).await.unwrap(), "orders");
}

#[tokio::test]
async fn a_server_without_tokens_is_called_without() {
    let (address, _) = serving(Router::new().route(100, who).unwrap()).await;
    let client = Client::builder(&*address)
        .config(impatient())
        .token(TOKEN)
        .build();
    assert_eq!(
        client.call::<_, Value>(100, &()).await.unwrap(),
        Value::Null
    );
}

/// With paused time, over pipes: how often the server is asked.
#[tokio::test(start_paused = true)]
async fn a_refused_token_fails_calls_at_once_and_the_server_is_not_stormed() {
    let server = Server::builder().router(Router::new().route(100, who).unwrap());
    let server = server.tokens(Tokens::default()).bind().await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(std::future::pending()));
    let opened = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (count, serving) = (Arc::clone(&opened), handle.clone());
    let connect = move |_: String| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        tokio::spawn(serving.serve_connection(far, &format!("10.0.0.{number}:1")));
        std::future::ready(Ok(near))
    };
    let config = Config::default().with(|config| config.reconnect.cap_ms = 5_000);
    let client = Client::builder("pipe")
        .config(config)
        .connector(connect)
        .token(TOKEN)
        .build();
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let error = client.call::<_, Value>(100, &()).await.unwrap_err();
        assert_eq!(error.code(), Code::UNAUTHENTICATED, "{error}");
        assert!(
            error
                .to_string()
                .contains("the server refuses this client's token"),
            "{error}"
        );
        assert!(!error.to_string().contains(TOKEN) && error.is_unreachable());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let opened = opened.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        (2..=13).contains(&opened),
        "asked {opened} times in a minute"
    );
    assert_eq!(handle.stats().access.token_failures, opened);
}
