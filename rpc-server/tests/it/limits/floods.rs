//! Floods of lines that lead to nothing.

use std::time::Duration;

use rpc_server::Config;
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, Rig, SLEEP};
use crate::support::{Client, TestServer, call, settle};

/// A thousand times this number of lines is far more than a server takes that slows them down.
const FLOOD: usize = 1_000;

/// Floods with one line until the server ends its side; returns what it said last.
async fn flood(client: &mut Client<tokio::io::DuplexStream>, line: &str) -> String {
    use tokio::io::AsyncWriteExt;
    let (read, mut write) = tokio::io::split(&mut client.io);
    let lines = line.repeat(1_000);
    let writes = async {
        for _ in 0..FLOOD {
            // It ends with the connection.
            if write.write_all(lines.as_bytes()).await.is_err() {
                return;
            }
        }
        panic!("the server has taken all of it: {line}");
    };
    let reads = async {
        let mut last = String::new();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(read));
        while let Ok(Some(line)) = lines.next_line().await {
            last = line;
        }
        last
    };
    let mut reads = std::pin::pin!(reads);
    tokio::select! {
        biased;
        last = &mut reads => return last,
        () = writes => {}
    }
    reads.await
}

#[tokio::test(start_paused = true)]
async fn floods_of_lines_that_lead_to_nothing_are_slowed_down_and_then_closed() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.throttle.frames_per_second = 1_000;
        config.admission.in_flight_max = 1;
        config.timeouts.handler_timeout_ms = 600_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut holder = server.connect();
    holder.send(call(1, HOLD, "")).await;
    settle().await;
    for (n, line) in [
        "\n".to_owned(),
        "{\"cmdid\":0}\n".to_owned(),
        call(5, 4, "\"params\":{\"id\":77}"),
        call(5, 5, "\"params\":{\"id\":77,\"n\":1}"),
        call(5, ECHO, "\"oneway\":true"),
    ]
    .into_iter()
    .enumerate()
    {
        let (begun, requests) = (Instant::now(), server.stats().requests);
        let mut client = server.connect();
        // It has to be heard once, so that the end is not that of a bad beginning.
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        let last = flood(&mut client, &line).await;
        assert!(
            last.starts_with(
                "{\"code\":8,\"message\":\"more cheap lines than `throttle.frames_per_second` (1000)"
            ),
            "{line}: {last}"
        );
        assert_eq!(begun.elapsed().as_secs(), 10, "{line}");
        let requests = server.stats().requests - requests;
        assert!(
            if line == "\n" {
                requests == 1
            } else {
                (10_000..12_500).contains(&requests)
            },
            "{line}: {requests}"
        );
        let limits = server.stats().limits;
        assert_eq!(limits.cheap_frame_closures, n as u64 + 1);
        assert!(
            limits.cheap_frame_pauses >= 90 * (n as u64 + 1),
            "{limits:?}"
        );
    }
    // The others have not noticed.
    rig.gate.let_pass(1);
    holder.expect("{\"id\":1,\"code\":0}").await;
}

#[tokio::test(start_paused = true)]
async fn bad_lines_calls_without_time_and_calls_with_wrong_params_are_slowed_down_too() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.throttle.frames_per_second = 100;
        config.throttle.timeout_ms = 2_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    for line in [
        // A bad id does not count as a bad line in a row; others do not where good lines come between them.
        "{\"id\":-1,\"cmdid\":100}\n".to_owned(),
        "no JSON\n".to_owned() + &call(1, ECHO, ""),
        call(1, ECHO, "\"timeout_ms\":0"),
        call(1, SLEEP, "\"params\":\"no number\""),
        call(1, SLEEP, "\"params\":\"no number\",\"oneway\":true"),
    ] {
        let begun = Instant::now();
        let mut client = server.connect();
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        let last = flood(&mut client, &line).await;
        assert!(
            last.contains("more cheap lines than `throttle.frames_per_second` (100)"),
            "{line}: {last}"
        );
        assert_eq!(begun.elapsed().as_secs(), 2, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_commands_and_calls_that_are_cancelled_at_once_are_slowed_down_too() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.throttle.frames_per_second = 100;
        config.throttle.timeout_ms = 2_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let reset = call(1, HOLD, "") + &call(2, 4, "\"params\":{\"id\":1}");
    for line in [call(1, 99_999, "\"params\":{}"), reset] {
        let begun = Instant::now();
        let mut client = server.connect();
        assert!(
            flood(&mut client, &line)
                .await
                .contains("`throttle.frames_per_second` (100)"),
            "{line}"
        );
        assert_eq!(begun.elapsed().as_secs(), 2, "{line}");
    }
    assert!(rig.probe.started() < 400, "{}", rig.probe.started());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_slowed_down_is_logged_once_and_stats_tells_it_how_often_it_was() {
    let (logged, server) = (
        crate::logged::Logged::begin(),
        TestServer::with(
            Config::default().with(|config| config.throttle.frames_per_second = 100),
            Rig::new().router(),
        )
        .await,
    );
    let mut client = server.connect();
    let stats = client.ask("{\"cmdid\":3}").await;
    assert_eq!(stats["data"]["connection"]["held_back"], 0, "{stats}");

    client.send("{\"cmdid\":0}\n".repeat(150)).await;
    for _ in 0..150 {
        client.reply().await;
    }
    let stats = client.ask("{\"cmdid\":3}").await;
    let held_back = stats["data"]["connection"]["held_back"].as_u64().unwrap();
    assert!((4..=7).contains(&held_back), "{stats}");

    let text = logged.text();
    let lines = text
        .lines()
        .filter(|line| line.contains("read from more slowly"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(
        lines[0].contains("peer=pipe") && lines[0].contains("`throttle.frames_per_second`"),
        "{}",
        lines[0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_within_the_rate_of_cheap_lines_is_never_slowed_down() {
    let server = TestServer::with(
        Config::default().with(|config| config.throttle.frames_per_second = 100),
        Rig::new().router(),
    )
    .await;
    let mut client = server.connect();
    for _ in 0..3_000 {
        assert_eq!(client.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.stats().limits.cheap_frame_pauses, 0);
}
