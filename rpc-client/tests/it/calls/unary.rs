//! Single calls: their data, their failures and their ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_client::{Client, Code, Config};
use serde_json::json;
use tokio::io::AsyncWriteExt;

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
async fn metadata_and_the_time_left_reach_the_handler() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let command = client.command(105).meta("traceparent", "00-ab");
    let seen: (Option<String>, bool) = command.call(&json!({})).await.unwrap();
    assert_eq!(seen, (Some("00-ab".to_owned()), true));
}

#[tokio::test]
async fn what_the_server_says_of_a_calls_time_never_exceeds_the_callers_own() {
    let (address, _server) = tcp(Seen::default()).await;
    let client = Client::new(&address);

    // Many side by side, so that they wait for each other at the server as well.
    let calls = (0..200).map(|n| {
        let command = client.command(100);
        async move {
            let params = json!({"value": n, "ms": n % 7});
            let began = std::time::Instant::now();
            let timed = command.timed::<_, u64>(&params).await;
            (n, timed, began.elapsed())
        }
    });

    for (n, timed, own) in futures::future::join_all(calls).await {
        assert_eq!(timed.result.as_ref().unwrap(), &n);

        let server = timed.server.expect("the server tells it");
        let network = timed.network().unwrap();
        assert!(server.run >= Duration::from_millis(n % 7), "{timed:?}");
        assert!(server.queue + server.run <= timed.total, "{timed:?}");
        assert_eq!(server.queue + server.run + network, timed.total);
        assert!(timed.total <= own, "{timed:?} in {own:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_tells_the_servers_part_and_one_that_did_not_reach_it_tells_none() {
    let (address, _server) = tcp(Seen::default()).await;
    let client = Client::new(&address);

    let timed = client.command(106).timed::<_, ()>(&json!({})).await;
    let error = timed.result.as_ref().unwrap_err();
    assert_eq!(error.code(), Code::INTERNAL);
    assert!(timed.server.is_some());

    // Without data, and with its fields in another order than this project's server has them.
    let timed = client.command(105).timed_raw(&json!({})).await;
    assert!(timed.server.is_some() && timed.result.unwrap().is_some());

    let blocking = client.blocking();
    let timed = blocking.command(100).timed::<_, u64>(&json!({"value": 1}));
    assert_eq!(timed.result.unwrap_err().code(), Code::FAILED_PRECONDITION);
    assert_eq!(timed.server, None);
    let timed =
        std::thread::spawn(move || blocking.command(100).timed::<_, u64>(&json!({"value": 1})));
    let timed = timed.join().unwrap();
    assert!(timed.result.unwrap() == 1 && timed.server.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_times_of_a_call_are_read_wherever_they_are_in_its_reply() {
    for (fields, queue_us) in [
        (r#""timing":{"queue_us":3,"run_us":4},"data":7"#, Some(3)),
        (r#""data":7,"timing":{"run_us":4,"queue_us":3}"#, Some(3)),
        (r#""data":7,"timing":"3""#, None),
        (r#""data":7"#, None),
    ] {
        let (client, mut peer) = Peer::new(Config::default());
        let call = tokio::spawn(async move { client.command(100).timed::<_, u64>(&1).await });

        let request = peer.line().await;
        assert_eq!(request["meta"], json!({"timing": "1"}));
        let reply = format!("{{\"id\":{},\"code\":0,{fields}}}\n", request["id"]);
        peer.output.write_all(reply.as_bytes()).await.unwrap();

        let timed = call.await.unwrap();
        assert_eq!(timed.result.unwrap(), 7, "{fields}");
        let queue = timed.server.map(|server| server.queue.as_micros());
        assert_eq!(queue, queue_us, "{fields}");
    }
}
