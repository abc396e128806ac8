//! Calls that may have run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_client::{Client, Code, Config};
use rpc_core::{RawJson, Request, Service, Status};
use rpc_server::{Router, State};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{listen, rejecting};
use crate::support::{Seen, in_memory};

/// Takes a connection and reads one request from it.
async fn request(listener: &TcpListener) -> (Value, BufReader<TcpStream>) {
    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    (serde_json::from_str(&line).unwrap(), stream)
}

/// A connection on which the request arrives and is lost, and one on which the next is answered.
async fn lose_and_answer(listener: &TcpListener) -> (Value, Value) {
    let (first, stream) = request(listener).await;
    drop(stream);
    let (second, mut stream) = request(listener).await;
    let reply = format!("{{\"id\":{},\"code\":0,\"data\":7}}\n", second["id"]);
    stream.write_all(reply.as_bytes()).await.unwrap();
    // The client closes first.
    let _ = stream.read_line(&mut String::new()).await;
    (first, second)
}

#[tokio::test]
async fn what_may_have_run_is_tried_again_only_where_the_command_is_idempotent() {
    // Each client has a listener of its own: one that has lost a connection opens another.
    let (listener, address) = listen().await;
    let client = Client::new(&address);
    let lose = async { drop(request(&listener).await) };
    let call = async { client.call::<_, u64>(100, &()).await.unwrap_err() };
    let (error, ()) = tokio::join!(call, lose);
    assert!(
        error.may_have_run() && error.attempts() == 1 && !error.is_retryable(),
        "{error}"
    );

    let (listener, address) = listen().await;
    let with_key = async |client: Client| {
        client
            .command(100)
            .idempotent()
            .idempotency_key("order-4711")
            .call::<_, u64>(&json!({"a": 1}))
            .await
    };
    let client = Client::new(&address);
    let (answer, (first, second)) = tokio::join!(
        async {
            let answer = with_key(client.clone()).await;
            drop(client);
            answer
        },
        lose_and_answer(&listener)
    );
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(first["meta"]["idempotency-key"], "order-4711");
    assert_eq!(
        (&first["meta"], &first["params"]),
        (&second["meta"], &second["params"])
    );
    assert!(second["timeout_ms"].as_u64() <= first["timeout_ms"].as_u64());

    let (listener, address) = listen().await;
    let config = Config::default().with(|config| config.retry.idempotent_cmdids = vec![100]);
    let client = Client::with_config(&address, config);
    let (answer, _) = tokio::join!(
        async {
            let answer = client.call::<_, u64>(100, &()).await;
            drop(client);
            answer
        },
        lose_and_answer(&listener)
    );
    assert_eq!(answer.unwrap(), 7);
}

#[tokio::test]
async fn that_an_earlier_try_may_have_run_is_not_forgotten() {
    let (listener, address) = listen().await;
    let client = Client::with_config(
        &address,
        Config::default().with(|config| config.reconnect.fail_fast_after_ms = 0),
    );
    let lose = async {
        let (_, stream) = request(&listener).await;
        // No server is there for the second try.
        drop(listener);
        drop(stream);
    };
    let call = async {
        client
            .command(100)
            .idempotent()
            .call::<_, u64>(&())
            .await
            .unwrap_err()
    };
    let (error, ()) = tokio::join!(call, lose);
    assert!(error.is_unreachable() && error.attempts() == 2, "{error}");
    assert!(
        error.may_have_run() && error.was_sent() && !error.is_retryable(),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("(2 attempts; an earlier one may have run)"),
        "{error}"
    );
    let status = error.into_status();
    assert!(
        status.code() == Code::UNAVAILABLE && !status.is_rejected(),
        "{status}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_in_order_keeps_its_place_and_is_not_tried_again() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, 2, 0)).await;
    let client = Client::builder("memory").connector(connect).build();
    let error = client
        .command(100)
        .ordered()
        .call::<_, u64>(&())
        .await
        .unwrap_err();
    assert!(error.is_rejected() && error.attempts() == 1, "{error}");
}

async fn runs_and_asks_another(
    State((ran, other)): State<(Arc<AtomicU64>, Client)>,
) -> Result<u64, Status> {
    ran.fetch_add(1, Ordering::SeqCst);
    Ok(other.call(103, &()).await?)
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ran_and_was_itself_rejected_elsewhere_is_not_run_again() {
    let (connect, _other) = in_memory(crate::support::router(Seen::default())).await;
    let other = Client::builder("other").connector(connect).build();
    let ran: Arc<AtomicU64> = Arc::default();
    let router =
        Router::with_state((Arc::clone(&ran), other.clone())).route(100, runs_and_asks_another);
    let (connect, _server) = in_memory(router.unwrap()).await;
    let client = Client::builder("memory").connector(connect).build();
    let error = client.call::<_, u64>(100, &()).await.unwrap_err();
    assert!(
        error.code() == Code::RESOURCE_EXHAUSTED && !error.is_rejected(),
        "{error}"
    );
    assert_eq!((ran.load(Ordering::SeqCst), error.attempts()), (1, 1));
    // A client as a service keeps the promise of its server.
    let status = Service::call(&other, Request::new(103, RawJson::NULL))
        .await
        .err()
        .unwrap();
    assert!(status.is_rejected(), "{status}");
}
