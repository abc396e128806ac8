//! The life of a connection: its streams, its end, and what is written to it.

use std::time::Duration;

use rpc_client::{Client, Code, Config};
use serde_json::json;

use crate::support::{Peer, Seen, router};

#[tokio::test]
async fn after_goaway_calls_in_flight_end_and_new_ones_do_not_use_the_connection() {
    let (client, mut peer) =
        Peer::new(Config::default().with(|config| config.reconnect.fail_fast_after_ms = 0));
    let call = client.call::<_, u64>(100, &());
    let play = async {
        let id = peer.line().await["id"].as_u64().unwrap();
        peer.send(r#"{"event":"goaway","message":"bye"}"#).await;
        peer.send(&format!(r#"{{"id":{id},"code":0,"data":2}}"#))
            .await;
        // It closes by itself once it waits for nothing.
        assert!(peer.lines.next_line().await.unwrap().is_none());
    };
    assert_eq!(tokio::join!(call, play).0.unwrap(), 2);
    let error = client.call::<_, u64>(100, &()).await.unwrap_err();
    assert!(
        error.is_unreachable(),
        "there is no other server to go to: {error}"
    );
}

#[tokio::test]
async fn what_the_server_says_before_it_closes_is_in_the_error() {
    let (client, mut peer) = Peer::new(Config::default());
    let call = client.call::<_, u64>(100, &());
    let play = async {
        peer.line().await;
        peer.send(r#"{"code":8,"message":"connections_max is reached","rejected":true}"#)
            .await;
        drop(peer);
    };
    let error = tokio::join!(call, play).0.unwrap_err();
    assert!(
        error.to_string().contains("connections_max is reached"),
        "{error}"
    );
    assert!(!error.may_have_run() && error.is_retryable());
}

#[tokio::test]
async fn a_client_over_a_stream_opens_nothing_in_its_place() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::io::duplex(1024);
    let client = rpc_client::Client::over(
        ours,
        &listener.local_addr().unwrap().to_string(),
        Config::default(),
    );
    drop(theirs);
    assert_eq!(
        client.call::<_, ()>(0, &()).await.unwrap_err().code(),
        Code::UNAVAILABLE
    );
    let error = client.call::<_, ()>(0, &()).await.unwrap_err();
    assert!(
        error.is_unreachable() && error.to_string().contains("cannot be opened again"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_that_spins_sleeps_when_nothing_is_in_flight_or_the_time_is_up() {
    let (client, mut peer) =
        Peer::new(Config::default().with(|config| config.timeouts.spin_us = 1_000));
    for n in 0..50u64 {
        let play = async {
            let id = peer.line().await["id"].as_u64().unwrap();
            peer.send(&format!(r#"{{"id":{id},"code":0,"data":{n}}}"#))
                .await;
        };
        assert_eq!(
            tokio::join!(client.call::<_, u64>(100, &()), play)
                .0
                .unwrap(),
            n
        );
    }
    // A deadline is a timer: it comes whether the thread sleeps by then or not.
    let unanswered = client.command(100).timeout(Duration::from_millis(20));
    assert!(
        unanswered
            .call::<_, u64>(&())
            .await
            .unwrap_err()
            .is_deadline()
    );
}

#[tokio::test(start_paused = true)]
async fn in_order_a_oneway_call_that_an_old_server_answers_does_not_answer_the_next_caller() {
    let (client, mut peer) = Peer::new(Config::default().with(|config| config.pool.ordered = true));
    client.notify(100, &1).await.unwrap();
    let next = client.call::<_, u64>(100, &2);
    let play = async {
        for n in 1..=2u64 {
            let request = peer.line().await;
            assert!(
                request["params"] == n && request.get("oneway").is_none(),
                "{request}"
            );
            peer.send(&format!(r#"{{"code":0,"data":{n}}}"#)).await;
        }
    };
    assert_eq!(tokio::join!(next, play).0.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_up_already_is_not_sent() {
    let (client, mut peer) = Peer::new(Config::default().with(|config| config.pool.ordered = true));
    let late = client
        .command(100)
        .deadline(tokio::time::Instant::now().into_std());
    let error = late.call::<_, ()>(&()).await.unwrap_err();
    assert!(error.is_deadline() && !error.was_sent(), "{error}");
    client.notify(101, &()).await.unwrap();
    assert_eq!(
        peer.line().await["cmdid"],
        101,
        "the first thing that the server hears of"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_buffer_of_its_own_is_told_to_send_what_it_keeps() {
    let handle = rpc_server::Server::builder()
        .router(router(Seen::default()))
        .bind()
        .await
        .unwrap()
        .handle();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(handle.serve_connection(theirs, "memory"));
    let client = Client::over(
        tokio::io::BufStream::new(ours),
        "buffered",
        Config::default(),
    );
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 7}))
            .await
            .unwrap(),
        7
    );
    client.notify(102, &()).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(client.call::<_, u64>(102, &()).await.unwrap(), 2);
}
