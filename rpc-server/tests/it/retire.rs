//! Connections that have served long enough: told to go elsewhere, served to their last request, and closed.

use std::time::Duration;

use futures::future::join_all;
use rpc_server::{Config, Reply, Router};
use tokio::io::DuplexStream;
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, Rig, SLEEP};
use crate::support::{Client, TestServer, call, settle};

const GOAWAY: &str =
    "{\"event\":\"goaway\",\"message\":\"this connection has reached its maximum age";

fn aged(connection_age_max_ms: u64) -> Config {
    Config::default().with(|config| {
        config.drain.connection_age_max_ms = connection_age_max_ms;
        config.drain.timeout_ms = 3_000;
        config.drain.goaway_grace_ms = 500;
    })
}

/// Uses an id, so that a notice is understood.
async fn speak(client: &mut Client<DuplexStream>) {
    client.send("{\"id\":1,\"cmdid\":0}\n").await;
    client.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;
}

async fn expect_goaway(client: &mut Client<DuplexStream>) {
    let line = client.line().await;
    assert!(line.starts_with(GOAWAY), "{line}");
}

#[tokio::test(start_paused = true)]
async fn past_its_age_a_connection_gets_goaway_and_what_still_comes_is_answered() {
    let rig = Rig::new();
    let server = TestServer::with(aged(60_000), rig.router()).await;
    let mut client = server.connect();
    speak(&mut client).await;
    expect_goaway(&mut client).await;
    for n in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.send(call(n, ECHO, "")).await;
        client.expect_code(n, 0).await;
    }
    let last = Instant::now();
    client.expect_end().await;
    assert_eq!(
        last.elapsed().as_millis() / 10,
        50,
        "closed a grace after the last request"
    );
    assert_eq!(server.stats().connections_retired, 1);
}

#[tokio::test(start_paused = true)]
async fn connections_that_began_together_go_apart() {
    let server = TestServer::with(aged(100_000), Rig::new().router()).await;
    let begun = Instant::now();
    let ages = join_all((0..200).map(|_| async {
        let mut client = server.connect();
        speak(&mut client).await;
        expect_goaway(&mut client).await;
        begun.elapsed().as_secs_f64()
    }));
    let ages = ages.await;
    let (least, most) = (
        ages.iter().copied().fold(f64::MAX, f64::min),
        ages.iter().copied().fold(0.0, f64::max),
    );
    assert!(
        (89.9..93.0).contains(&least) && (107.0..110.1).contains(&most),
        "{least} to {most}"
    );
    let early = ages.iter().filter(|age| **age < 100.0).count();
    assert!(
        (60..140).contains(&early),
        "{early} of 200 in the first half"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_end_before_the_connection_does() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let mut client = server.connect();
    client
        .send(
            call(1, SLEEP, "\"params\":{\"ms\":2500}") + &call(2, SLEEP, "\"params\":{\"ms\":50}"),
        )
        .await;
    client.expect("{\"id\":2,\"code\":0,\"data\":50}").await;
    expect_goaway(&mut client).await;
    client.expect("{\"id\":1,\"code\":0,\"data\":2500}").await;
    client.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn without_ids_there_is_no_notice_and_the_end_comes_between_calls() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let (mut busy, mut idle) = (server.connect(), server.connect());
    idle.send("{\"cmdid\":0}\n").await;
    idle.expect("{\"code\":0,\"data\":{}}").await;
    // One at work and one that waits for its turn when the time comes.
    busy.send(format!("{{\"cmdid\":{HOLD}}}\n").repeat(2)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let start = Instant::now();
    idle.expect_end().await;
    assert_eq!(start.elapsed().as_millis(), 0, "it had ended already");
    rig.gate.let_pass(2);
    busy.expect("{\"code\":0}").await;
    busy.expect("{\"code\":0}").await;
    busy.expect_end().await;
    assert_eq!(server.stats().connections_retired, 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_not_ended_by_its_age() {
    let server = TestServer::with(aged(1_000), Rig::new().router()).await;
    let mut silent = server.connect();
    silent.expect_silence_for(Duration::from_secs(86_400)).await;
    assert_eq!(server.stats().connections_retired, 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_past_its_age_is_ended_by_its_other_limits_and_by_a_drain() {
    let router = || Rig::new().router();
    let config = aged(1_000).with(|config| config.timeouts.idle_timeout_ms = 5_000);
    let server = TestServer::with(config, router()).await;
    let mut silent = server.connect();
    silent
        .expect_silence_for(Duration::from_millis(4_990))
        .await;
    silent.expect_end().await;
    let stats = server.stats();
    assert_eq!(
        (stats.connections_retired, stats.limits.idle_timeouts),
        (1, 1)
    );

    let config = aged(1_000).with(|config| config.accept.first_frame_timeout_ms = 5_000);
    let server = TestServer::with(config, router()).await;
    let mut silent = server.connect();
    silent
        .expect_silence_for(Duration::from_millis(4_990))
        .await;
    silent.expect_code(None, 4).await;
    silent.expect_end().await;
    assert_eq!(server.stats().limits.first_frame_timeouts, 1);

    let mut server = TestServer::with(aged(1_000), router()).await;
    let mut silent = server.connect();
    silent
        .expect_silence_for(Duration::from_millis(1_200))
        .await;
    server.begin_to_drain();
    silent.expect_end().await;
    assert!(server.drained().await.is_clean);
}

#[tokio::test(start_paused = true)]
async fn a_first_call_that_comes_after_the_age_is_answered_and_then_told_goodbye() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let (mut quick, mut slow) = (server.connect(), server.connect());
    tokio::time::sleep(Duration::from_millis(1_200)).await;

    slow.send(call(1, HOLD, "")).await;
    expect_goaway(&mut slow).await;
    quick.send(call(1, ECHO, "")).await;
    quick.expect_code(1, 0).await;
    expect_goaway(&mut quick).await;

    // What still comes is answered as well, and nothing is said twice.
    tokio::time::sleep(Duration::from_millis(400)).await;
    quick.send(call(2, ECHO, "")).await;
    quick.expect_code(2, 0).await;
    let last = Instant::now();
    quick.expect_end().await;
    assert_eq!(
        last.elapsed().as_millis() / 10,
        50,
        "closed a grace after the last request"
    );

    rig.gate.let_pass(1);
    slow.expect("{\"id\":1,\"code\":0}").await;
    slow.expect_end().await;
    assert_eq!(server.stats().connections_retired, 2);
}

#[tokio::test(start_paused = true)]
async fn first_calls_without_ids_that_come_after_the_age_are_answered_before_the_end() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let mut client = server.connect();
    tokio::time::sleep(Duration::from_millis(1_200)).await;

    // Neither an empty line nor one whose only fault is its `id` is a good one.
    client.send("\n{\"id\":-1,\"cmdid\":0}\n").await;
    client.expect_code(None, 3).await;
    client.expect_silence_for(Duration::from_secs(60)).await;

    client.send("{\"cmdid\":0}\n".repeat(3)).await;
    for _ in 0..3 {
        client.expect("{\"code\":0,\"data\":{}}").await;
    }
    client.expect_end().await;
    assert_eq!(server.stats().connections_retired, 1);
}

#[tokio::test(start_paused = true)]
async fn after_its_number_of_requests_a_connection_goes() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.drain.requests_per_connection_max = 3);
    let server = TestServer::with(config, rig.router()).await;
    let (mut multiplexed, mut ordered) = (server.connect(), server.connect());
    for n in 0..2 {
        multiplexed.send(call(n, ECHO, "")).await;
        multiplexed.expect_code(n, 0).await;
    }
    multiplexed
        .expect_silence_for(Duration::from_secs(3_600))
        .await;
    multiplexed
        .send(call(2, ECHO, "") + &call(3, ECHO, ""))
        .await;
    multiplexed.expect_code(2, 0).await;
    multiplexed.expect_code(3, 0).await;
    expect_goaway(&mut multiplexed).await;
    multiplexed.expect_end().await;
    ordered.send("{\"cmdid\":0}\n".repeat(4)).await;
    for _ in 0..4 {
        ordered.expect("{\"code\":0,\"data\":{}}").await;
    }
    ordered.expect_end().await;
    assert_eq!(server.stats().connections_retired, 2);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_hear_is_rejected_in_the_end_and_never_left_unanswered() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let mut client = server.connect();
    speak(&mut client).await;
    expect_goaway(&mut client).await;
    let told = Instant::now();
    let mut n = 0;
    let rejected = loop {
        n += 1;
        client.send(call(n, ECHO, "")).await;
        let reply = client.reply().await;
        assert_eq!(reply["id"], n);
        if reply["code"] != 0 {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (&rejected["code"], &rejected["rejected"]),
        (&14.into(), &true.into())
    );
    let until = told.elapsed().as_millis() / 100;
    assert!(
        (30..=31).contains(&until),
        "{until}: the first request after `drain.timeout_ms`"
    );
    client.expect_end().await;
    assert_eq!(
        told.elapsed().as_millis() / 100,
        35,
        "after the grace of a drain"
    );
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_is_cut() {
    async fn forever() -> Reply {
        Reply::stream(futures::stream::repeat_with(|| Ok(1)))
    }
    let server = TestServer::with(aged(1_000), Router::new().route(100, forever).unwrap()).await;
    let mut client = server.connect();
    client.send(call(1, 100, "\"credit\":1")).await;
    client
        .expect("{\"id\":1,\"code\":0,\"more\":true,\"data\":1}")
        .await;
    expect_goaway(&mut client).await;
    let told = Instant::now();
    client.expect_code(1, 14).await;
    client.expect_end().await;
    assert_eq!(
        told.elapsed().as_millis() / 100,
        60,
        "`drain.timeout_ms` as it is, and again as in a drain"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_half_there_is_waited_for() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let (mut multiplexed, mut ordered) = (server.connect(), server.connect());
    speak(&mut multiplexed).await;
    multiplexed.send("{\"id\":7,\"cmd").await;
    ordered.send("{\"cmd").await;
    expect_goaway(&mut multiplexed).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    multiplexed.send("id\":0}\n").await;
    multiplexed
        .expect("{\"id\":7,\"code\":0,\"data\":{}}")
        .await;
    multiplexed.expect_end().await;
    ordered.send("id\":0}\n").await;
    ordered.expect("{\"code\":0,\"data\":{}}").await;
    ordered.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_comes_over_it_says_nothing_twice() {
    let rig = Rig::new();
    let mut server = TestServer::with(aged(1_000), rig.router()).await;
    let mut client = server.connect();
    client.send(call(1, HOLD, "")).await;
    expect_goaway(&mut client).await;
    server.begin_to_drain();
    settle().await;
    client.send(call(2, ECHO, "")).await;
    assert_eq!(client.expect_code(2, 14).await["rejected"], true);
    rig.gate.let_pass(1);
    client.expect("{\"id\":1,\"code\":0}").await;
    client.expect_end().await;
    assert!(server.drained().await.is_clean);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_first_uses_an_id_when_it_is_past_its_age_is_told_then() {
    let rig = Rig::new();
    let server = TestServer::with(aged(1_000), rig.router()).await;
    let mut client = server.connect();
    client.send(format!("{{\"cmdid\":{HOLD}}}\n")).await;
    // The call without id holds the connection; nothing can be said on it.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    client.send(call(1, ECHO, "")).await;
    expect_goaway(&mut client).await;
    client.expect_code(1, 0).await;
    rig.gate.let_pass(1);
    client.expect("{\"code\":0}").await;
    client.expect_end().await;
}
