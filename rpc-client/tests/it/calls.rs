use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_client::{Client, Code, Config, Mode};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::Instant;

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
    let replies = server.stats().replies["OK"];
    assert_eq!(replies, 202, "with that to the ping of the flush");
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_over_when_the_server_has_answered_a_ping_behind_what_was_sent() {
    let (client, mut peer) = Peer::new(Config::default());
    client.notify(102, &()).await.unwrap();
    client.notify(103, &()).await.unwrap();

    let mut flush = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    for cmdid in [102, 103] {
        let line = peer.line().await;
        assert_eq!(
            (&line["cmdid"], &line["oneway"]),
            (&json!(cmdid), &json!(true))
        );
    }
    let ping = peer.line().await;
    assert_eq!(ping["cmdid"], 0);
    // The system has had all of it for long.
    let wait = tokio::time::timeout(Duration::from_secs(1), &mut flush);
    assert!(wait.await.is_err());

    // Whatever the answer is, the server has read what came before it.
    let id = &ping["id"];
    peer.send(&format!(
        r#"{{"id":{id},"code":16,"message":"who are you?"}}"#
    ))
    .await;
    flush.await.unwrap().unwrap();

    // What is known already is not asked again, nor what a later answer tells.
    client.flush().await.unwrap();
    client.notify(104, &()).await.unwrap();
    let call = client.call::<_, u64>(100, &());
    let play = async {
        assert_eq!(peer.line().await["cmdid"], 104);
        let id = peer.line().await["id"].as_u64().unwrap();
        peer.send(&format!(r#"{{"id":{id},"code":0,"data":1}}"#))
            .await;
    };
    assert_eq!(tokio::join!(call, play).0.unwrap(), 1);
    client.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flush_fails_where_the_server_does_not_read() {
    let (client, _peer) =
        Peer::new(Config::default().with(|config| config.liveness.ping_interval_ms = 0));
    client.notify(102, &()).await.unwrap();
    let began = Instant::now();
    let error = client.flush().await.unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run()),
        (Code::DEADLINE_EXCEEDED, true)
    );
    assert_eq!(
        began.elapsed().as_millis() / 10,
        500,
        "`timeouts.call_timeout_ms`"
    );

    // With room in the pipe, and without.
    let params = "x".repeat(100_000);
    client.notify(102, &params).await.unwrap();
    assert!(client.flush().await.unwrap_err().is_deadline());
}

#[tokio::test(start_paused = true)]
async fn a_notify_over_a_connection_of_its_own_waits_until_the_server_has_read_it() {
    let (far, mut pipes) = tokio::sync::mpsc::unbounded_channel();
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(1024);
        far.send(theirs).unwrap();
        std::future::ready(Ok(ours))
    };
    let client = Client::builder("far")
        .connector(connect)
        .config(Config::default().with(|config| config.pool.mode = Mode::Short))
        .build();

    let error = client.notify(102, &()).await.unwrap_err();
    assert!(error.is_deadline() && error.may_have_run(), "{error}");
    drop(pipes.recv().await);

    let closed = async { drop(pipes.recv().await) };
    let (notified, ()) = tokio::join!(client.notify(102, &()), closed);
    let error = notified.unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE, "{error}");
    client.flush().await.expect("both were told");

    let played = async {
        let mut lines = BufReader::new(pipes.recv().await.unwrap());
        let mut line = String::new();
        while !line.contains(r#""cmdid":0"#) {
            line.clear();
            lines.read_line(&mut line).await.unwrap();
        }
        let ping: serde_json::Value = serde_json::from_str(&line).unwrap();
        let answer = format!("{{\"id\":{},\"code\":0}}\n", ping["id"]);
        lines.write_all(answer.as_bytes()).await.unwrap();
    };
    tokio::join!(client.notify(102, &()), played).0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_loss_of_what_is_not_answered_is_told_by_the_next_flush_and_once() {
    let (far, mut pipes) = tokio::sync::mpsc::unbounded_channel();
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(1024);
        far.send(theirs).unwrap();
        std::future::ready(Ok(ours))
    };
    let client = Client::builder("far").connector(connect).build();

    client.notify(102, &()).await.unwrap();
    let mut lines = BufReader::new(pipes.recv().await.unwrap());
    lines.read_line(&mut String::new()).await.unwrap();
    drop(lines);
    while client.is_connected() {
        tokio::task::yield_now().await;
    }

    // Over another connection by now.
    let _call = tokio::spawn({
        let client = client.clone();
        async move { client.call::<_, ()>(100, &()).await }
    });
    let _second = pipes.recv().await.unwrap();
    let error = client.flush().await.unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run()),
        (Code::UNAVAILABLE, true)
    );
    assert!(error.to_string().contains("the server closed"), "{error}");
    client.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_goaway_what_is_not_answered_is_asked_about_before_the_connection_ends() {
    let (client, mut peer) = Peer::new(Config::default());
    client.notify(102, &()).await.unwrap();
    peer.line().await;
    peer.send(r#"{"event":"goaway","message":"drain"}"#).await;
    let ping = peer.line().await;
    assert_eq!(ping["cmdid"], 0);
    peer.send(&format!(r#"{{"id":{},"code":0,"data":null}}"#, ping["id"]))
        .await;
    assert!(
        peer.lines.next_line().await.unwrap().is_none(),
        "it is over"
    );
    client.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_may_know_no_ids_is_not_asked_by_a_flush() {
    let (client, mut peer) = Peer::new(Config::default().with(|config| config.pool.ordered = true));
    client.notify(102, &()).await.unwrap();
    client.flush().await.unwrap();
    peer.line().await;
    peer.send(r#"{"code":0}"#).await;
    client.notify(103, &()).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(peer.line().await["cmdid"], 103);
    peer.send(r#"{"code":0}"#).await;
    drop(peer);
    while client.is_connected() {
        tokio::task::yield_now().await;
    }
    client.flush().await.expect("both were answered");
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
    let config = Config::default().with(|config| config.limits.in_flight_per_connection = 3);
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
async fn the_times_of_a_call_are_read_wherever_they_stand_in_its_reply() {
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
