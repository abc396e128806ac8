//! Servers that are silent, or do not read.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use rpc_client::{Client, Config, ConnectionEvent};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout};

use crate::support::{PATIENCE, Peer, Seen, pair};

/// Seconds until the client's connection is over, and why it is.
async fn end_of(client: &Client) -> (f64, String) {
    let (mut events, began) = (client.events(), Instant::now());
    loop {
        if let ConnectionEvent::Disconnected { reason, .. } = events.next().await.unwrap() {
            return (began.elapsed().as_secs_f64(), reason.to_string());
        }
    }
}

/// Heartbeat starved by sends.
#[tokio::test(start_paused = true)]
async fn constant_sending_does_not_hide_a_server_that_is_silent() {
    let (client, mut peer) = Peer::new(Config::default());
    let send = async {
        loop {
            client.notify(100, &"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let read = async {
        let mut pings = 0;
        while let Ok(Some(line)) = peer.lines.next_line().await {
            pings += usize::from(line.contains("\"cmdid\":0,"));
        }
        pings
    };
    let (seconds, reason) = tokio::select! {
        end = end_of(&client) => end,
        _ = send => unreachable!("it sends for ever"),
    };
    assert!((15.0..17.0).contains(&seconds), "{seconds}");
    assert!(
        reason.contains("nothing was received for 15000 ms, in spite of 2 pings"),
        "{reason}"
    );
    assert_eq!(read.await, 2);
}

/// Heartbeat that kills a server which only takes its time.
#[tokio::test(start_paused = true)]
async fn a_server_that_answers_pings_may_take_its_time_with_a_call() {
    let (client, _server) = pair(Seen::default(), Config::default()).await;
    let mut events = client.events();
    let slow = client.command(100).timeout(Duration::from_secs(29));
    assert_eq!(
        slow.call::<_, u64>(&json!({"value": 3, "ms": 28_000}))
            .await
            .unwrap(),
        3
    );
    assert!(
        futures::poll!(events.next()).is_pending(),
        "the connection has not ended"
    );
}

/// Heartbeat that confuses a server without ids: its answer would be taken for another call's.
#[tokio::test(start_paused = true)]
async fn a_connection_that_has_never_used_an_id_is_not_pinged() {
    let (client, mut peer) = Peer::new(Config::default().with(|config| config.pool.ordered = true));
    let slow = client.command(100).timeout(Duration::from_secs(100));
    let call = slow.call::<_, u64>(&());
    let play = async {
        peer.line().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        peer.send(r#"{"code":0,"data":1}"#).await;
    };
    assert_eq!(tokio::join!(call, play).0.unwrap(), 1);
    drop(client);
    assert_eq!(
        peer.lines.next_line().await.unwrap(),
        None,
        "nothing but the call was sent"
    );
}

/// Heartbeat that is missed by a timer of its own accord: an idle connection is watched too, or not at
/// all where the user says so.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_pinged_unless_it_shall_not_be() {
    for ping_idle in [true, false] {
        let (client, mut peer) =
            Peer::new(Config::default().with(|config| config.liveness.ping_idle = ping_idle));
        let call = client.call::<_, u64>(100, &());
        let play = async {
            let id = peer.line().await["id"].as_u64().unwrap();
            peer.send(&format!(r#"{{"id":{id},"code":0,"data":1}}"#))
                .await;
        };
        tokio::join!(call, play).0.unwrap();
        let idle = tokio::time::timeout(Duration::from_secs(3600), end_of(&client)).await;
        assert_eq!(idle.is_ok(), ping_idle);
        assert_eq!(client.is_connected(), !ping_idle);
        if !ping_idle {
            // In use again, it is watched again.
            client.notify(100, &()).await.unwrap();
            let (seconds, reason) = end_of(&client).await;
            assert!((15.0..17.0).contains(&seconds), "{seconds} {reason}");
        }
    }
}

/// Both sides blocked in write.
#[tokio::test]
async fn a_client_reads_on_while_its_own_writing_waits() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let client = Client::over(ours, "played", Config::default());
    let params = "x".repeat(10_000);
    let calls = join_all((0..100).map(|_| client.call::<_, u64>(100, &params)));
    let play = async {
        // The other side does not read before all of this is written, and none of it fits into the pipe.
        let noise = b"{\"event\":\"news\",\"message\":\"x\"}\n".repeat(10_000);
        theirs.write_all(&noise).await.unwrap();
        let (input, mut output) = tokio::io::split(theirs);
        let mut lines = BufReader::new(input).lines();
        for _ in 0..100 {
            let request = lines.next_line().await.unwrap().unwrap();
            let request: serde_json::Value = serde_json::from_str(&request).unwrap();
            let reply = format!("{{\"id\":{},\"code\":0,\"data\":1}}\n", request["id"]);
            output.write_all(reply.as_bytes()).await.unwrap();
        }
    };
    let both = async { tokio::join!(calls, play) };
    let (replies, ()) = timeout(PATIENCE, both)
        .await
        .expect("neither side waits for the other");
    assert!(replies.into_iter().all(|reply| reply.unwrap() == 1));
}

/// A stalled write without a fault of client or server.
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_bytes_is_dead_even_if_it_speaks() {
    let (client, mut peer) = Peer::new(Config::default());
    let params = "x".repeat(100_000);
    let patient = client.command(100).timeout(Duration::from_secs(100));
    let calls = async {
        let began = Instant::now();
        let (first, second) = tokio::join!(
            patient.call::<_, ()>(&params),
            patient.call::<_, ()>(&params)
        );
        (
            began.elapsed().as_secs_f64(),
            first.unwrap_err(),
            second.unwrap_err(),
        )
    };
    let speak = async {
        loop {
            peer.send("").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let (seconds, first, second) = tokio::select! {
        errors = calls => errors,
        _ = speak => unreachable!("it speaks for ever"),
    };
    assert!((10.0..10.1).contains(&seconds), "{seconds}");
    let why = "the server took no bytes for `timeouts.write_stall_timeout_ms` of 10000 ms";
    assert!(first.to_string().contains(why), "{first}");
    // Neither frame fits into the pipe, so neither left whole.
    assert!(
        first.is_unreachable() && second.is_unreachable(),
        "{first} {second}"
    );
}

/// A slow server taken for a stalled one.
#[tokio::test(start_paused = true)]
async fn a_server_that_takes_a_few_bytes_now_and_then_is_not_dead() {
    let (client, peer) =
        Peer::new(Config::default().with(|config| config.liveness.ping_interval_ms = 0));
    let params = "x".repeat(1_000_000);
    let patient = client.command(100).timeout(Duration::from_secs(600));
    let call = patient.call::<_, u64>(&params);
    let play = async {
        let mut input = peer.lines.into_inner();
        let (mut chunk, mut taken) = (vec![0; 10_000], Vec::new());
        while taken.last() != Some(&b'\n') {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let length = input.read(&mut chunk).await.unwrap();
            taken.extend_from_slice(&chunk[..length]);
        }
        let request: serde_json::Value = serde_json::from_slice(&taken).unwrap();
        let mut output = peer.output;
        let reply = format!("{{\"id\":{},\"code\":0,\"data\":1}}\n", request["id"]);
        output.write_all(reply.as_bytes()).await.unwrap();
    };
    assert_eq!(tokio::join!(call, play).0.unwrap(), 1);
}

/// A hang in spite of timeouts.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_does_not_hang_callers() {
    let config = Config::default().with(|config| config.limits.output_bytes_max = 200_000);
    let (client, _peer) = Peer::new(config);
    let params = "x".repeat(10_000);
    let calls = (0..100).map(|_| client.call::<_, ()>(100, &params));
    let started = tokio::time::Instant::now();
    let errors = futures::future::join_all(calls).await;
    assert!(
        errors
            .iter()
            .all(|result| result.as_ref().unwrap_err().is_deadline())
    );
    let unsent = errors
        .iter()
        .filter(|result| !result.as_ref().unwrap_err().was_sent())
        .count();
    assert!(unsent > 50, "most never left: {unsent}");
    assert_eq!(started.elapsed().as_millis() / 100, 50);
}
