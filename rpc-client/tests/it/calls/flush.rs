//! Oneway calls, and the flush that waits for them.

use std::time::Duration;

use rpc_client::{Client, Code, Config, Mode};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use crate::support::{Peer, Seen, pair};

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
