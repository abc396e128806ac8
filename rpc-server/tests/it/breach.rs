//! Lines that break the protocol: what they end, and what goes on.

use std::time::Duration;

use rpc_server::Config;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, Rig, filled};
use crate::support::{Client, TestServer, call, settle};

/// Lines of at most 1,000 bytes.
fn short_lines() -> Config {
    Config::default().with(|config| config.limits.frame_bytes_max = 1_000)
}

fn too_long(id: u64) -> String {
    call(id, ECHO, &format!("\"params\":{}", filled(5_000)))
}

#[tokio::test(start_paused = true)]
async fn a_line_over_the_limit_is_skipped_and_the_calls_beside_it_go_on() {
    let rig = Rig::new();
    let server = TestServer::with(short_lines(), rig.router()).await;
    let mut client = server.connect();

    client
        .send(call(1, HOLD, "") + &too_long(2) + &call(3, ECHO, ""))
        .await;
    let refused = client.expect_code(Some(2), 8).await;
    assert!(
        refused["rejected"].is_null(),
        "sending it again does not help: {refused}"
    );
    client.expect("{\"id\":3,\"code\":0,\"data\":{}}").await;

    rig.gate.let_pass(1);
    client.expect("{\"id\":1,\"code\":0}").await;
    assert_eq!(server.stats().limits.frames_too_long, 1);
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_line_over_the_limit_without_id_takes_its_turn() {
    let rig = Rig::new();
    let server = TestServer::with(short_lines(), rig.router()).await;
    let mut client = server.connect();

    let too_long = format!("{{\"cmdid\":{ECHO},\"params\":{}}}\n", filled(5_000));
    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n") + &too_long + "{\"cmdid\":0}\n")
        .await;
    client.expect_silence_for(Duration::from_secs(1)).await;

    rig.gate.let_pass(1);
    client.expect("{\"code\":0}").await;
    client.expect_code(None, 8).await;
    client.expect("{\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_line_over_the_limit_must_come_in_time() {
    let rig = Rig::new();
    let server = TestServer::with(short_lines(), rig.router()).await;
    let mut client = server.connect();

    client.send(call(1, ECHO, "")).await;
    client.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;

    // It drips, and each drip is skipped.
    client.send(too_long(2).trim_end()).await;
    client.expect_code(Some(2), 8).await;
    for _ in 0..9 {
        client.send("x").await;
        client.expect_silence_for(Duration::from_secs(1)).await;
    }
    client.expect_end().await;
    assert_eq!(server.stats().limits.frame_timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn lines_over_the_limit_count_as_bad_lines() {
    let rig = Rig::new();
    let server = TestServer::with(short_lines(), rig.router()).await;

    let mut first = server.connect();
    first.send(too_long(1) + &call(2, ECHO, "")).await;
    first.expect_code(Some(1), 8).await;
    first.expect_end().await;

    let mut many = server.connect();
    let lines: String = (1..=16).map(too_long).collect();
    many.send(call(0, ECHO, "") + &lines + &call(17, ECHO, ""))
        .await;
    many.expect("{\"id\":0,\"code\":0,\"data\":{}}").await;
    for id in 1..=16 {
        many.expect_code(Some(id), 8).await;
    }
    many.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn where_calls_are_in_flight_what_still_comes_after_a_breach_is_rejected() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();

    client.send(call(1, HOLD, "") + &call(1, ECHO, "")).await;
    client.expect_code(None, 3).await;
    assert_eq!(client.reply().await["event"], "goaway");

    // Each good line gives those behind it time to come; bad ones are dropped.
    for id in 2..5 {
        client
            .send(call(id, ECHO, "") + "no request\n" + &call(1, ECHO, ""))
            .await;
        let rejected = client.expect_code(Some(id), 14).await;
        assert_eq!(rejected["rejected"], true, "{rejected}");
        client.expect_silence_for(Duration::from_millis(400)).await;
    }
    client.send(call(9, 0, "")).await;
    client.expect_code(Some(9), 0).await;

    // No more is read after that, and what was accepted is answered.
    client.expect_silence_for(Duration::from_secs(1)).await;
    client.send(call(5, ECHO, "")).await;
    rig.gate.let_pass(1);
    client.expect("{\"id\":1,\"code\":0}").await;
    client.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_breach_is_over_after_the_drain_s_time_however_much_comes() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.drain.timeout_ms = 2_000);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();

    client.send(call(1, HOLD, "") + &call(1, ECHO, "")).await;
    client.expect_code(None, 3).await;
    assert_eq!(client.reply().await["event"], "goaway");

    let mut rejected = 0;
    for id in 2..100 {
        client.send(call(id, ECHO, "")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        rejected = id;
        if server.stats().requests < id {
            break;
        }
    }
    assert!((15..25).contains(&rejected), "{rejected}");

    rig.gate.let_pass(1);
    settle().await;
    let text = client.read_to_end().await;
    let last = text.lines().last().unwrap();
    assert_eq!(last, "{\"id\":1,\"code\":0}");
}

#[tokio::test(start_paused = true)]
async fn a_client_without_ids_is_not_sent_a_notice() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();

    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n") + &"no request\n".repeat(16))
        .await;
    settle().await;
    client.send(format!("{{\"cmdid\":{ECHO}}}\n")).await;
    settle().await;

    rig.gate.let_pass(1);
    client.expect("{\"code\":0}").await;
    for _ in 0..16 {
        client.expect_code(None, 3).await;
    }
    assert_eq!(client.expect_code(None, 14).await["rejected"], true);
    client.expect_end().await;
}

/// Sends a part of a line over the limit each half second, this often or until the server takes no more.
async fn drip(client: &mut Client<DuplexStream>, times: u32) {
    for _ in 0..times {
        if client.io.write_all(&[b'x'; 1_000]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_still_sends_when_it_is_refused_is_read_to_its_end() {
    let rig = Rig::new();
    let server = TestServer::with(short_lines(), rig.router()).await;
    let mut client = server.connect();
    client.send([b'x'; 2_000]).await;
    client.expect_code(None, 8).await;

    // A socket that is closed with something unread takes back what was written to it.
    drip(&mut client, 15).await;
    client.send("\n").await;
    let silent_since = Instant::now();
    client.expect_end().await;
    assert!(silent_since.elapsed() < Duration::from_millis(1_200));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_on_and_on_when_it_is_refused_is_closed_after_the_time_of_a_line() {
    let rig = Rig::new();
    let mut server = TestServer::with(short_lines(), rig.router()).await;
    let mut client = server.connect();
    client.send([b'x'; 2_000]).await;
    let begun = Instant::now();
    drip(&mut client, 100).await;
    let seconds = begun.elapsed().as_secs();
    assert!((10..13).contains(&seconds), "{seconds} s");

    let mut client = server.connect();
    client.send([b'x'; 2_000]).await;
    client.expect_code(None, 8).await;
    server.begin_to_drain();
    let begun = Instant::now();
    drip(&mut client, 100).await;
    let seconds = begun.elapsed().as_secs();
    assert!(seconds < 3, "a drain is held up for {seconds} s");
    assert!(server.drained().await.is_clean);
}
