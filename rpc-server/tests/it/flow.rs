//! Peers that read slowly or never, and more calls than one connection may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rpc_server::{Config, Params, Reply, Router, State, Status};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::rig::{ECHO, FILL, HOLD, Rig, filled};
use crate::support::{Client, TestServer, call, settle};

/// Small limits, so that little goes a long way.
fn tight() -> Config {
    Config::default().with(|config| {
        config.limits.reply_bytes_max = 192 * 1024;
        config.limits.output_bytes_soft_max = 64 * 1024;
        config.limits.output_bytes_hard_max = 256 * 1024;
    })
}

/// Sends the same line until it is no longer taken, and returns how many were.
async fn send_until_stuck(
    client: &mut Client<tokio::io::DuplexStream>,
    line: &str,
    most: usize,
) -> usize {
    for sent in 0..most {
        // The part of a line that was taken when the rest was not does not matter here.
        if timeout(
            Duration::from_millis(10),
            client.io.write_all(line.as_bytes()),
        )
        .await
        .is_err()
        {
            return sent;
        }
    }
    panic!("the server has taken all {most} lines");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_not_read_from_past_the_soft_limit() {
    let rig = Rig::new();
    let server = TestServer::with(tight(), rig.router()).await;
    let mut client = server.connect_through(1024);
    let line = format!("{{\"cmdid\":{ECHO},\"params\":{}}}\n", filled(1000));
    let sent = send_until_stuck(&mut client, &line, 1_000).await;
    // 64 KiB of replies wait, 64 KiB at most were read with the last one, and the pipes hold 1 KiB.
    assert!((64..=132).contains(&sent), "{sent}");
    assert!(server.stats().bytes_in <= 132 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_cut_after_the_stall_timeout_and_others_are_not() {
    let rig = Rig::new();
    let server = TestServer::with(tight(), rig.router()).await;
    let mut slow = server.connect_through(1024);
    slow.send(call(1, HOLD, "")).await;
    let start = Instant::now();
    slow.send(call(2, ECHO, &format!("\"params\":{}", filled(4_000))))
        .await;
    let mut other = server.connect();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        other.send("{\"cmdid\":0,\"params\":1}\n").await;
        other.expect("{\"code\":0,\"data\":1}").await;
    }
    assert_eq!(
        (rig.probe.running(), server.stats().connections_open),
        (1, 2)
    );
    tokio::time::sleep_until(start + Duration::from_millis(10_010)).await;
    assert_eq!(
        (rig.probe.running(), server.stats().connections_open),
        (0, 1),
        "cut, and its call cancelled"
    );
    other.send("{\"cmdid\":0,\"params\":1}\n").await;
    other.expect("{\"code\":0,\"data\":1}").await;
    // What the pipe held is all that ever comes.
    assert_eq!(slow.read_to_end().await.len(), 1024);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_but_steadily_is_not_cut() {
    let rig = Rig::new();
    let server = TestServer::with(tight(), rig.router()).await;
    let mut slow = server.connect_through(1024);
    slow.send(call(1, ECHO, &format!("\"params\":{}", filled(8_000))))
        .await;
    let mut came = Vec::new();
    while came.last() != Some(&b'\n') {
        tokio::time::sleep(Duration::from_millis(9_900)).await;
        let mut piece = [0; 1024];
        let read = tokio::io::AsyncReadExt::read(&mut slow.io, &mut piece)
            .await
            .unwrap();
        assert_ne!(read, 0, "cut after {} bytes", came.len());
        came.extend_from_slice(&piece[..read]);
    }
    assert!(came.len() > 8_000);
}

#[tokio::test(start_paused = true)]
async fn the_largest_reply_behind_the_most_that_may_wait_cuts_no_connection() {
    let rig = Rig::new();
    let server = TestServer::with(tight(), rig.router()).await;
    let mut client = server.connect_through(1024);
    let largest = tight().limits.reply_bytes_max;
    // The first reply leaves room below the soft limit for the second one, and that is all there may ever be.
    client
        .send(call(1, FILL, "\"params\":{\"bytes\":66000}"))
        .await;
    client
        .send(call(
            2,
            FILL,
            &format!("\"params\":{{\"bytes\":{largest}}}"),
        ))
        .await;
    settle().await;
    rig.gate.let_pass(2);
    settle().await;
    assert_eq!(
        client.expect_code(1, 0).await["data"]
            .as_str()
            .unwrap()
            .len(),
        65_998
    );
    assert_eq!(
        client.expect_code(2, 0).await["data"]
            .as_str()
            .unwrap()
            .len(),
        largest - 2
    );
    assert_eq!(server.stats().limits.output_cuts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_over_the_hard_limit_cuts_the_connection_and_nothing_behind_it_runs() {
    /// Says so much that no limit of replies holds it.
    async fn fail(Params(bytes): Params<usize>) -> Result<(), Status> {
        Err(Status::internal("x".repeat(bytes)))
    }
    for (bytes, is_cut) in [(256 * 1024 - 10, false), (257 * 1024, true)] {
        let rig = Rig::new();
        let router = rig.router().route(200, fail).unwrap();
        let server = TestServer::with(tight(), router).await;
        let mut client = server.connect_through(1024);
        let all = call(1, 200, &format!("\"params\":{bytes}")) + &call(2, HOLD, "");
        client.send(all).await;
        settle().await;
        assert_eq!(server.stats().limits.output_cuts, u64::from(is_cut));
        assert_eq!(server.stats().connections_open, u64::from(!is_cut));
        rig.gate.let_pass(1);
        client.half_close().await;
        let came = client.read_to_end().await;
        assert!(if is_cut {
            came.len() <= 1024
        } else {
            came.ends_with("{\"id\":2,\"code\":0}\n")
        });
        assert_eq!(rig.probe.started(), usize::from(!is_cut));
    }
}

#[tokio::test(start_paused = true)]
async fn replies_of_a_peer_that_does_not_read_wait_with_their_calls() {
    let rig = Rig::new();
    let server = TestServer::with(tight(), rig.router()).await;
    let mut client = server.connect_through(1024);
    for id in 0..100 {
        client
            .send(call(id, FILL, "\"params\":{\"bytes\":32000}"))
            .await;
    }
    settle().await;
    // Twelve times the hard limit, and three times the soft one is never there at one time.
    rig.gate.let_pass(100);
    tokio::time::sleep(Duration::from_secs(9)).await;
    for _ in 0..100 {
        assert_eq!(client.reply().await["code"], 0);
    }
    assert_eq!(rig.probe.finished(), 100);
}

#[tokio::test(start_paused = true)]
async fn replies_that_end_together_do_not_cut_a_peer_that_takes_them() {
    let rig = Rig::new();
    let server = TestServer::with(tight(), rig.router()).await;
    let mut client = server.connect_through(4 * 1024 * 1024);
    for id in 0..64 {
        client
            .send(call(id, FILL, "\"params\":{\"bytes\":32000}"))
            .await;
    }
    settle().await;
    rig.gate.let_pass(64);
    for _ in 0..64 {
        assert_eq!(client.reply().await["code"], 0);
    }
    client.send("{\"cmdid\":0,\"params\":1}\n").await;
    client.expect("{\"code\":0,\"data\":1}").await;
}

#[tokio::test(start_paused = true)]
async fn both_ends_write_and_neither_reads_and_yet_all_is_answered() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect_through(4 * 1024);
    let line = format!("{{\"cmdid\":{ECHO},\"params\":{}}}\n", filled(1000));
    // Far more than the pipes hold: the server reads on while its own writes wait.
    client.send(line.repeat(1_500)).await;
    client.send("{\"cmdid\":0,\"params\":\"end\"}\n").await;
    for _ in 0..1_500 {
        assert_eq!(
            client.line().await.len(),
            1000 + "{\"code\":0,\"data\":}\n".len()
        );
    }
    client.expect("{\"code\":0,\"data\":\"end\"}").await;
}

#[tokio::test(start_paused = true)]
async fn past_its_calls_in_flight_a_connection_waits_and_nothing_is_lost() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    let all: String = (0..100).map(|id| call(id, HOLD, "")).collect();
    client.send(all).await;
    for ended in 0..100 {
        settle().await;
        assert_eq!(rig.probe.started(), (ended + 2).min(100));
        rig.gate.let_pass(1);
        client.expect_code(u64::try_from(ended).unwrap(), 0).await;
    }
    assert_eq!((rig.probe.most(), rig.probe.finished()), (2, 100));
    client.half_close().await;
    client.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_its_limit_is_not_read_from_and_another_one_is() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 2);
    let server = TestServer::with(config, rig.router()).await;
    let mut full = server.connect_through(1024);
    full.send(call(1, HOLD, "") + &call(2, HOLD, "")).await;
    let sent = send_until_stuck(
        &mut full,
        &format!("{{\"cmdid\":{ECHO},\"params\":{}}}\n", filled(1000)),
        1_000,
    )
    .await;
    assert!(
        sent <= 70,
        "one read of 64 KiB and what the pipe holds: {sent}"
    );
    let mut other = server.connect();
    other.send("{\"cmdid\":0,\"params\":1}\n").await;
    other.expect("{\"code\":0,\"data\":1}").await;
}

#[tokio::test(start_paused = true)]
async fn ordered_calls_that_wait_for_their_turn_count_as_in_flight() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 3);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n").repeat(3))
        .await;
    client.send(call(1, ECHO, "")).await;
    client.expect_silence_for(Duration::from_secs(10)).await;
    rig.gate.let_pass(1);
    let mut replies = [client.line().await, client.line().await];
    replies.sort_unstable();
    assert_eq!(
        replies,
        ["{\"code\":0}\n", "{\"id\":1,\"code\":0,\"data\":{}}\n"]
    );
    assert_eq!(rig.probe.most(), 1);
}

/// Room for two and a half calls with params of 4,000 bytes.
fn few_bytes() -> Config {
    Config::default().with(|config| {
        config.limits.frame_bytes_max = 5_000;
        config.limits.output_bytes_soft_max = 5_000;
        config.limits.connection_bytes_max = 13_000;
    })
}

#[tokio::test(start_paused = true)]
async fn the_params_of_calls_in_flight_are_bounded_together() {
    let rig = Rig::new();
    let server = TestServer::with(few_bytes(), rig.router()).await;
    let mut client = server.connect();
    let hold = |id: u64| call(id, HOLD, &format!("\"params\":{}", filled(4_000)));

    client
        .send(hold(1) + &hold(2) + &hold(3) + &call(4, ECHO, ""))
        .await;
    // Three of them are over the limit, so that what follows is not looked at.
    client.expect_silence_for(Duration::from_secs(10)).await;
    assert_eq!(server.stats().in_flight, 3);
    assert_eq!(server.stats().limits.in_flight_pauses, 1);

    // What was counted is given back, and the connection reads on.
    rig.gate.let_pass(1);
    let mut replies = [client.line().await, client.line().await];
    replies.sort_unstable();
    assert_eq!(
        replies,
        [
            "{\"id\":1,\"code\":0}\n",
            "{\"id\":4,\"code\":0,\"data\":{}}\n"
        ]
    );

    // A cancel at the front of what was read needs no room, and makes some.
    client
        .send(hold(5) + "{\"cmdid\":4,\"params\":{\"id\":5}}\n")
        .await;
    client.expect_code(Some(5), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_has_room_for_one_however_large() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.limits.frame_bytes_max = 200_000;
        config.limits.connection_bytes_max = 300_000;
        config.limits.output_bytes_soft_max = 100_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect_through(1_024);

    let hold = |id: u64| call(id, HOLD, &format!("\"params\":{}", filled(190_000)));
    client.send(hold(1) + &hold(2)).await;
    rig.gate.let_pass(2);
    client.expect_code(Some(1), 0).await;
    client.expect_code(Some(2), 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_params_of_ordered_calls_that_wait_are_bounded_together() {
    let rig = Rig::new();
    let config = few_bytes();
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    let echo = format!("{{\"cmdid\":{ECHO},\"params\":{}}}\n", filled(4_000));
    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n") + &echo.repeat(3) + &call(1, ECHO, ""))
        .await;
    // Three of them are over the limit, so that what follows is not looked at.
    client.expect_silence_for(Duration::from_secs(10)).await;
    rig.gate.let_pass(1);
    client.expect("{\"code\":0}").await;
    for _ in 0..3 {
        assert_eq!(
            client.expect_code(None, 0).await["data"]
                .as_str()
                .unwrap()
                .len(),
            3_998
        );
    }
    client.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;
    // What was counted is given back.
    client.send(echo.repeat(10) + &call(1, ECHO, "")).await;
    for _ in 0..10 {
        client.expect_code(None, 0).await;
    }
    client.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_all_that_waits_at_once_is_served_on() {
    async fn fill(State(data): State<std::sync::Arc<str>>) -> Reply {
        Reply::raw(rpc_server::RawJson::parse(&data).unwrap())
    }
    let data = format!("\"{}\"", "x".repeat(998));
    let router = Router::with_state(std::sync::Arc::from(data))
        .route(100, fill)
        .unwrap();
    let config = Config::default().with(|config| config.limits.output_bytes_soft_max = 8_000);
    let server = TestServer::with(config, router).await;
    // The pipe takes more than the soft limit once it has been emptied.
    let mut client = server.connect_through(16_000);
    client.send("{\"cmdid\":100}\n".repeat(1_000)).await;
    for n in 0..1_000 {
        let came = client.line().await;
        assert_eq!(
            came.len(),
            1000 + "{\"code\":0,\"data\":}\n".len(),
            "reply {n}"
        );
        if n % 16 == 0 {
            settle().await;
        }
    }
}

/// What this process has in memory, in bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn what_a_peer_has_taken_is_not_kept_while_more_waits() {
    const REPLIES: usize = 4_000;
    async fn fill(State(data): State<std::sync::Arc<rpc_server::RawJson<'static>>>) -> Reply {
        Reply::raw(rpc_server::RawJson::clone(&data))
    }
    let data = std::sync::Arc::new(filled(100_000));
    let server = TestServer::start(Router::with_state(data).route(100, fill).unwrap()).await;
    let mut client = server.connect();
    client.send("{\"cmdid\":100}\n".repeat(REPLIES)).await;
    let before = resident_bytes();
    for _ in 0..REPLIES - 100 {
        client.line().await;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(
        grown < REPLIES * 100_000 / 3,
        "{grown} bytes more than before"
    );
}

#[tokio::test]
async fn a_peer_that_asks_for_much_at_once_does_not_keep_the_others_of_its_thread_waiting() {
    let executed = Arc::new(AtomicUsize::new(0));
    let router = Router::with_state(Arc::clone(&executed))
        .route(100, async |State(executed): State<Arc<AtomicUsize>>| {
            let begin = std::time::Instant::now();
            while begin.elapsed() < Duration::from_micros(100) {}
            executed.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap()
        .route(101, async |State(executed): State<Arc<AtomicUsize>>| {
            Ok::<_, Status>(executed.load(Ordering::SeqCst))
        })
        .unwrap();
    let server = TestServer::start(router).await;
    let (mut greedy, mut other) = (server.connect(), server.connect());
    other.ask(r#"{"cmdid":0}"#).await;
    greedy
        .send("{\"cmdid\":100,\"oneway\":true}\n".repeat(1_000))
        .await;
    // All of it lies in the pipe before the server has its next turn.
    assert_eq!(executed.load(Ordering::SeqCst), 0);
    let before = other.ask(r#"{"cmdid":101}"#).await["data"]
        .as_u64()
        .unwrap();
    assert!(
        before < 250,
        "{before} calls of another connection came first"
    );
}
