//! Streaming calls: credit, cancels, limits, and items that fail.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use rpc_server::{Config, Params, Reply, Router, State, Status};
use serde::Deserialize;
use tokio::time::Instant;

use crate::support::{Probe, TestServer, call, settle};

/// Streams the numbers up to `to`, for ever without it.
const COUNT: u32 = 100;
/// Streams strings of these lengths, quotes included.
const STRINGS: u32 = 101;
/// Streams what it is told: a number, or `"fail"`, `"panic"`, `"wait"`.
const SCRIPT: u32 = 102;
const PING: &str = "{\"cmdid\":0,\"params\":\"ping\"}\n";
const PONG: &str = "{\"code\":0,\"data\":\"ping\"}";

#[derive(Deserialize)]
struct Count {
    to: Option<u64>,
    #[serde(default)]
    every_ms: u64,
}

/// `probe` runs for as long as the stream lives.
async fn count(State(probe): State<Probe>, Params(Count { to, every_ms }): Params<Count>) -> Reply {
    let running = probe.enter();
    let items = stream::iter(0..to.unwrap_or(u64::MAX)).then(move |n| {
        let _lives_as_long = &running;
        let pause = (every_ms > 0).then(|| tokio::time::sleep(Duration::from_millis(every_ms)));
        async move {
            if let Some(pause) = pause {
                pause.await;
            }
            Ok(n)
        }
    });
    Reply::stream(items)
}

async fn strings(State(probe): State<Probe>, Params(lengths): Params<Vec<usize>>) -> Reply {
    let running = probe.enter();
    Reply::stream(stream::iter(lengths).map(move |length| {
        let _lives_as_long = &running;
        Ok("x".repeat(length - 2))
    }))
}

async fn script(
    State(probe): State<Probe>,
    Params(steps): Params<Vec<serde_json::Value>>,
) -> Reply {
    let running = probe.enter();
    Reply::stream(stream::iter(steps).then(move |step| {
        let _lives_as_long = &running;
        async move {
            match step.as_str() {
                None => Ok(step),
                Some("fail") => Err(Status::new(1234, "told to fail")),
                Some("panic") => panic!("a secret of the stream"),
                Some(_) => std::future::pending().await,
            }
        }
    }))
}

async fn server(config: Config) -> (TestServer, Probe) {
    let probe = Probe::default();
    let router = Router::with_state(probe.clone())
        .route(COUNT, count)
        .and_then(|router| router.route(STRINGS, strings))
        .and_then(|router| router.route(SCRIPT, script))
        .unwrap();
    (TestServer::with(config, router).await, probe)
}

fn item(id: u64, data: impl std::fmt::Display) -> String {
    format!("{{\"id\":{id},\"code\":0,\"more\":true,\"data\":{data}}}")
}

#[tokio::test(start_paused = true)]
async fn a_stream_sends_as_many_items_as_it_has_credit_for() {
    let (server, probe) = server(Config::default()).await;
    let mut client = server.connect();
    client
        .send(call(1, COUNT, "\"params\":{\"to\":6},\"credit\":2"))
        .await;
    client.expect(&item(1, 0)).await;
    client.expect(&item(1, 1)).await;
    client.expect_silence_for(Duration::from_secs(3600)).await;
    // Credit for no stream, credit of 0, and what cannot be read change nothing.
    for params in [
        "{\"id\":2,\"n\":9}",
        "{\"id\":1,\"n\":0}",
        "{\"id\":1}",
        "{\"id\":1,\"n\":-1}",
        "7",
    ] {
        client
            .send(format!("{{\"cmdid\":5,\"params\":{params}}}\n"))
            .await;
    }
    client.expect_silence_for(Duration::from_secs(3600)).await;
    client
        .send("{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}\n")
        .await;
    client.expect(&item(1, 2)).await;
    client.expect_silence_for(Duration::from_secs(3600)).await;
    client
        .send("{\"cmdid\":5,\"params\":{\"id\":1,\"n\":2}}\n{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}\n")
        .await;
    for n in 3..6 {
        client.expect(&item(1, n)).await;
    }
    // The end needs no credit.
    client.expect("{\"id\":1,\"code\":0}").await;
    settle().await;
    assert_eq!((probe.started(), probe.running()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn credit_for_each_item_that_was_sent_is_no_flood_and_more_of_it_is() {
    let config = Config::default().with(|config| config.throttle.frames_per_second = 10);
    let (server, _) = server(config).await;
    let mut client = server.connect();
    let credit = "{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}\n";
    client
        .send(call(1, COUNT, "\"params\":{},\"credit\":1"))
        .await;
    for n in 0..1_000 {
        client.expect(&item(1, n)).await;
        client.send(credit).await;
    }
    client.expect(&item(1, 1_000)).await;
    assert_eq!(server.stats().limits.cheap_frame_pauses, 0);

    let nothing = "{\"cmdid\":5,\"params\":{\"id\":1,\"n\":0}}\n";
    client.send(nothing.repeat(20)).await;
    settle().await;
    assert_eq!(server.stats().limits.cheap_frame_pauses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cancelled_ends_with_code_1_and_is_dropped() {
    let (server, probe) = server(Config::default()).await;
    let mut client = server.connect();
    // One waits for credit, one for its next item.
    client
        .send(call(1, COUNT, "\"params\":{},\"credit\":1"))
        .await;
    client.expect(&item(1, 0)).await;
    client
        .send(call(2, SCRIPT, "\"params\":[5,\"wait\"]"))
        .await;
    client.expect(&item(2, 5)).await;
    assert_eq!(probe.running(), 2);
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    client.expect_code(1, 1).await;
    client
        .send("{\"cmdid\":4,\"params\":{\"id\":2}}\n{\"cmdid\":5,\"params\":{\"id\":1,\"n\":5}}\n")
        .await;
    client.expect_code(2, 1).await;
    client.expect_silence_for(Duration::from_secs(60)).await;
    assert_eq!(probe.running(), 0);
    // Both ids are free.
    client
        .send(call(1, COUNT, "\"params\":{\"to\":0}") + &call(2, COUNT, "\"params\":{\"to\":0}"))
        .await;
    client.expect("{\"id\":1,\"code\":0}").await;
    client.expect("{\"id\":2,\"code\":0}").await;
}

#[tokio::test(start_paused = true)]
async fn the_callers_timeout_ends_a_stream_and_the_servers_limit_does_not() {
    let config = Config::default().with(|config| config.timeouts.handler_timeout_ms = 1_000);
    let (server, probe) = server(config).await;
    let mut client = server.connect();
    let start = Instant::now();
    client
        .send(call(
            1,
            COUNT,
            "\"params\":{\"every_ms\":400},\"timeout_ms\":900",
        ))
        .await;
    client.expect(&item(1, 0)).await;
    client.expect(&item(1, 1)).await;
    client.expect_code(1, 4).await;
    assert_eq!(start.elapsed().as_millis(), 900);
    settle().await;
    assert_eq!(probe.running(), 0);
    client
        .send(call(1, COUNT, "\"params\":{\"every_ms\":400,\"to\":100}"))
        .await;
    for n in 0..100 {
        client.expect(&item(1, n)).await;
    }
    client.expect("{\"id\":1,\"code\":0}").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_credit_past_its_timeout_ends() {
    let (server, probe) = server(Config::default()).await;
    let mut client = server.connect();
    client
        .send(call(
            1,
            COUNT,
            "\"params\":{},\"credit\":0,\"timeout_ms\":5000",
        ))
        .await;
    client
        .expect_silence_for(Duration::from_millis(4_999))
        .await;
    client.expect_code(1, 4).await;
    settle().await;
    assert_eq!(probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_item_over_the_reply_limit_ends_its_stream() {
    let config = Config::default().with(|config| config.limits.reply_bytes_max = 100);
    let (server, probe) = server(config).await;
    let mut client = server.connect();
    let fits = format!("\"{}\"", "x".repeat(98));
    let end = "{\"code\":0,\"more\":true,\"data\":";
    for id in [Some(1), None] {
        let (field, head) = match id {
            Some(id) => (format!("\"id\":{id},"), item(id, &fits)),
            None => (String::new(), format!("{end}{fits}}}")),
        };
        client
            .send(format!(
                "{{{field}\"cmdid\":{STRINGS},\"params\":[100,101,5,6]}}\n{PING}"
            ))
            .await;
        // Behind a stream with an id, the ping may overtake.
        let mut came = [
            client.line().await,
            client.line().await,
            client.line().await,
        ];
        came.sort_by_key(|line| line.contains("ping"));
        assert_eq!(came[0].trim_end(), head);
        assert!(
            came[1].contains("\"code\":8") && came[1].contains("`limits.reply_bytes_max` is 100"),
            "{}",
            came[1]
        );
        assert_eq!(came[2].trim_end(), PONG);
        client.expect_silence_for(Duration::from_secs(60)).await;
        assert_eq!(probe.running(), 0, "the rest of the stream is dropped");
    }
    client.send(PING).await;
    client.expect(PONG).await;
}

#[tokio::test(start_paused = true)]
async fn an_item_that_fails_is_the_end_of_its_stream() {
    let (server, probe) = server(Config::default()).await;
    let mut client = server.connect();
    client
        .send(call(1, SCRIPT, "\"params\":[1,\"fail\",2]"))
        .await;
    client.expect(&item(1, 1)).await;
    client
        .expect("{\"id\":1,\"code\":1234,\"message\":\"told to fail\"}")
        .await;
    client.expect_silence_for(Duration::from_secs(60)).await;
    assert_eq!(probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_panics_ends_only_its_stream_with_code_13() {
    let (server, probe) = server(Config::default()).await;
    let mut client = server.connect();
    client.send(call(1, SCRIPT, "\"params\":[\"wait\"]")).await;
    client
        .send(call(2, SCRIPT, "\"params\":[1,\"panic\",2]"))
        .await;
    client.expect(&item(2, 1)).await;
    let reply = client.expect_code(2, 13).await;
    assert!(!reply.to_string().contains("secret"), "{reply}");
    client.send(PING).await;
    client.expect(PONG).await;
    client
        .send(format!(
            "{{\"cmdid\":{SCRIPT},\"params\":[\"panic\"]}}\n{PING}"
        ))
        .await;
    client.expect_code(None, 13).await;
    client.expect(PONG).await;
    assert_eq!(probe.running(), 1, "the other stream goes on");
}

#[tokio::test(start_paused = true)]
async fn an_ordered_stream_holds_its_place_and_cannot_be_starved_for_ever() {
    let (server, _) = server(Config::default()).await;
    let mut client = server.connect();
    client
        .send(format!(
            "{{\"cmdid\":{COUNT},\"params\":{{\"to\":2,\"every_ms\":50}}}}\n{PING}"
        ))
        .await;
    client.expect("{\"code\":0,\"more\":true,\"data\":0}").await;
    client.expect("{\"code\":0,\"more\":true,\"data\":1}").await;
    client.expect("{\"code\":0}").await;
    client.expect(PONG).await;
    // It has no name to give it more by.
    client
        .send(format!(
            "{{\"cmdid\":{COUNT},\"params\":{{\"to\":2}},\"credit\":1}}\n{PING}"
        ))
        .await;
    client.expect("{\"code\":0,\"more\":true,\"data\":0}").await;
    client.expect_code(None, 8).await;
    client.expect(PONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_starved_stream_ends_when_the_peer_can_send_no_more_credit() {
    let (server, probe) = server(Config::default()).await;
    let mut client = server.connect();
    client
        .send(call(1, COUNT, "\"params\":{\"to\":3},\"credit\":1"))
        .await;
    client
        .send(call(2, COUNT, "\"params\":{\"to\":3},\"credit\":9"))
        .await;
    client.half_close().await;
    let came = client.read_to_end().await;
    let lines: Vec<_> = came
        .lines()
        .filter(|line| line.starts_with("{\"id\":1,"))
        .collect();
    assert_eq!(lines[0], item(1, 0));
    assert!(
        lines[1].starts_with("{\"id\":1,\"code\":8,") && lines.len() == 2,
        "{came}"
    );
    assert!(came.contains("{\"id\":2,\"code\":0}\n"), "{came}");
    assert_eq!(probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_delays_neither_its_own_connection_nor_another() {
    for soft_max in [2 * 1024 * 1024, 8_000] {
        let config =
            Config::default().with(|config| config.limits.output_bytes_soft_max = soft_max);
        let (server, probe) = server(config).await;
        let mut client = server.connect();
        client.send(call(1, COUNT, "\"params\":{}")).await;
        client.expect(&item(1, 0)).await;
        let mut other = server.connect();
        other.send(PING).await;
        other.expect(PONG).await;
        client.send("{\"id\":2,\"cmdid\":0,\"params\":1}\n").await;
        let mut items = 0;
        while client.reply().await["id"] != 2 {
            items += 1;
            // What the pipe and the output held before it.
            assert!(items < 10_000, "with a soft limit of {soft_max}");
        }
        drop(client);
        settle().await;
        let left = (probe.running(), server.stats().connections_open);
        assert_eq!(left, (0, 1), "a lost peer ends its stream");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_for_a_peer_that_takes_all_that_waits_at_once() {
    // The pipe takes more than a stream ever has waiting.
    for (soft_max, pipe) in [(8_000, 256 * 1024), (2 * 1024 * 1024, 256 * 1024)] {
        let config =
            Config::default().with(|config| config.limits.output_bytes_soft_max = soft_max);
        let (server, _) = server(config).await;
        let mut client = server.connect_through(pipe);
        client
            .send(call(1, COUNT, "\"params\":{\"to\":20000}"))
            .await;
        for n in 0..20_000 {
            client.expect(&item(1, n)).await;
        }
        client.expect("{\"id\":1,\"code\":0}").await;
    }
}

#[tokio::test(start_paused = true)]
async fn credit_and_cancel_reach_streams_that_use_up_the_calls_in_flight() {
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let (server, probe) = server(config).await;
    let mut client = server.connect();
    client
        .send(call(1, COUNT, "\"params\":{\"to\":2},\"credit\":1"))
        .await;
    client
        .send(call(2, COUNT, "\"params\":{\"to\":2},\"credit\":1"))
        .await;
    client.expect(&item(1, 0)).await;
    client.expect(&item(2, 0)).await;
    settle().await;
    client
        .send("\n\r\n{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}\n")
        .await;
    client.expect(&item(1, 1)).await;
    client.expect("{\"id\":1,\"code\":0}").await;
    client
        .send(call(1, COUNT, "\"params\":{\"to\":2},\"credit\":1"))
        .await;
    client.expect(&item(1, 0)).await;
    settle().await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":2}}\n").await;
    client.expect_code(2, 1).await;
    client.half_close().await;
    client.expect_code(1, 8).await;
    client.expect_end().await;
    assert_eq!(probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn streams_that_take_all_places_shut_no_call_out_and_end_with_their_peer() {
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let (server, _) = server(config).await;
    let mut client = server.connect();
    let stream = |id: u64| {
        format!("{{\"id\":{id},\"cmdid\":{COUNT},\"credit\":0,\"params\":{{\"to\":1}}}}\n")
    };
    client.send(stream(1) + &stream(2) + &stream(3)).await;
    let refused = client.expect_code(3, 8).await;
    assert_eq!(refused["rejected"], true);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`admission.in_flight_per_connection`, 2 calls")
    );
    // What lets the streams go on follows it, and is read.
    client
        .send("{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}\n")
        .await;
    client
        .expect("{\"id\":1,\"code\":0,\"more\":true,\"data\":0}")
        .await;
    client.expect("{\"id\":1,\"code\":0}").await;
    client.send(stream(4) + &stream(5)).await;
    client.expect_code(5, 8).await;
    client.half_close().await;
    let mut ended = [
        client.reply().await["id"].as_u64(),
        client.reply().await["id"].as_u64(),
    ];
    ended.sort_unstable();
    assert_eq!(ended, [Some(2), Some(4)]);
    client.expect_end().await;
}
