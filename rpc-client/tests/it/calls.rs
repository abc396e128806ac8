use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_client::{Client, Code, Config};
use serde_json::json;

use crate::support::{Peer, Seen, pair, tcp};

#[tokio::test(start_paused = true)]
async fn sixty_four_tasks_get_each_their_own_replies_whatever_the_order() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64u64 {
        let client = client.clone();
        tasks.spawn(async move {
            for n in 0..10_000u64 {
                let value = task << 32 | n;
                // A spread of delays that no two tasks share, a third of them none at all.
                let ms = (task * 7 + n * 13) % 9 / 3;
                let reply: u64 = client
                    .call(100, &json!({"value": value, "ms": ms}))
                    .await
                    .unwrap();
                assert_eq!(reply, value);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_call_over_tcp_gets_its_data_and_the_servers_failures() {
    let (address, _server) = tcp(Seen::default()).await;
    let client = Client::new(&address);
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 7}))
            .await
            .unwrap(),
        7
    );

    let error = client.call::<_, u64>(999, &json!({})).await.unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run()),
        (Code::UNIMPLEMENTED, true)
    );
    assert!(error.to_string().starts_with(&format!(
        "{address}: code 12 UNIMPLEMENTED: no command has cmdid 999"
    )));

    let error = client
        .call::<_, u64>(100, &json!({"value": "x"}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::INVALID_ARGUMENT);
    assert!(
        error.status().unwrap().message().contains("`params.value`"),
        "{error}"
    );

    let error = client.call::<_, ()>(103, &json!({})).await.unwrap_err();
    assert!(error.is_rejected() && error.is_retryable() && !error.may_have_run());
    assert!(
        error
            .to_string()
            .ends_with("too much (rejected: it did not run) (retry after 20 ms) (3 attempts)"),
        "{error}"
    );

    let error = client.call::<_, ()>(106, &json!({})).await.unwrap_err();
    assert_eq!(error.code(), Code::INTERNAL);
    assert!(!error.to_string().contains("on purpose"));
}

#[tokio::test]
async fn data_of_another_type_is_an_error_that_says_the_call_ran() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let error = client
        .call::<_, String>(100, &json!({"value": 7}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run(), error.is_retryable()),
        (Code::INTERNAL, true, false)
    );
    assert!(error.to_string().contains("the call ran"), "{error}");
}

#[tokio::test]
async fn params_without_a_json_form_are_never_sent() {
    let seen = Seen::default();
    let (client, _server) = pair(seen.clone(), Config::default()).await;
    let params = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client.call::<_, u64>(102, &params).await.unwrap_err();
    assert_eq!(
        (error.code(), error.was_sent()),
        (Code::INVALID_ARGUMENT, false)
    );
    assert_eq!(seen.ran.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn raw_params_with_line_breaks_travel_as_one_frame() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let pretty =
        serde_json::value::RawValue::from_string("{\n  \"value\":\r\n 7\n}".into()).unwrap();
    assert_eq!(client.call::<_, u64>(100, &pretty).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_the_handler_with_it() {
    let seen = Seen::default();
    let (client, server) = pair(seen.clone(), Config::default()).await;
    let started = tokio::time::Instant::now();
    let command = client.command(101).timeout(Duration::from_millis(130));
    let error = command.call::<_, ()>(&json!({})).await.unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert_eq!(
        started.elapsed().as_millis() / 10,
        13,
        "at its time, within the timer's grain"
    );
    // The connection works, and by the time of its reply the server has dropped the handler.
    client
        .call::<_, u64>(100, &json!({"value": 1}))
        .await
        .unwrap();
    assert_eq!(seen.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(server.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_word_a_call_has_five_seconds() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let started = tokio::time::Instant::now();
    assert!(
        client
            .call::<_, ()>(101, &json!({}))
            .await
            .unwrap_err()
            .is_deadline()
    );
    assert_eq!(started.elapsed().as_millis() / 100, 50);
}

#[tokio::test]
async fn dropping_a_call_cancels_it_at_the_server() {
    let seen = Seen::default();
    let (client, _server) = pair(seen.clone(), Config::default()).await;
    {
        let params = json!({});
        let call = client.call::<_, ()>(101, &params);
        tokio::pin!(call);
        // Until the handler runs.
        while seen.ran.load(Ordering::SeqCst) == 0 {
            assert!(futures::poll!(&mut call).is_pending());
            tokio::task::yield_now().await;
        }
    }
    client
        .call::<_, u64>(100, &json!({"value": 1}))
        .await
        .unwrap();
    assert_eq!(seen.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_dropped_at_any_of_its_awaits_leaves_nothing_behind() {
    let seen = Seen::default();
    let (address, server) = tcp(seen.clone()).await;
    for polls in 0..40 {
        let client = Client::new(&address);
        {
            let params = json!({});
            let call = client.call::<_, ()>(101, &params);
            tokio::pin!(call);
            for _ in 0..polls {
                assert!(futures::poll!(&mut call).is_pending());
                tokio::task::yield_now().await;
            }
        }
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap();
    }
    assert_eq!(
        seen.ran.load(Ordering::SeqCst),
        seen.dropped.load(Ordering::SeqCst)
    );
    assert_eq!(server.stats().in_flight, 0);
}

#[tokio::test]
async fn notify_runs_the_command_and_gets_no_reply() {
    let seen = Seen::default();
    let (client, server) = pair(seen.clone(), Config::default()).await;
    for _ in 0..100 {
        client.notify(102, &json!({})).await.unwrap();
        client
            .command(102)
            .ordered()
            .notify(&json!({}))
            .await
            .unwrap();
    }
    client.flush().await.unwrap();
    assert_eq!(client.call::<_, u64>(102, &json!({})).await.unwrap(), 201);
    assert_eq!(server.stats().replies["OK"], 201);
}

#[tokio::test]
async fn metadata_and_the_time_left_reach_the_handler() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let command = client.command(105).meta("traceparent", "00-ab");
    let seen: (Option<String>, bool) = command.call(&json!({})).await.unwrap();
    assert_eq!(seen, (Some("00-ab".to_owned()), true));
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_in_flight_max_wait_for_room_within_their_deadline() {
    let config = Config {
        in_flight_max: 2,
        ..Config::default()
    };
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
    let config = Config {
        ordered: true,
        ..Config::default()
    };
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
    let config = Config {
        in_flight_max: 1,
        ..Config::default()
    };
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
    let config = Config {
        in_flight_max: 2,
        ordered: true,
        ..Config::default()
    };
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
    let config = Config {
        in_flight_max: 1,
        ordered: true,
        ..Config::default()
    };
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
    let config = Config {
        in_flight_max: 3,
        ..Config::default()
    };
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
