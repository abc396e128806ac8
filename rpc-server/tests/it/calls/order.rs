//! Ordered calls beside those with ids, and whose reply is whose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_server::{Context, Params, Reply, Router, State, Status};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;

use crate::rig::{ECHO, HOLD, Rig};
use crate::support::{Probe, TestServer, call};

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
