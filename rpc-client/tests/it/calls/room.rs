//! Calls in order, and calls that wait for room.

use std::time::Duration;

use rpc_client::Config;
use serde_json::json;

use crate::support::{Peer, Seen, pair};

#[tokio::test(start_paused = true)]
async fn calls_beyond_in_flight_max_wait_for_room_within_their_deadline() {
    let config = Config::default().with(|config| config.limits.in_flight_per_connection = 2);
    let (client, _server) = pair(Seen::default(), config).await;
    let slow = |value: u64| {
        let client = client.clone();
        async move {
            client
                .call::<_, u64>(100, &json!({"value": value, "ms": 1000}))
                .await
        }
    };
    let replies = futures::future::join_all((0..6).map(slow)).await;
    let values: Vec<u64> = replies.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [0, 1, 2, 3, 4, 5]);

    let blocked = futures::future::join(
        client.call::<_, ()>(101, &()),
        client.call::<_, ()>(101, &()),
    );
    let late = async {
        let error = client
            .command(100)
            .timeout(Duration::from_millis(50))
            .call::<_, u64>(&())
            .await
            .unwrap_err();
        assert!(error.is_deadline() && !error.was_sent(), "{error}");
    };
    tokio::select! {
        biased;
        _ = blocked => panic!("they have five seconds"),
        () = late => {}
    }
}

#[tokio::test(start_paused = true)]
async fn ordered_calls_run_one_after_another() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let config = Config::default().with(|config| config.pool.ordered = true);
    let (ordered_client, _other) = pair(Seen::default(), config).await;
    let started = tokio::time::Instant::now();
    let call = |value: u64| {
        let client = ordered_client.clone();
        async move {
            client
                .call::<_, u64>(100, &json!({"value": value, "ms": 100}))
                .await
                .unwrap()
        }
    };
    assert_eq!(
        futures::future::join_all((0..5).map(call)).await,
        [0, 1, 2, 3, 4]
    );
    assert!(started.elapsed() >= Duration::from_millis(500));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_deadline_waits_for_room_and_lets_others_run() {
    let config = Config::default().with(|config| config.limits.in_flight_per_connection = 1);
    let (client, _server) = pair(Seen::default(), config).await;
    let params = json!({"value": 3, "ms": 1000});
    let call = client.call::<_, u64>(100, &params);
    let stream = async {
        let mut items = client
            .stream::<_, u64>(104, &json!({"value": 2}))
            .await
            .unwrap();
        futures::StreamExt::next(&mut items).await.unwrap().unwrap()
    };
    let (reply, first) = tokio::join!(call, stream);
    assert_eq!((reply.unwrap(), first), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_ordered_call_behind_a_queue_of_given_up_ones_ends_at_its_deadline() {
    let config = Config::default().with(|config| {
        config.limits.in_flight_per_connection = 2;
        config.pool.ordered = true;
    });
    let (client, _silent) = Peer::new(config);
    for _ in 0..2 {
        let given_up = client.command(101).timeout(Duration::from_millis(10));
        assert!(given_up.call::<_, ()>(&()).await.unwrap_err().is_deadline());
    }
    let error = client
        .command(100)
        .timeout(Duration::from_millis(50))
        .call::<_, u64>(&())
        .await
        .unwrap_err();
    assert!(error.is_deadline() && !error.was_sent(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn room_that_a_late_ordered_reply_makes_is_told() {
    let config = Config::default().with(|config| {
        config.limits.in_flight_per_connection = 1;
        config.pool.ordered = true;
    });
    let (client, _server) = pair(Seen::default(), config).await;
    let slow = client.command(100).timeout(Duration::from_millis(10));
    assert!(
        slow.call::<_, u64>(&json!({"value": 1, "ms": 500}))
            .await
            .unwrap_err()
            .is_deadline()
    );
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 2}))
            .await
            .unwrap(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_that_waits_for_room_is_forgotten() {
    let config = Config::default().with(|config| {
        config.limits.in_flight_per_connection = 3;
        // On a busy machine a call may wait for long; one that is forgotten waits for all of this.
        config.timeouts.call_timeout_ms = 60_000;
    });
    let (client, _server) = pair(Seen::default(), config).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..32u64 {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..500 {
                assert_eq!(
                    client
                        .call::<_, u64>(100, &json!({"value": task}))
                        .await
                        .unwrap(),
                    task
                );
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
