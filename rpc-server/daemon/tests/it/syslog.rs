//! Syslog in, over real sockets.

use std::fs;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rpc_daemon::config::SyslogSettings;
use rpc_daemon::{Daemon, DaemonConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::life::Life;
use crate::needs;

const UDP: &str = "udp:127.0.0.1:0";
const TCP: &str = "tcp:127.0.0.1:0";

fn listening(listen: &[&str]) -> SyslogSettings {
    SyslogSettings {
        listen: listen.iter().map(|address| (*address).into()).collect(),
        ..SyslogSettings::default()
    }
}

async fn life(data: &Path, syslog: SyslogSettings) -> Life {
    let config = DaemonConfig {
        syslog,
        ..DaemonConfig::default()
    };
    Life::with(data, config).await
}

/// Waits until the log has this number of entries, and returns them.
async fn entries(life: &mut Life, count: usize) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    while all.len() < count {
        let after = all.last().map_or(0, |entry| entry["seq"].as_u64().unwrap());
        let params = json!({"after": after, "limit": 1000, "wait_ms": 20_000});
        let request = json!({"id": 1, "cmdid": 1002, "params": params}).to_string();
        let page = life.client.ask(&request).await;
        let found = page["data"]["entries"].as_array().unwrap();
        assert!(!found.is_empty(), "{} of {count} entries came", all.len());
        all.extend(found.iter().cloned());
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

/// All entries of a log that no daemon has open.
async fn left(data: &Path) -> Vec<Value> {
    let mut life = Life::on(data).await;
    let request = json!({"id": 1, "cmdid": 1002, "params": {"limit": 1000}}).to_string();
    let page = life.client.ask(&request).await;
    life.end().await;
    page["data"]["entries"].as_array().unwrap().clone()
}

/// The address behind its kind.
fn place(life: &Life, n: usize) -> String {
    life.syslog[n].split_once(':').unwrap().1.to_owned()
}

#[tokio::test]
async fn messages_over_udp_tcp_and_a_unix_socket_become_entries() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let mut life = life(data.path(), listening(&[UDP, TCP, &unix])).await;

    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let message =
        br#"<11>1 2026-01-02T03:04:05.678Z web1 order 42 ID7 [a@1 user="4211"] out of pears"#;
    sender.send_to(message, place(&life, 0)).unwrap();
    let mut by_udp = entries(&mut life, 1).await.remove(0);
    // The time of the message is its sender's; that of its receipt is beside it.
    let received = by_udp.as_object_mut().unwrap().remove("rx");
    assert!(received.unwrap().as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(
        by_udp,
        json!({
            "seq": 1, "ts": 1_767_323_045_678_u64, "level": "error", "service": "order", "message": "out of pears",
            "fields": {
                "a@1": {"user": "4211"}, "facility": "user", "host": "web1", "msgid": "ID7", "peer": "127.0.0.1",
                "procid": "42",
            },
        })
    );

    let mut stream = TcpStream::connect(place(&life, 1)).unwrap();
    stream.write_all(b"<12>1 - - stock - - - one\n").unwrap();
    stream
        .write_all(b"27 <12>1 - - stock - - - two\n\n")
        .unwrap();
    stream
        .write_all(b"not syslog\n<12>1 - - stock - - - last")
        .unwrap();
    drop(stream);
    let by_tcp = entries(&mut life, 5).await;
    let messages: Vec<&str> = by_tcp[1..]
        .iter()
        .map(|entry| entry["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages, ["one", "two", "not syslog", "last"]);
    assert_eq!(by_tcp[1]["level"], "warn");
    assert!(by_tcp[1].get("rx").is_none(), "it has no time of its own");
    assert_eq!(
        by_tcp[3]["fields"],
        json!({"malformed": true, "peer": "127.0.0.1"})
    );

    let sender = UnixDatagram::unbound().unwrap();
    sender
        .send_to(b"<15>Nov 30 12:00:00 cron[7]: done", &path)
        .unwrap();
    let by_unix = entries(&mut life, 6).await.remove(5);
    assert_eq!(
        (&by_unix["service"], &by_unix["level"], &by_unix["fields"]),
        (
            &json!("cron"),
            &json!("debug"),
            &json!({"facility": "user", "procid": "7"})
        )
    );

    life.end().await;
    assert!(!path.exists(), "the file of the socket is left");
}

#[tokio::test]
async fn what_came_before_the_end_is_there_and_so_is_the_number_of_what_was_over_the_rate() {
    let data = tempfile::tempdir().unwrap();
    let settings = SyslogSettings {
        bytes_per_second_per_address: 1000,
        ..listening(&[UDP])
    };
    let life = life(data.path(), settings).await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..60 {
        let message = format!("<14>1 - - order - - - {n} {}", "x".repeat(80));
        sender.send_to(message.as_bytes(), place(&life, 0)).unwrap();
    }
    life.end().await;

    let left = left(data.path()).await;
    let (told, entries): (Vec<&Value>, Vec<&Value>) =
        left.iter().partition(|entry| entry["service"] == "log");
    let dropped = told
        .iter()
        .map(|entry| entry["fields"]["dropped"].as_u64().unwrap());
    let dropped: u64 = dropped.sum();
    assert_eq!(dropped + entries.len() as u64, 60, "{told:?}");
    assert!(dropped > 30 && entries.len() > 8, "{dropped}");
    assert_eq!(told[0]["level"], "warn");
}

#[tokio::test]
async fn what_a_connection_has_sent_before_the_end_is_there_and_half_a_line_says_that_it_is_one() {
    let data = tempfile::tempdir().unwrap();
    let settings = SyslogSettings {
        bytes_per_second_per_address: 1000,
        ..listening(&[TCP])
    };
    let mut life = life(data.path(), settings).await;
    let address = place(&life, 0);
    let mut sender = TcpStream::connect(&address).unwrap();
    writeln!(sender, "<14>1 - - order - - - first").unwrap();
    entries(&mut life, 1).await;

    // More than a block, and than may be read within a second. The system has it all when this returns.
    let numbered = |n| format!("<14>1 - - order - - - {n} {}\n", "x".repeat(80));
    let lines: String = (0..400).map(numbered).collect();
    sender.write_all(lines.as_bytes()).unwrap();
    sender.write_all(b"<14>1 - - order - - - hal").unwrap();
    // Another one, which may not have been accepted.
    let mut late = TcpStream::connect(&address).unwrap();
    late.write_all(b"<14>1 - - stock - - - late").unwrap();
    drop(late);
    life.end().await;

    let left = left(data.path()).await;
    let (late, left): (Vec<&Value>, Vec<&Value>) =
        left.iter().partition(|entry| entry["service"] == "stock");
    assert_eq!((late.len(), &late[0]["message"]), (1, &json!("late")));
    assert_eq!(late[0]["fields"].get("truncated"), None);

    assert_eq!(left.len(), 402);
    let (half, whole) = left.split_last().unwrap();
    assert_eq!(half["message"], "hal");
    assert_eq!(half["fields"]["truncated"], true);
    assert!(
        whole
            .iter()
            .all(|entry| entry["fields"]["truncated"].is_null())
    );
}

#[tokio::test]
async fn a_connection_over_the_rate_of_its_address_waits_and_loses_nothing() {
    // In bytes a second.
    const RATE: usize = 40_000;
    let data = tempfile::tempdir().unwrap();
    let settings = SyslogSettings {
        bytes_per_second_per_address: RATE as u64,
        ..listening(&[TCP])
    };
    let mut life = life(data.path(), settings).await;
    let numbered = |n| format!("<14>1 - - order - - - {n} {}\n", "x".repeat(80));
    let lines: String = (0..800).map(numbered).collect();
    let bytes = lines.len();
    let begun = std::time::Instant::now();
    let address = place(&life, 0);
    let sending = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
    });

    let all = entries(&mut life, 800).await;
    sending.join().unwrap();
    let in_order = all.iter().enumerate().all(|(n, entry)| {
        entry["message"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{n} "))
    });
    assert!(in_order);
    // A second's worth comes at once, and two blocks of 16 KiB: the last that the budget had something left for, and the one
    // that waits for it, which is in the log already.
    let waits_for = bytes - RATE - 2 * 16 * 1024;
    let least = Duration::from_millis((1000 * waits_for / RATE) as u64);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    life.end().await;
}

#[tokio::test]
async fn messages_that_the_queue_never_has_room_for_together_are_taken_one_after_the_other() {
    let data = tempfile::tempdir().unwrap();
    let mut config = DaemonConfig {
        syslog: listening(&[TCP]),
        ..DaemonConfig::default()
    };
    config.log.emit_queue_bytes_max = 4000;
    let mut life = Life::with(data.path(), config).await;

    // Of two services, so that the first one alone does not make the room.
    let text = "x".repeat(1000);
    let messages: String = (0..10)
        .map(|n| format!("<14>1 - h app{} - - - {n} {text}\n", n % 2))
        .collect();
    let mut sender = tokio::net::TcpStream::connect(place(&life, 0))
        .await
        .unwrap();
    sender.write_all(messages.as_bytes()).await.unwrap();

    let found = entries(&mut life, 10).await;
    let numbers = found.iter().map(|entry| {
        let message = entry["message"].as_str().unwrap();
        message.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    assert!(numbers.eq(0..10), "in their order");
    life.end().await;
}

#[tokio::test]
async fn long_messages_are_cut_off_and_further_connections_of_an_address_are_closed() {
    let data = tempfile::tempdir().unwrap();
    let settings = SyslogSettings {
        message_bytes_max: 100,
        connections_per_address: 2,
        ..listening(&[UDP, TCP])
    };
    let mut life = life(data.path(), settings).await;

    let long = format!("<14>1 - - order - - - {}", "x".repeat(3000));
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(long.as_bytes(), place(&life, 0)).unwrap();
    entries(&mut life, 1).await;

    // In their order, without blocking the daemon in the same thread.
    let address = place(&life, 1);
    let connect = async || tokio::net::TcpStream::connect(&address).await.unwrap();
    let (mut one, _two) = (connect().await, connect().await);
    let mut three = connect().await;
    let mut nothing = Vec::new();
    three.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty());

    let lines = format!("{long}\n<14>1 - - order - - - short\n");
    one.write_all(lines.as_bytes()).await.unwrap();
    let all = entries(&mut life, 3).await;
    for entry in &all[..2] {
        let message = entry["message"].as_str().unwrap();
        assert_eq!(
            (message.len(), &entry["fields"]["truncated"]),
            (78, &json!(true))
        );
    }
    assert_eq!(
        (&all[2]["message"], all[2]["fields"].get("truncated")),
        (&json!("short"), None)
    );

    // The end does not wait for a connection that says nothing.
    life.end().await;
}

async fn bind_error(data: &Path, listen: &str) -> String {
    let config = DaemonConfig {
        listen: vec!["127.0.0.1:0".into()],
        data_dir: data.to_owned(),
        syslog: listening(&[listen]),
        ..DaemonConfig::default()
    };
    match Daemon::bind(&config).await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn an_address_that_other_machines_reach_or_another_process_has_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("socket");
    let unix = format!("unix:{}", path.display());

    for (listen, reason) in [
        ("udp:0.0.0.0:0", "syslog.allow_plaintext"),
        ("tcp:[::]:0", "syslog.allow_plaintext"),
        ("514", "udp:HOST:PORT"),
    ] {
        let error = bind_error(data.path(), listen).await;
        assert!(error.contains(reason) && error.contains(listen), "{error}");
    }

    fs::write(&path, "of another program").unwrap();
    let error = bind_error(data.path(), &unix).await;
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "of another program");
    fs::remove_file(&path).unwrap();

    let other = UnixDatagram::bind(&path).unwrap();
    let error = bind_error(data.path(), &unix).await;
    assert!(error.contains("another process listens there"), "{error}");

    // What a killed process has left is replaced, and open to all programs.
    drop(other);
    let life = life(data.path(), listening(&[&unix])).await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    life.end().await;
}

#[tokio::test]
async fn what_logger_of_util_linux_sends_has_its_service_level_and_text() {
    if !needs::has("logger", "bsdutils") {
        return;
    }

    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let mut life = life(data.path(), listening(&[UDP, TCP, &unix])).await;
    let port = |n| place(&life, n).rsplit_once(':').unwrap().1.to_owned();
    let (udp, tcp) = (port(0), port(1));

    let to_unix = ["--socket", path.to_str().unwrap()];
    let to_udp = ["--server", "127.0.0.1", "--udp", "--port", &udp];
    let to_tcp = ["--server", "127.0.0.1", "--tcp", "--port", &tcp];
    let ways: [(&[&str], &[&str]); 6] = [
        (&to_unix, &[]),
        (&to_udp, &["--rfc3164"]),
        (&to_udp, &["--rfc5424"]),
        (&to_tcp, &["--rfc3164"]),
        (&to_tcp, &["--rfc5424", "--octet-count"]),
        (
            &to_tcp,
            &["--rfc5424", "--sd-id", "a@1", "--sd-param", "user=\"4211\""],
        ),
    ];

    for (n, (way, options)) in ways.iter().enumerate() {
        let text = format!("pears: {n} left");
        let sent = Command::new("logger")
            .args(*way)
            .args(*options)
            .args([
                "--priority",
                "daemon.warning",
                "--tag",
                "order",
                "--id=42",
                &text,
            ])
            .output()
            .unwrap();
        assert!(sent.status.success(), "{sent:?}");

        let entry = entries(&mut life, n + 1).await.remove(n);
        let case = format!("{options:?}: {entry}");
        assert_eq!(
            (&entry["service"], &entry["level"]),
            (&json!("order"), &json!("warn")),
            "{case}"
        );
        assert_eq!(entry["message"], text, "{case}");
        assert_eq!(
            (&entry["fields"]["procid"], &entry["fields"]["facility"]),
            (&json!("42"), &json!("daemon")),
            "{case}"
        );
        if options.contains(&"--sd-id") {
            assert_eq!(entry["fields"]["a@1"], json!({"user": "4211"}), "{case}");
        }
    }
    life.end().await;
}

#[test]
fn a_test_whose_program_is_missing_is_left_out_unless_none_may_be() {
    let nothing = tempfile::tempdir().unwrap();
    let run = |no_skip: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("syslog::what_logger_of_util_linux_sends_has_its_service_level_and_text")
            .env("PATH", nothing.path())
            .env(needs::NO_SKIP, no_skip)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("`logger` is not installed"), "{said}");
        (output.status.success(), said)
    };

    let (is_passed, said) = run("");
    assert!(is_passed && said.contains("1 passed"), "{said}");
    let (is_passed, said) = run("1");
    assert!(!is_passed && said.contains("1 failed"), "{said}");
}
