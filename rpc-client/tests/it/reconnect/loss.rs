//! A lost connection, and the one that takes its place.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use rpc_client::{Client, Config, ConnectionEvent};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Island, in_use, short_lived};

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_lost_with_calls_is_opened_again_without_one() {
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    let mut events = client.events();
    let began = Instant::now();
    island.cut();
    let lost = events.next().await.unwrap();
    assert!(
        matches!(lost, ConnectionEvent::Disconnected { .. }),
        "{lost:?}"
    );
    let back = events.next().await.unwrap();
    assert!(
        matches!(back, ConnectionEvent::Connected { .. }),
        "{back:?}"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(island.accepted().len(), 1);

    // No call waits for this one.
    island.cut();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(island.attempts().len(), 0);
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_given_up_and_said_to_have() {
    let never = |_: String| std::future::pending::<io::Result<tokio::io::DuplexStream>>();
    let client = Client::builder("nowhere").connector(never).build();
    let began = Instant::now();
    let error = client.call::<_, ()>(100, &()).await.unwrap_err();
    assert_eq!(
        began.elapsed().as_millis() / 10,
        400,
        "three seconds, and one in which it fails"
    );
    assert!(
        error
            .to_string()
            .contains("no answer within `timeouts.connect_timeout_ms` of 3000 ms"),
        "{error}"
    );
    let again = Instant::now();
    assert!(
        client
            .call::<_, ()>(100, &())
            .await
            .unwrap_err()
            .is_unreachable()
    );
    assert_eq!(again.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_after_a_loss_share_one_attempt() {
    let island = Island::new().await;
    let client = in_use(&island, Config::default()).await;
    island.cut();
    let params = json!({"value": 1});
    let calls = (0..100).map(|_| client.call::<_, u64>(100, &params));
    // Some may have begun on the connection that was ending; all others share what comes after.
    let answered = futures::future::join_all(calls)
        .await
        .into_iter()
        .flatten()
        .count();
    assert!(answered > 0 || client.call::<_, u64>(100, &params).await.is_ok());
    assert_eq!(island.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_goaway_or_two_cost_the_next_call_nothing() {
    let (connect, opened) = short_lived(
        "{\"event\":\"goaway\",\"message\":\"drain\"}\n{\"id\":ID,\"code\":0,\"data\":null}\n",
    );
    let client = Client::builder("memory").connector(connect).build();
    let began = Instant::now();
    for _ in 0..2 {
        client.call::<_, ()>(100, &()).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);

    // Nor do more of them, where the connections had their time.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let called = Instant::now();
        client.call::<_, ()>(100, &()).await.unwrap();
        assert_eq!(called.elapsed(), Duration::ZERO);
    }
    assert_eq!(opened.lock().unwrap().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn calls_that_waited_for_a_connection_leave_in_the_order_in_which_they_were_made() {
    let (far, mut pipes) = tokio::sync::mpsc::unbounded_channel();
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        far.send(theirs).unwrap();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(ours)
        }
    };
    let client = Client::builder("far").connector(connect).build();
    let mut calls = JoinSet::new();
    for n in 0..100u64 {
        let client = client.clone();
        calls.spawn(async move { client.call::<_, ()>(100, &n).await });
    }

    let mut lines = BufReader::new(pipes.recv().await.unwrap()).lines();
    for n in 0..100u64 {
        let line = lines.next_line().await.unwrap().unwrap();
        let call: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(call["params"], n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_fails_the_calls_that_wait_and_is_asked_again_by_the_next_one() {
    let attempts = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&attempts);
    let connect = move |_: String| {
        let counted = Arc::clone(&counted);
        async move {
            tokio::task::yield_now().await;
            *counted.lock().unwrap() += 1;
            panic!("on purpose");
            #[allow(unreachable_code, reason = "it names the type of the stream")]
            Ok(tokio::io::duplex(64).0)
        }
    };
    let client = Client::builder("far").connector(connect).build();

    let began = Instant::now();
    for attempt in 1..=2 {
        let calls = (0..3).map(|_| client.call::<_, ()>(100, &()));
        for result in futures::future::join_all(calls).await {
            let error = result.unwrap_err();
            assert!(error.is_unreachable(), "{error}");
            assert!(
                error
                    .to_string()
                    .contains("the task that connects was stopped"),
                "{error}"
            );
        }
        assert_eq!(*attempts.lock().unwrap(), attempt);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}
