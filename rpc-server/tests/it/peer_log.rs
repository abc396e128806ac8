//! Log lines that peers can cause: some of each kind, and the number of the others.

use std::time::Duration;

use rpc_server::{AdminConfig, Config, Grants, LogThrottle, Router, Server};
use tracing::Level;

use crate::logged::Logged;
use crate::rig::{ECHO, Rig, SLEEP};
use crate::sockets::{connect, tcp};
use crate::support::{TestServer, call};

const CAUSES: u64 = 10_000;

/// Longer than the time in which lines are counted together.
const SECONDS: Duration = Duration::from_secs(3);

/// How many lines with `text` were written, and how many its summaries say were left out.
fn counts(logged: &Logged, text: &str, what: &str) -> (u64, u64) {
    let log = logged.text();
    let summary = format!("further lines were left out: {what}");
    let left_out = |line: &str| -> u64 {
        let (_, rest) = line.split_once("left_out=").expect("a summary has a count");
        rest.trim_end().parse().expect("it is a number")
    };

    let is_one = |line: &&str| line.contains(text) && !line.contains(&summary);
    let written = log.lines().filter(is_one).count() as u64;
    let summaries = log.lines().filter(|line| line.contains(&summary));
    (written, summaries.map(left_out).sum())
}

/// Of these causes `most` lines at most were written, and the others are counted to the last one.
#[track_caller]
fn check(logged: &Logged, text: &str, what: &str, most: u64) {
    let (written, left_out) = counts(logged, text, what);
    assert!(
        written > 0 && written <= most,
        "{written} lines of {text:?}, {left_out} left out"
    );
    assert_eq!(written + left_out, CAUSES, "{text:?}: {left_out} left out");
}

async fn server(config: Config) -> TestServer {
    let server = Server::builder()
        .config(config)
        .router(Rig::new().router())
        .admin(AdminConfig::default())
        .bind();
    TestServer::of(server.await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn oneway_calls_with_wrong_params_are_some_lines_and_a_count() {
    let (logged, server) = (Logged::begin(), server(Config::default()).await);
    let mut client = server.connect();

    let call = format!("{{\"cmdid\":{SLEEP},\"params\":\"no number\",\"oneway\":true}}\n");
    for _ in 0..CAUSES / 100 {
        client.send(call.repeat(100)).await;
    }
    assert_eq!(client.ask("{\"cmdid\":0}").await["code"], 0);
    tokio::time::sleep(SECONDS).await;

    check(
        &logged,
        "a oneway call failed",
        "oneway calls that failed",
        30,
    );
}

#[tokio::test(start_paused = true)]
async fn bad_first_lines_are_some_lines_and_a_count() {
    for (line, text, what) in [
        (
            "no JSON\n",
            "closed after bad frames",
            "connections that were closed after bad frames",
        ),
        (
            "POST / HTTP/1.1\r\n",
            "an HTTP request on an RPC port",
            "HTTP requests on an RPC port",
        ),
        (
            "\u{16}\u{3}\u{1}",
            "a TLS client hello",
            "TLS client hellos on a port without TLS",
        ),
    ] {
        // One without pages: with them, HTTP is answered as such.
        let logged = Logged::begin();
        let server = TestServer::start(Rig::new().router()).await;
        for _ in 0..CAUSES {
            let mut client = server.connect();
            client.send(line).await;
            client.half_close().await;
            client.read_to_end().await;
        }
        tokio::time::sleep(SECONDS).await;
        check(&logged, text, what, 30);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_commands_and_pages_for_other_names_are_some_lines_and_a_count() {
    let (logged, server) = (Logged::begin(), server(Config::default()).await);
    server.handle.set_grants(Some(Grants::default()));
    let call = format!("{{\"cmdid\":{ECHO}}}\n");
    let page = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";

    for line in [&*call, page] {
        for _ in 0..CAUSES {
            let mut client = server.connect();
            client.send(line).await;
            client.half_close().await;
            client.read_to_end().await;
        }
    }
    tokio::time::sleep(SECONDS).await;

    check(
        &logged,
        "command refused",
        "commands that were refused",
        300,
    );
    let what = "HTTP requests for a name that is not in `admin.hosts`";
    check(&logged, "refused: an HTTP request for a name", what, 30);

    let log = logged.text();
    let summary = log.lines().find(|line| line.contains("left out: commands"));
    let summary = summary.expect("it was checked above");
    assert!(
        summary.contains("rpc_server::audit") && summary.contains("WARN"),
        "a summary stands where its lines stand: {summary}"
    );
}

#[tokio::test(start_paused = true)]
async fn handlers_that_time_out_and_connections_that_come_and_go_are_some_lines_and_a_count() {
    let config = Config::default().with(|config| {
        config.timeouts.handler_timeout_ms = 10;
        config.admission.in_flight_per_connection = 20_000;
    });
    let (logged, server) = (Logged::begin(), server(config).await);

    let mut client = server.connect();
    for id in 0..CAUSES {
        let line = call(id, SLEEP, "\"params\":{\"ms\":60000},\"oneway\":true");
        client.send(line).await;
    }
    tokio::time::sleep(SECONDS).await;
    let what = "handlers that were dropped at `timeouts.handler_timeout_ms`";
    check(&logged, "a handler was dropped at", what, 40);
    drop(client);

    // Details have more lines: one of each opening and closing, and those of the client above.
    for _ in 0..(CAUSES - 2) / 2 {
        let mut client = server.connect();
        client.half_close().await;
        client.read_to_end().await;
    }
    tokio::time::sleep(SECONDS).await;
    let what = "connections that were opened or closed";
    check(&logged, " connection=", what, 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_has_its_lines_again_each_second_and_loses_no_count_at_its_end() {
    let logged = Logged::begin();
    let throttle = LogThrottle::new("drops of rain", Level::INFO, 2);
    let rain = |drops: u64| {
        for drop in 0..drops {
            throttle.write(|| tracing::info!(drop, "it rains"));
        }
    };

    rain(5);
    assert_eq!(counts(&logged, "it rains", "drops of rain"), (2, 0));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(counts(&logged, "it rains", "drops of rain"), (2, 3));

    // A second without too many has no summary.
    rain(2);
    tokio::time::sleep(SECONDS).await;
    assert_eq!(counts(&logged, "it rains", "drops of rain"), (4, 3));

    rain(4);
    drop(throttle);
    tokio::time::sleep(SECONDS).await;
    assert_eq!(counts(&logged, "it rains", "drops of rain"), (6, 5));
}

#[test]
fn without_a_runtime_the_next_line_or_the_end_tells_how_many_were_left_out() {
    let logged = Logged::begin();
    let throttle = LogThrottle::new("drops of rain", Level::WARN, 1);
    for _ in 0..10 {
        throttle.write(|| tracing::warn!("it rains"));
    }
    drop(throttle);

    assert_eq!(counts(&logged, "it rains", "drops of rain"), (1, 9));
}

#[tokio::test]
async fn refused_connections_are_some_lines_and_a_count() {
    let logged = Logged::begin();
    let config = Config::default().with(|config| config.limits.connections_max = 1);
    let (server, address) = tcp(config, Router::new()).await;
    let mut first = connect(address).await;
    assert_eq!(first.ask("{\"cmdid\":0}").await["code"], 0);

    let begun = std::time::Instant::now();
    let causes = 500;
    for _ in 0..causes {
        let mut client = connect(address).await;
        assert_eq!(client.ask("{\"cmdid\":100}").await["code"], 8);
    }
    drop(server);

    // The throttle tells the rest when it goes with the server.
    let (text, what) = ("a connection is refused", "connections that were refused");
    let counted = async {
        loop {
            let (written, left_out) = counts(&logged, text, what);
            if written + left_out == causes {
                return written;
            }
            tokio::task::yield_now().await;
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(60), counted).await;
    let most = 10 * (begun.elapsed().as_secs() + 1);
    assert!(written.expect("all are counted") <= most);
}
