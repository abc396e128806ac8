//! Calls and what ends them before their time: deadlines, cancels, lost peers, panics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_server::{Config, Context, Params, Reply, Route, Router, State, Status};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::rig::{ECHO, FILL, HOLD, HOLD_DETACHED, HOLD_SPAWNED, PANIC, Rig, SLEEP, filled};
use crate::support::{Probe, TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_handler_past_the_servers_limit_is_dropped_and_its_code_is_4() {
    for cmdid in [HOLD, HOLD_SPAWNED] {
        let rig = Rig::new();
        let config = Config::default().with(|config| config.timeouts.handler_timeout_ms = 5_000);
        let server = TestServer::with(config, rig.router()).await;
        let mut client = server.connect();
        let start = Instant::now();
        client.send(call(1, cmdid, "")).await;
        client
            .expect_silence_for(Duration::from_millis(4_999))
            .await;
        assert_eq!(rig.probe.running(), 1);
        client.expect_code(1, 4).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        settle().await;
        assert_eq!(
            (rig.probe.running(), rig.probe.finished()),
            (0, 0),
            "{cmdid}"
        );
        assert_eq!(server.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_the_callers_and_the_servers_limit_counts() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.timeouts.handler_timeout_ms = 1_000);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    for (timeout_ms, ends_after) in [(300, 300), (5_000, 1_000), (u64::MAX, 1_000)] {
        let start = Instant::now();
        client
            .send(call(1, HOLD, &format!("\"timeout_ms\":{timeout_ms}")))
            .await;
        client.expect_code(1, 4).await;
        assert_eq!(start.elapsed().as_millis(), ends_after);
    }
    assert_eq!(rig.probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_turn_past_its_time_is_not_executed() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(format!(
            "{{\"cmdid\":{SLEEP},\"params\":{{\"ms\":500}}}}\n{{\"cmdid\":{HOLD},\"timeout_ms\":499}}\n"
        ))
        .await;
    client.expect_code(None, 0).await;
    let late = client.expect_code(None, 4).await;
    assert!(
        late["message"].as_str().unwrap().contains("did not run"),
        "{late}"
    );
    assert_eq!(rig.probe.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_drops_the_handler_and_the_code_is_1() {
    for cmdid in [HOLD, HOLD_SPAWNED] {
        let rig = Rig::new();
        let server = TestServer::start(rig.router()).await;
        let mut client = server.connect();
        client.send(call(7, cmdid, "")).await;
        settle().await;
        assert_eq!(rig.probe.running(), 1);
        // The second one names a call that is over.
        client
            .send("{\"cmdid\":4,\"params\":{\"id\":7}}\n{\"cmdid\":4,\"params\":{\"id\":7}}\n")
            .await;
        client.expect_code(7, 1).await;
        settle().await;
        assert_eq!(
            (rig.probe.running(), rig.probe.finished()),
            (0, 0),
            "{cmdid}"
        );
        rig.gate.let_pass(1);
        client.expect_silence_for(Duration::from_secs(60)).await;
        assert_eq!(server.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_is_free_as_soon_as_its_call_is_cancelled() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    let cancel = "{\"cmdid\":4,\"params\":{\"id\":1}}\n";
    client
        .send(format!("{}{cancel}", call(1, HOLD, "")).repeat(1_000))
        .await;
    client.send(call(1, ECHO, "\"params\":2")).await;
    for _ in 0..1_000 {
        client.expect_code(1, 1).await;
    }
    client.expect("{\"id\":1,\"code\":0,\"data\":2}").await;
    assert_eq!((rig.probe.started(), rig.probe.running()), (1_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_runs_on_after_a_cancel_a_timeout_and_a_lost_peer() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client.send(call(1, HOLD_DETACHED, "")).await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    client.expect_code(1, 1).await;
    client
        .send(call(2, HOLD_DETACHED, "\"timeout_ms\":100"))
        .await;
    client.expect_code(2, 4).await;
    client
        .send(format!(
            "{}{}",
            call(3, HOLD_DETACHED, ""),
            call(4, SLEEP, "\"params\":{\"ms\":1}")
        ))
        .await;
    drop(client);
    settle().await;
    settle().await;
    assert_eq!(
        server.stats().connections_open,
        0,
        "the write of call 4 has shown that the peer is gone"
    );
    assert_eq!((rig.probe.running(), rig.probe.finished()), (3, 1));
    rig.gate.let_pass(3);
    settle().await;
    assert_eq!((rig.probe.running(), rig.probe.finished()), (0, 4));
}

/// Reports the moment in which its caller is gone.
async fn report(State(news): State<mpsc::UnboundedSender<u64>>, context: Context) {
    let id = context.id().unwrap();
    let cancellation = context.cancellation().clone();
    assert!(!cancellation.is_cancelled());
    cancellation.cancelled().await;
    assert!(cancellation.is_cancelled());
    news.send(id).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_detached_handler_learns_that_its_caller_has_gone() {
    let (sender, mut news) = mpsc::unbounded_channel();
    let router = Router::with_state(sender)
        .route(100, Route::new(report).detached())
        .unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    client.send(call(1, 100, "")).await;
    settle().await;
    assert!(news.try_recv().is_err());
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    assert_eq!(news.recv().await, Some(1));
    client.expect_code(1, 1).await;

    client.send(call(2, 100, "\"timeout_ms\":100")).await;
    assert_eq!(news.recv().await, Some(2));
    client.expect_code(2, 4).await;

    client
        .send(format!(
            "{}{}",
            call(3, 100, ""),
            call(4, 100, "\"timeout_ms\":100")
        ))
        .await;
    drop(client);
    let mut last = [news.recv().await, news.recv().await];
    last.sort_unstable();
    assert_eq!(last, [Some(3), Some(4)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_peer_cancels_its_inline_and_spawned_handlers() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(call(1, HOLD, "") + &call(2, HOLD_SPAWNED, "") + &call(3, HOLD, "\"oneway\":true"))
        .await;
    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n{{\"cmdid\":{HOLD}}}\n"))
        .await;
    client
        .send(call(5, SLEEP, "\"params\":{\"ms\":1000}"))
        .await;
    settle().await;
    assert_eq!(rig.probe.running(), 5, "the second ordered call waits");
    drop(client);
    settle().await;
    // From here on it may just have ended its side.
    assert_eq!(rig.probe.running(), 5);
    // The reply that cannot be written shows that the peer is gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(
        (
            rig.probe.started(),
            rig.probe.running(),
            rig.probe.finished()
        ),
        (5, 0, 1)
    );
    let stats = server.stats();
    assert_eq!((stats.connections_open, stats.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_oneway_call_never_answers_whatever_becomes_of_it() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.limits.reply_bytes_max = 100;
        config.timeouts.handler_timeout_ms = 1_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    for id in ["", "\"id\":1,"] {
        for rest in [
            format!("\"cmdid\":{ECHO}"),
            "\"cmdid\":0".into(),
            "\"cmdid\":99".into(),
            "\"cmdid\":4000000000".into(),
            format!("\"cmdid\":{SLEEP},\"params\":1"),
            format!("\"cmdid\":{PANIC},\"params\":{{\"at\":\"start\"}}"),
            format!("\"cmdid\":{ECHO},\"params\":{}", filled(101)),
            format!("\"cmdid\":{HOLD}"),
            format!("\"cmdid\":{HOLD},\"timeout_ms\":0"),
        ] {
            client
                .send(format!("{{{id}\"oneway\":true,{rest}}}\n"))
                .await;
        }
    }
    client.expect_silence_for(Duration::from_secs(60)).await;
    let replies = server.stats().replies;
    let counted = |name: &str| replies.get(name).copied().unwrap_or(0);
    assert_eq!(
        (counted("OK"), counted("UNIMPLEMENTED"), counted("INTERNAL")),
        (4, 4, 2),
        "{replies:?}"
    );
    assert_eq!(
        (counted("INVALID_ARGUMENT"), counted("RESOURCE_EXHAUSTED")),
        (2, 2),
        "{replies:?}"
    );
    assert_eq!(counted("DEADLINE_EXCEEDED"), 4, "{replies:?}");
}

#[tokio::test(start_paused = true)]
async fn an_ordered_oneway_call_keeps_the_order() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(format!(
            "{{\"cmdid\":{HOLD},\"oneway\":true}}\n{{\"cmdid\":0,\"params\":1}}\n"
        ))
        .await;
    client.expect_silence_for(Duration::from_secs(20)).await;
    rig.gate.let_pass(1);
    client.expect("{\"code\":0,\"data\":1}").await;
    assert_eq!(rig.probe.finished(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_code_13_without_its_text_and_frees_its_place() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    for (id, at) in (0..20).zip(["start", "later"].into_iter().cycle()) {
        let params = format!("\"params\":{{\"at\":\"{at}\"}}");
        let request = if id % 4 < 2 {
            call(id, PANIC, &params)
        } else {
            format!("{{\"cmdid\":{PANIC},{params}}}\n")
        };
        client.send(request).await;
        settle().await;
        rig.gate.let_pass(usize::from(at == "later"));
        let reply = client.expect_code((id % 4 < 2).then_some(id), 13).await;
        assert!(!reply.to_string().contains("secret"), "{reply}");
        // It names the command, for a reader of the log.
        assert!(
            reply["message"]
                .as_str()
                .unwrap()
                .contains(&PANIC.to_string()),
            "{reply}"
        );
    }
    client.send("{\"id\":1,\"cmdid\":0,\"params\":1}\n").await;
    client.expect("{\"id\":1,\"code\":0,\"data\":1}").await;
    assert_eq!((rig.probe.running(), server.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_task_of_its_own_or_in_decoding_is_code_13_as_well() {
    #[derive(Deserialize)]
    #[serde(try_from = "u64")]
    struct Hostile;
    impl TryFrom<u64> for Hostile {
        type Error = String;
        fn try_from(_: u64) -> Result<Self, String> {
            panic!("a secret of the decoder");
        }
    }
    async fn decode(Params(Hostile): Params<Hostile>) {}
    async fn panic() {
        panic!("a secret of the handler");
    }
    let router = Router::new()
        .route(100, decode)
        .and_then(|router| router.route(101, Route::new(panic).spawned()))
        .and_then(|router| router.route(102, Route::new(panic).detached()))
        .and_then(|router| router.route(103, Route::new(decode).detached()))
        .and_then(|router| {
            router.route(
                104,
                Route::blocking(|| -> Result<u64, Status> { panic!("a secret of the function") }),
            )
        })
        .unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    for (id, cmdid) in [(1, 100), (2, 101), (3, 102), (4, 103), (5, 104)] {
        client.send(call(id, cmdid, "\"params\":1")).await;
        let reply = client.expect_code(id, 13).await;
        assert!(!reply.to_string().contains("secret"), "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn data_of_exactly_the_limit_is_sent_and_one_byte_more_is_not() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.limits.reply_bytes_max = 1_000);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    rig.gate.let_pass(2);
    client
        .send(call(1, FILL, "\"params\":{\"bytes\":1000}"))
        .await;
    assert_eq!(
        client.expect_code(1, 0).await["data"]
            .as_str()
            .unwrap()
            .len(),
        998
    );
    client
        .send(call(1, FILL, "\"params\":{\"bytes\":1001}"))
        .await;
    let refused = client.expect_code(1, 8).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.reply_bytes_max` is 1000"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn ordered_calls_never_overlap_and_multiplexed_ones_overtake_them() {
    async fn work(
        State((ordered, other)): State<(Probe, Probe)>,
        context: Context,
        Params(ms): Params<u64>,
    ) -> Reply {
        let running = if context.id().is_none() {
            ordered.enter()
        } else {
            other.enter()
        };
        tokio::time::sleep(Duration::from_millis(ms)).await;
        running.finish();
        Reply::new(&ms).unwrap()
    }
    let (ordered, other) = <(Probe, Probe)>::default();
    let router = Router::with_state((ordered.clone(), other.clone()))
        .route(100, work)
        .unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    let mut random = fastrand::Rng::with_seed(11);
    // A second for each ordered call on average, and no more than one for each other call.
    let ordered_ms: Vec<u64> = (0..50).map(|_| random.u64(500..1500)).collect();
    let other_ms: Vec<u64> = (0..50).map(|_| random.u64(0..1000)).collect();
    for (id, (one, two)) in (0..).zip(ordered_ms.iter().zip(&other_ms)) {
        client
            .send(format!(
                "{{\"cmdid\":100,\"timeout_ms\":20000,\"params\":{one}}}\n"
            ))
            .await;
        client
            .send(call(id, 100, &format!("\"params\":{two}")))
            .await;
    }
    let (mut ordered_came, mut other_came) = (Vec::new(), 0);
    for _ in 0..100 {
        let reply = client.reply().await;
        match reply["id"].as_u64() {
            // Past 20 s, the rest of the ordered calls was given up in its turn.
            None => ordered_came.push(reply),
            Some(id) => {
                assert_eq!(reply["data"], other_ms[usize::try_from(id).unwrap()]);
                assert!(
                    ordered_came.len() < 4,
                    "an ordered call has delayed call {id}"
                );
                other_came += 1;
            }
        }
    }
    let in_time = ordered_came
        .iter()
        .take_while(|reply| reply["code"] == 0)
        .count();
    assert!((10..40).contains(&in_time), "{in_time}");
    for (at, reply) in ordered_came.iter().enumerate() {
        if at < in_time {
            assert_eq!(reply["data"], ordered_ms[at]);
        } else {
            assert_eq!(reply["code"], 4);
        }
    }
    assert_eq!((ordered.most(), other_came), (1, 50));
    assert!(other.most() > 10, "multiplexed calls run side by side");
}

#[tokio::test(start_paused = true)]
async fn the_same_id_may_be_used_ten_thousand_times() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    rig.gate.let_pass(5_000);
    for n in 0..5_000 {
        // One that is ready at once, and one that is parked first.
        client
            .send(call(1, ECHO, &format!("\"params\":{n}")) + &call(2, HOLD, ""))
            .await;
        let mut replies = [client.line().await, client.line().await];
        replies.sort_unstable();
        assert_eq!(
            replies,
            [
                format!("{{\"id\":1,\"code\":0,\"data\":{n}}}\n"),
                "{\"id\":2,\"code\":0}\n".into()
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_64_tasks_with_1000_calls_each_every_reply_reaches_its_own() {
    async fn delay(Params((ms, tag)): Params<(u64, String)>) -> Result<String, Status> {
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Ok(tag)
    }
    let server = TestServer::start(Router::new().route(100, delay).unwrap()).await;
    let (reader, writer) = tokio::io::split(server.connect().io.into_inner());
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<String>>>> = Arc::default();
    tokio::spawn({
        let waiting = Arc::clone(&waiting);
        async move {
            let mut lines = BufReader::new(reader).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                let reply: Value = serde_json::from_str(&line).unwrap();
                let id = reply["id"].as_u64().unwrap();
                let caller = waiting
                    .lock()
                    .unwrap()
                    .remove(&id)
                    .expect("each call has one reply");
                caller
                    .send(reply["data"].as_str().unwrap().to_owned())
                    .unwrap();
            }
        }
    });
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (writer, waiting) = (Arc::clone(&writer), Arc::clone(&waiting));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                for id in task * 1_000..(task + 1) * 1_000 {
                    let (caller, reply) = oneshot::channel();
                    waiting.lock().unwrap().insert(id, caller);
                    let line = call(
                        id,
                        100,
                        &format!("\"params\":[{},\"tag {id}\"]", random.u64(0..20)),
                    );
                    writer
                        .lock()
                        .await
                        .write_all(line.as_bytes())
                        .await
                        .unwrap();
                    assert_eq!(reply.await.unwrap(), format!("tag {id}"));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        (server.stats().requests, server.stats().in_flight),
        (64_000, 0)
    );
    assert!(waiting.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_is_told_what_its_call_waited_for_and_how_long_its_handler_ran() {
    let server = TestServer::start(Rig::new().router()).await;
    let mut client = server.connect();
    let asks = "\"meta\":{\"timing\":\"1\"},\"params\":";

    // Of two ordered calls the second waits for the first; the times follow the code and the data in the line.
    let ordered = format!("{{\"cmdid\":{SLEEP},{asks}{{\"ms\":30}}}}\n");
    client.send(ordered.repeat(2)).await;
    for queue_ms in [0, 30] {
        let reply = client.expect_code(None, 0).await;
        assert_eq!(timing_in_ms(&reply), [queue_ms, 30], "{reply}");
    }

    client.send(call(1, ECHO, &format!("{asks}[1,2]"))).await;
    client
        .expect(r#"{"id":1,"code":0,"data":[1,2],"timing":{"queue_us":0,"run_us":0}}"#)
        .await;

    // A handler that is cut off has run, and a call that its caller asks nothing about says nothing.
    let rest = format!("\"timeout_ms\":20,{asks}{{}}");
    client.send(call(2, HOLD, &rest)).await;
    let late = client.expect_code(2, 4).await;
    assert_eq!(timing_in_ms(&late), [0, 20], "{late}");

    for meta in ["{}", "{\"timing\":\"0\"}", "{\"timing\":\"true\"}"] {
        let rest = format!("\"meta\":{meta},\"params\":7");
        client.send(call(3, ECHO, &rest)).await;
        client.expect(r#"{"id":3,"code":0,"data":7}"#).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_and_a_cancelled_call_tell_their_times_too() {
    let rig = Rig::new();
    let router = rig.router().route(107, ticks).unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    let asks = "\"meta\":{\"timing\":\"1\"}";

    client.send(call(1, HOLD, asks)).await;
    client.expect_silence_for(Duration::from_millis(15)).await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    let cancelled = client.expect_code(1, 1).await;
    assert_eq!(timing_in_ms(&cancelled), [0, 15], "{cancelled}");

    // Without a reply there is nothing to tell.
    client
        .send(call(2, ECHO, &format!("\"oneway\":true,{asks}")))
        .await;
    client.expect_silence_for(Duration::from_millis(1)).await;

    client.send(call(3, 107, asks)).await;
    for item in 0..2 {
        client
            .expect(&format!(r#"{{"id":3,"code":0,"more":true,"data":{item}}}"#))
            .await;
    }
    let end = client.reply().await;
    assert_eq!(timing_in_ms(&end), [0, 20], "{end}");
}

/// Two items, each after 10 ms.
async fn ticks() -> Reply {
    let items = stream::iter(0..2).then(|item| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(item)
    });
    Reply::stream(items)
}

/// What the reply says that its call waited and ran. The timers of the runtime round up to whole milliseconds.
fn timing_in_ms(reply: &Value) -> [u64; 2] {
    ["queue_us", "run_us"].map(|part| reply["timing"][part].as_u64().unwrap() / 1_000)
}
