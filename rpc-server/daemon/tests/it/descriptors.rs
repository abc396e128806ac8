//! A daemon whose process has no descriptors left.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::PATIENCE;

const PING: &str = "{\"cmdid\":0,\"params\":1}";
/// A newcomer that is not served may still ping.
const CALL: &str = "{\"cmdid\":10000}";

/// A daemon that may have only a few files open.
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
        // A process that writes into a pipe without a reader stops one day.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
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
    serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{reply:?} is not a reply"))
}

#[test]
fn without_descriptors_each_newcomer_is_refused_in_words_and_the_old_connections_go_on() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Poor::start(data.path(), 64);
    let mut old = daemon.connect();
    assert_eq!(ask(&mut old, PING)["data"], 1);
    let mut held = Vec::new();
    let (mut told, mut begun) = (0_u64, None);
    for _ in 0..100 {
        let asked = Instant::now();
        let mut stream = daemon.connect();
        let mut reply = String::new();
        // One that is served says nothing before it is asked.
        stream.write_all(format!("{CALL}\n").as_bytes()).unwrap();
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
        begun.get_or_insert(asked);
    }
    // One after another, with a pause between them: there are other things to do.
    let took = begun.expect("a newcomer is told").elapsed();
    assert!(
        took >= Duration::from_millis(5 * (told - 1)),
        "{told} in {took:?}"
    );
    assert!(
        held.len() > 20 && told > 20,
        "{} held and {told} told",
        held.len()
    );

    // Its operator is answered.
    for (path, status) in [("/healthz", "200"), ("/readyz", "503"), ("/metrics", "200")] {
        let mut stream = daemon.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")), "{page}");
    }
    assert_eq!(ask(&mut daemon.connect(), PING)["data"], 1);

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

#[test]
fn without_descriptors_an_append_is_rejected_with_code_8_and_works_again_later() {
    let data = tempfile::tempdir().unwrap();
    let daemon = Poor::start(data.path(), 64);
    let mut old = daemon.connect();
    assert_eq!(ask(&mut old, PING)["data"], 1);

    // A newcomer that is not served says that no descriptor is left.
    let mut held = Vec::new();
    loop {
        let mut stream = daemon.connect();
        if ask(&mut stream, CALL)["code"] != 0 {
            break;
        }
        held.push(stream);
        assert!(held.len() < 64);
    }

    let append = r#"{"cmdid":1001,"params":{"level":"info","service":"s","message":"m"}}"#;
    let reply = ask(&mut old, append);
    assert_eq!(
        (&reply["code"], &reply["rejected"]),
        (&8.into(), &true.into()),
        "{reply}"
    );
    assert!(reply["retry_after_ms"].as_u64().is_some(), "{reply}");

    drop(held);
    let begun = Instant::now();
    while ask(&mut old, append)["code"] != 0 {
        assert!(begun.elapsed() < PATIENCE);
    }
}
