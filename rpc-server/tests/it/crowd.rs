//! Many connections, more than there may be, and more than there are descriptors for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpc_server::{Config, Server};
use serde_json::Value;

use crate::rig::Rig;
use crate::support::{Client, TestServer};

async fn tcp(config: Config) -> (TestServer, SocketAddr) {
    let router = Rig::new().router();
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(router)
        .bind()
        .await
        .unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    (TestServer::of(server), address)
}

async fn connect(address: SocketAddr) -> Client<tokio::net::TcpStream> {
    Client::new(tokio::net::TcpStream::connect(address).await.unwrap())
}

const PING: &str = "{\"cmdid\":0,\"params\":1}";

#[tokio::test]
async fn a_thousand_connections_at_once_are_all_accepted_and_answered() {
    let (server, address) = tcp(Config::default()).await;
    let all = futures::future::join_all((0..1_000).map(|_| async move {
        let mut client = connect(address).await;
        assert_eq!(client.ask(PING).await["data"], 1);
        client
    }));
    let clients = all.await;
    assert_eq!(
        (
            server.stats().connections_accepted,
            server.stats().connections_open
        ),
        (1_000, 1_000)
    );
    drop(clients);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_other_addresses_and_streams_have_theirs() {
    let (server, address) = tcp(Config {
        connections_per_address: 2,
        ..Config::default()
    })
    .await;
    let mut first = connect(address).await;
    let mut second = connect(address).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask(PING).await["data"], 1);
    }
    let mut third = connect(address).await;
    let refused = third.reply().await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`connections_per_address` of 2"),
        "{refused}"
    );
    assert_eq!(
        (&refused["code"], &refused["rejected"]),
        (&8.into(), &true.into())
    );
    assert_eq!(refused["retry_after_ms"], 1_000);
    third.expect_end().await;
    assert_eq!(server.stats().limits.connections_over_address_max, 1);
    // All of 127.0.0.0/8 is this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::new(socket.connect(address).await.unwrap());
    assert_eq!(other.ask(PING).await["data"], 1);
    for _ in 0..3 {
        assert_eq!(server.connect().ask(PING).await["data"], 1);
    }
    // Who leaves makes room.
    drop(first);
    let waits = async {
        loop {
            let mut next = connect(address).await;
            let reply = next.ask(PING).await;
            if reply["code"] == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits)
        .await
        .expect("there is room");
    assert_eq!(second.ask(PING).await["data"], 1);
}

#[tokio::test]
async fn so_many_are_told_that_there_is_no_place_and_the_rest_is_closed() {
    let config = Config {
        connections_max: 1,
        refusals_max: 2,
        linger_timeout_ms: 60_000,
        ..Config::default()
    };
    let (server, address) = tcp(config).await;
    let mut first = connect(address).await;
    assert_eq!(first.ask(PING).await["data"], 1);
    // Both are told, and stay: they hold the two turns.
    let (mut one, mut other) = (connect(address).await, connect(address).await);
    for client in [&mut one, &mut other] {
        client.expect_code(None, 8).await;
    }
    connect(address).await.expect_end().await;
    assert_eq!(
        (
            server.stats().limits.connections_over_max,
            server.stats().limits.refusals_unsaid
        ),
        (3, 1)
    );
}

/// A daemon that may have so many files open.
struct Poor {
    child: Child,
    address: SocketAddr,
}

impl Poor {
    fn start(data: &Path, files: u32) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_rpc-server"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--data-dir",
            ])
            .arg(data)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line.unwrap()).ok()?;
                line.to_string()
                    .split("127.0.0.1:")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse::<u16>()
                    .ok()
            })
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .expect("it says where it listens");
        // Whoever writes into a pipe that nobody reads stops one day.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(stream: &mut TcpStream, line: &str) -> Value {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{reply:?} is no reply"))
}

#[cfg(all(feature = "daemon", target_os = "linux"))]
#[test]
fn without_descriptors_each_newcomer_is_told_so_and_the_old_connections_go_on() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Poor::start(data.path(), 64);
    let mut old = daemon.connect();
    assert_eq!(ask(&mut old, PING)["data"], 1);
    let mut held = Vec::new();
    let (mut told, mut begun) = (0_u64, None);
    for _ in 0..100 {
        let mut stream = daemon.connect();
        let mut reply = String::new();
        // One that is served says nothing before it is asked.
        stream.write_all(format!("{PING}\n").as_bytes()).unwrap();
        BufReader::new(&stream).read_line(&mut reply).unwrap();
        let reply: Value = serde_json::from_str(&reply).unwrap();
        if reply["code"] == 0 {
            held.push(stream);
            continue;
        }
        assert!(
            reply["message"]
                .as_str()
                .unwrap()
                .contains("no file descriptor"),
            "{reply}"
        );
        assert_eq!(
            (&reply["code"], &reply["rejected"], &reply["retry_after_ms"]),
            (&8.into(), &true.into(), &1_000.into())
        );
        let mut rest = Vec::new();
        // Closed, without a reset that would take the line back.
        assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0);
        told += 1;
        begun.get_or_insert_with(Instant::now);
    }
    // One after another, with a pause between them: there are other things to do.
    let took = begun.expect("somebody is told").elapsed();
    assert!(
        took >= Duration::from_millis(5 * (told - 1)),
        "{told} in {took:?}"
    );
    assert!(
        held.len() > 20 && told > 20,
        "{} held and {told} told",
        held.len()
    );
    let stats = ask(&mut old, "{\"cmdid\":3}");
    let limits = &stats["data"]["server"]["limits"];
    assert_eq!(
        (
            &limits["accept_degraded"],
            &limits["connections_without_descriptor"]
        ),
        (&1.into(), &told.into())
    );
    // A loop that only tried again would have failed by the thousand.
    let failures = limits["accept_failures"].as_u64().unwrap();
    assert!(
        (told..3 * told + 50).contains(&failures),
        "{failures} for {told}"
    );
    // Once there are descriptors again, it finds out by itself.
    drop(held);
    let recovered = (0..2_000).any(|_| {
        std::thread::yield_now();
        ask(&mut old, "{\"cmdid\":3}")["data"]["server"]["limits"]["accept_degraded"] == 0 || {
            // It looks once a second; asking is how this test waits.
            std::thread::park_timeout(Duration::from_millis(5));
            false
        }
    });
    assert!(recovered, "it accepts again");
    let mut next = daemon.connect();
    assert_eq!(ask(&mut next, PING)["data"], 1);
}
