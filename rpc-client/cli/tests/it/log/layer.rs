//! A service in a process of its own that logs through the layer of `tracing`, and a daemon: either is lost, or the network
//! between them.

mod lost;
mod network;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rpc_client::log::{ShipperConfig, layer};
use serde_json::Value;
use tokio::io::AsyncBufReadExt;
use tracing_subscriber::layer::SubscriberExt;

use crate::support::Server;

/// The log of the service that this process is a child for.
const ADDRESS: &str = "LOG_LAYER_TEST_ADDRESS";
/// Where the daemon listens that this process is a child for, and the directory of its data.
const LISTEN: &str = "LOG_LAYER_TEST_LISTEN";
const DATA: &str = "LOG_LAYER_TEST_DATA";
const LONG: Duration = Duration::from_secs(60);
/// What a service has to end in while its log is away.
const SHORT: Duration = Duration::from_millis(200);

/// A service that logs numbered events: `log N` logs N further ones, `flush` waits until they are acknowledged, `try` for a
/// short time whether they are. At SIGTERM it closes its guard: within a short time after `hurry`.
#[tokio::test]
#[ignore = "does nothing but as a child of the tests below"]
async fn child_that_logs_what_it_is_told_to() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    let config = ShipperConfig {
        queue_entries_max: 2_000,
        ..ShipperConfig::default()
    };
    let (layer, guard) = layer(address)
        .service("child")
        .config(config)
        .build()
        .unwrap();
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let mut commands = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut ended =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    println!("\nready");
    let mut logged = 0;
    let mut patience = LONG;
    loop {
        let command = tokio::select! {
            line = commands.next_line() => line.unwrap().expect("it is ended by a signal"),
            _ = ended.recv() => break,
        };
        match &*command {
            "hurry" => patience = SHORT,
            "try" => assert_ne!(guard.flush(SHORT).unsent, 0),
            "flush" => assert_eq!(guard.flush(LONG).unsent, 0),
            log => {
                let count = log.strip_prefix("log ").unwrap();
                for _ in 0..count.parse::<u64>().unwrap() {
                    logged += 1;
                    tracing::info!(n = logged, "number {logged}");
                }
            }
        }
        println!("did {command}");
    }

    let end = guard.close(patience);
    println!("end {} {} {}", end.sent, end.dropped, end.unsent);
    // A thread waits for standard input.
    std::process::exit(0);
}

/// A daemon that can be killed.
#[test]
#[ignore = "does nothing but as a child of the tests below"]
fn child_that_is_a_daemon() {
    let [Ok(listen), Ok(data)] = [LISTEN, DATA].map(std::env::var) else {
        return;
    };
    let server = Server::start_at(&listen, Path::new(&data));
    println!("\nlistens {}", server.address);
    let mut input = String::new();
    std::io::stdin().read_line(&mut input).unwrap();
}

/// This program again, as one of the children above.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--ignored", "--nocapture"])
        .arg(format!("log::layer::{test}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(listen: &str, data: &Path) -> Self {
        let mut command = child("child_that_is_a_daemon");
        let mut child = command.env(LISTEN, listen).env(DATA, data).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout.lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.strip_prefix("listens ")?.to_owned()));
        let address = address.expect("it has started");
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

struct Service {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(address: &str) -> Self {
        let mut command = child("child_that_logs_what_it_is_told_to");
        let mut child = command.env(ADDRESS, address).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut service = Self {
            child,
            stdin,
            stdout,
        };
        service.says("ready");
        service
    }

    fn says(&mut self, begin: &str) -> String {
        let mut lines = self.stdout.by_ref().map(Result::unwrap);
        lines.find(|line| line.starts_with(begin)).expect(begin)
    }

    fn does(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
        self.says(&format!("did {command}"));
    }

    /// Ends it as an operator does: entries sent, dropped, and not acknowledged.
    fn terminate(mut self) -> [u64; 3] {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        let end = self.says("end ");
        assert!(self.child.wait().unwrap().success());

        let numbers: Vec<u64> = end
            .split(' ')
            .skip(1)
            .map(|it| it.parse().unwrap())
            .collect();
        numbers.try_into().unwrap()
    }
}

/// The numbers in the log, in its order, and the dropped entries of which it tells.
fn logged(server: &Server) -> (Vec<u64>, u64) {
    let stdout = server.rpc(&["log", "read", "--all"]).data();
    let entries: Vec<Value> = stdout
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let field = |name: &'static str| {
        let values = entries
            .iter()
            .map(move |entry| entry["fields"][name].as_u64());
        values.flatten()
    };
    (field("n").collect(), field("dropped").sum())
}

#[test]
fn a_service_that_gets_sigterm_leaves_each_of_its_events_in_the_log_once() {
    let server = Server::start();
    let mut service = Service::start(&server.address);
    service.does("log 700");
    assert_eq!(service.terminate(), [700, 0, 0]);
    assert_eq!(logged(&server), ((1..=700).collect(), 0));
}

#[test]
fn a_service_that_is_killed_loses_only_events_that_were_not_acknowledged() {
    let server = Server::start();
    for round in 0..4u64 {
        let before = logged(&server).0.len();
        let mut service = Service::start(&server.address);
        service.does("log 500");
        service.does("flush");
        service.does(&format!("log {}", 400 * round));
        service.child.kill().unwrap();
        service.child.wait().unwrap();

        let all = logged(&server).0;
        let found = &all[before..];
        let expected: Vec<u64> = (1..=found.len() as u64).collect();
        assert_eq!(found, expected, "in order, and each once");
        assert!(
            (500..=500 + 400 * round).contains(&(found.len() as u64)),
            "{}",
            found.len()
        );
    }
}

#[test]
fn a_service_whose_daemon_is_away_counts_in_the_log_what_it_had_to_drop() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_at("127.0.0.1:0", data.path());
    let address = server.address.clone();
    let mut service = Service::start(&server.address);
    service.does("log 100");
    service.does("flush");
    service.does("log 300");
    drop(server);
    service.does("log 5000");

    let server = Server::start_at(&address, data.path());
    service.does("flush");
    service.does("log 10");
    let [_, dropped, unsent] = service.terminate();

    assert!(dropped >= 3_000, "{dropped}");
    assert_eq!(unsent, 0);
    assert_logged_or_told(&server, dropped, 5_410, 400);
}

/// Of events with these numbers, from 1 to `events`, each is in the log once or among the `dropped` that it tells of, and
/// the `first` ones are in it.
fn assert_logged_or_told(server: &Server, dropped: u64, events: u64, first: u64) {
    let (mut numbers, told) = logged(server);
    assert_eq!(told, dropped);
    assert_eq!(numbers.len() as u64 + told, events);

    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|a, b| a < b), "nothing comes twice");
    assert!(
        numbers
            .into_iter()
            .take_while(|n| *n <= first)
            .eq(1..=first)
    );
}

#[test]
fn a_service_whose_daemon_is_killed_at_work_has_each_of_its_events_in_the_log_once() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start("127.0.0.1:0", data.path());
    let address = daemon.address.clone();
    let mut service = Service::start(&address);
    for _ in 0..4 {
        service.does("log 1200");
        daemon.kill();
        service.does("log 300");
        daemon = Daemon::start(&address, data.path());
        service.does("flush");
    }
    assert_eq!(service.terminate(), [6_000, 0, 0]);
    daemon.kill();

    let server = Server::start_at("127.0.0.1:0", data.path());
    let (mut numbers, told) = logged(&server);
    numbers.sort_unstable();
    assert_eq!((numbers, told), ((1..=6_000).collect(), 0));
}
