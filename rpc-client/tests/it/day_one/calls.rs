//! Calls that end early, late, or in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use rpc_client::{Client, Code, Config};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use crate::support::{Peer, Seen, router};

/// A late ordered reply answering the next caller.
#[tokio::test(start_paused = true)]
async fn an_ordered_reply_that_comes_late_does_not_answer_the_next_caller() {
    let (client, mut peer) = Peer::new(Config::default().with(|config| config.pool.ordered = true));
    let late = client.command(100).timeout(Duration::from_millis(10));
    assert!(late.call::<_, u64>(&()).await.unwrap_err().is_deadline());
    let next = client.call::<_, u64>(100, &());
    let play = async {
        for _ in 0..2 {
            let request = peer.line().await;
            assert!(
                request.get("id").is_none() && request["timestamp"].is_i64(),
                "{request}"
            );
        }
        peer.send(r#"{"code":0,"data":1}"#).await;
        peer.send(r#"{"code":0,"data":2}"#).await;
    };
    assert_eq!(tokio::join!(next, play).0.unwrap(), 2);
}

/// Insert racing the drain at disconnect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_that_begins_while_the_connection_ends_is_left_behind() {
    let server = rpc_server::Server::builder()
        .router(router(Seen::default()))
        .bind()
        .await
        .unwrap();
    let handle = server.handle();
    for round in 0..100 {
        let (handle, opened) = (handle.clone(), Arc::new(AtomicUsize::new(0)));
        let connect = move |_: String| {
            let is_first = opened.fetch_add(1, Ordering::SeqCst) == 0;
            let (ours, mut theirs) = tokio::io::duplex(4096);
            if is_first {
                // Takes a few bytes, more each round, and is gone.
                tokio::spawn(
                    async move { theirs.read_exact(&mut vec![0; 50 * (round % 10)]).await },
                );
            } else {
                tokio::spawn(handle.serve_connection(theirs, "memory"));
            }
            std::future::ready(Ok(ours))
        };
        let config = Config::default().with(|config| {
            config.liveness.ping_interval_ms = 0;
            config.timeouts.call_timeout_ms = 60_000;
        });
        let client = Client::builder("memory")
            .config(config)
            .connector(connect)
            .build();
        let calls = (0..16).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<_, u64>(100, &json!({"value": 4})).await })
        });
        for call in join_all(calls).await {
            match call.unwrap() {
                Ok(value) => assert_eq!(value, 4),
                Err(error) => assert_eq!(error.code(), Code::UNAVAILABLE, "{error}"),
            }
        }
    }
}

/// A dropped call killing the connection.
#[tokio::test]
async fn a_call_that_is_dropped_in_the_middle_of_its_frame_harms_no_other() {
    // Its frame is far longer than the pipe, so that it is dropped while it is being written.
    let (ours, theirs) = tokio::io::duplex(1024);
    let client = Client::over(ours, "played", Config::default());
    let params = "x".repeat(100_000);
    let (input, mut output) = tokio::io::split(theirs);
    let mut input = BufReader::new(input);
    {
        let call = client.call::<_, u64>(100, &params);
        tokio::pin!(call);
        assert!(futures::poll!(&mut call).is_pending());
        // Some of it has left.
        assert!(!input.fill_buf().await.unwrap().is_empty());
    }
    let next = client.call::<_, u64>(100, &2);
    let play = async {
        let mut lines = input.lines();
        let mut line = async || -> serde_json::Value {
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
        };
        let (given_up, cancel, next) = (line().await, line().await, line().await);
        assert_eq!(
            given_up["params"], params,
            "whole, or the next one could not be read"
        );
        assert_eq!(
            cancel,
            json!({"cmdid": 4, "oneway": true, "params": {"id": given_up["id"]}})
        );
        let reply = format!("{{\"id\":{},\"code\":0,\"data\":2}}\n", next["id"]);
        output.write_all(reply.as_bytes()).await.unwrap();
    };
    assert_eq!(tokio::join!(next, play).0.unwrap(), 2);
}

/// One undecodable reply failing others.
#[tokio::test]
async fn a_reply_that_makes_no_sense_fails_its_own_call_only() {
    let (client, mut peer) = Peer::new(Config::default());
    let calls = async {
        tokio::join!(
            client.call::<_, u64>(100, &()),
            client.call::<_, u64>(100, &())
        )
    };
    let play = async {
        let first = peer.line().await["id"].as_u64().unwrap();
        let second = peer.line().await["id"].as_u64().unwrap();
        peer.send(&format!(r#"{{"id":{first},"code":"zero"}}"#))
            .await;
        peer.send(r#"{"id":9007199254740991,"code":0}"#).await;
        peer.send(r#"{"event":"news","message":"x"}"#).await;
        peer.send("").await;
        peer.send(&format!(r#"{{"id":{second},"code":0,"data":2}}"#))
            .await;
    };
    let ((first, second), ()) = tokio::join!(calls, play);
    assert!(
        first
            .unwrap_err()
            .to_string()
            .contains("`code` of the reply has the wrong type")
    );
    assert_eq!(second.unwrap(), 2);
}

/// A single request on an idle connection waiting to be flushed.
#[tokio::test(start_paused = true)]
async fn a_single_request_leaves_at_once() {
    let (client, mut peer) = Peer::new(Config::default());
    for _ in 0..3 {
        let began = Instant::now();
        let call = client.call::<_, u64>(100, &());
        let play = async {
            let id = peer.line().await["id"].as_u64().unwrap();
            assert_eq!(
                began.elapsed(),
                Duration::ZERO,
                "no timer had to fire for it"
            );
            peer.send(&format!(r#"{{"id":{id},"code":0,"data":1}}"#))
                .await;
        };
        tokio::join!(call, play).0.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// In-flight entries left after timeouts.
#[tokio::test(start_paused = true)]
async fn calls_that_time_out_or_are_dropped_leave_their_places_to_others() {
    const PLACES: usize = 4;
    let config = Config::default().with(|config| {
        config.limits.in_flight_per_connection = PLACES;
        config.liveness.ping_interval_ms = 0;
    });
    let (client, mut peer) = Peer::new(config);
    let read =
        tokio::spawn(async move { while peer.lines.next_line().await.unwrap().is_some() {} });
    for _ in 0..1_000 {
        let soon = client.command(100).timeout(Duration::from_millis(10));
        for result in join_all((0..PLACES).map(|_| soon.call::<_, ()>(&()))).await {
            let error = result.unwrap_err();
            assert!(
                error.is_deadline() && error.was_sent(),
                "it had a place at once: {error}"
            );
        }
        let dropped = join_all((0..PLACES).map(|_| soon.call::<_, ()>(&())));
        tokio::pin!(dropped);
        assert!(futures::poll!(dropped).is_pending());
    }
    drop(client);
    read.await.unwrap();
}

/// Deadline not covering the queue.
#[tokio::test(start_paused = true)]
async fn the_deadline_covers_whatever_a_call_has_to_wait_for() {
    let soon = Duration::from_millis(50);
    let end = async |client: &Client, params: &str| {
        let began = Instant::now();
        let error = client
            .command(100)
            .timeout(soon)
            .call::<_, ()>(params)
            .await
            .unwrap_err();
        assert!(error.is_deadline(), "{error}");
        assert_eq!(began.elapsed().as_millis() / 10, 5, "{error}");
        error
    };
    // A reply.
    let (client, _peer) = Peer::new(Config::default());
    assert!(end(&client, "").await.was_sent());
    // Its frame's turn to be written.
    assert!(end(&client, &"x".repeat(100_000)).await.was_sent());
    // Room in the output.
    let (client, _peer) =
        Peer::new(Config::default().with(|config| config.limits.output_bytes_max = 1));
    for params in ["x".repeat(100_000), String::new()] {
        // The first one fills the pipe, the second one the output.
        let ahead = client.call::<_, ()>(100, &params);
        assert!(
            tokio::time::timeout(Duration::from_millis(1), ahead)
                .await
                .is_err()
        );
    }
    assert!(!end(&client, "").await.was_sent());
    // A place in the table.
    let (client, _peer) =
        Peer::new(Config::default().with(|config| config.limits.in_flight_per_connection = 1));
    let ahead = client.call::<_, ()>(100, &());
    tokio::pin!(ahead);
    assert!(futures::poll!(&mut ahead).is_pending());
    assert!(!end(&client, "").await.was_sent());
    // A connection.
    let never = |_: String| std::future::pending::<std::io::Result<tokio::io::DuplexStream>>();
    let client = Client::builder("nowhere").connector(never).build();
    assert!(!end(&client, "").await.was_sent());
}

/// The driver is not woken for a call with a deadline behind all others, while it waits for the peer to read.
#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_begins_also_behind_calls_that_the_driver_has_not_seen() {
    let (client, _peer) = Peer::new(Config::default());
    let far = (Instant::now() + Duration::from_secs(20)).into_std();
    let long = "x".repeat(100_000);

    // The pipe is full, a frame waits for it, and another one comes behind that.
    let mut ahead = Vec::new();
    for params in [long.as_str(), "", ""] {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let command = client.command(100).deadline(far);
        let mut call = Box::pin(async move { command.call::<_, ()>(params).await });
        assert!(futures::poll!(&mut call).is_pending());
        ahead.push(call);
    }

    let began = Instant::now();
    let late = client.command(100).timeout(Duration::from_millis(50));
    let error = late.call::<_, ()>(&()).await.unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert_eq!(began.elapsed().as_millis() / 10, 5, "{error}");
}
