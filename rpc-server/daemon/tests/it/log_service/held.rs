//! A disk that hangs, and a directory that is away.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rpc_daemon::DaemonConfig;
use rpc_daemon::config::ServiceName;
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use super::{APPEND, READ, Serving, append, line};
use crate::support::{Client, PATIENCE};

/// The first file of a log, replaced by a pipe: a read that opens it hangs until the file is back.
pub(crate) struct HeldFile {
    path: PathBuf,
}

impl HeldFile {
    pub(crate) fn of(data: &Path) -> Self {
        let path = data.join("log/00000000000000000001.ndjson");
        std::fs::rename(&path, path.with_extension("file")).unwrap();
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Self { path }
    }

    /// Puts the file back, and lets the reads go on that have opened the pipe.
    fn release(&self) {
        let pipe = self.path.with_extension("pipe");
        std::fs::rename(&self.path, &pipe).unwrap();
        std::fs::rename(self.path.with_extension("file"), &self.path).unwrap();
        OpenOptions::new().write(true).open(pipe).unwrap();
    }
}

/// Asks for the figures of blocking work until they are as expected; returns them.
async fn blocking_until(
    client: &mut Client<DuplexStream>,
    is_expected: impl Fn(&Value) -> bool,
) -> Value {
    let begun = Instant::now();
    loop {
        let blocking = client.ask(r#"{"cmdid":3}"#).await["data"]["blocking"].take();
        if is_expected(&blocking) {
            return blocking;
        }
        assert!(begun.elapsed() < PATIENCE, "{blocking}");
    }
}

#[tokio::test]
async fn a_thousand_reads_and_their_cancels_leave_another_connection_s_read_answered() {
    let mut config = DaemonConfig {
        services: vec![ServiceName::Log],
        ..DaemonConfig::default()
    };
    config.log.scans_max = 1;
    let serving = Serving::with(config).await;
    let (mut attacker, mut other) = (serving.connect(), serving.connect());
    append(&mut other, "info", "s", "m").await;

    let held = HeldFile::of(serving.data.path());
    let params = json!({"after": 0, "contains": "zzz"});
    for id in 0..1_000 {
        let read = format!("{{\"id\":{id},\"cmdid\":{READ},\"params\":{params}}}\n");
        attacker.send(read).await;
    }
    let all_there = |blocking: &Value| blocking["running"] == 1 && blocking["waiting"] == 999;
    blocking_until(&mut other, all_there).await;

    for id in 0..1_000 {
        let cancel = format!("{{\"cmdid\":4,\"params\":{{\"id\":{id}}}}}\n");
        attacker.send(cancel).await;
    }
    for _ in 0..1_000 {
        assert_eq!(attacker.reply().await["code"], 1);
    }

    // The one at work hangs; none of the others is there any more.
    let blocking = blocking_until(&mut other, |blocking| blocking["waiting"] == 0).await;
    assert_eq!(
        (&blocking["running"], &blocking["abandoned"]),
        (&json!(1), &json!(999))
    );

    let read_all = format!("{{\"id\":1,\"cmdid\":{READ}}}\n");
    other.send(read_all).await;
    blocking_until(&mut serving.connect(), |blocking| blocking["waiting"] == 1).await;
    held.release();
    let reply = other.expect_code(1, 0).await;
    assert_eq!(reply["data"]["next"], 1);

    // The store was opened, one read of the attacker has begun, and this one.
    let blocking = blocking_until(&mut other, |blocking| blocking["running"] == 0).await;
    assert_eq!(blocking["started"], 3);
}

/// Asks for the health of the log service until it is as expected.
async fn health_until(client: &mut Client<DuplexStream>, expected: &str) {
    let begun = Instant::now();
    loop {
        let health = client
            .ask(r#"{"cmdid":2,"params":{"service":"log"}}"#)
            .await["data"]
            .take();
        if health["status"] == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{health}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_log_is_not_served_while_its_directory_cannot_be_written_or_read() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    append(&mut client, "info", "s", "m").await;
    health_until(&mut client, "serving").await;

    let (log, away) = (
        serving.data.path().join("log"),
        serving.data.path().join("away"),
    );
    std::fs::rename(&log, &away).unwrap();
    let entry = json!({"level": "info", "service": "s", "message": "lost"});
    assert_eq!(client.ask(&line(APPEND, &entry)).await["code"], 13);
    health_until(&mut client, "not_serving").await;

    // Nothing is appended, and it recovers by itself.
    std::fs::rename(&away, &log).unwrap();
    health_until(&mut client, "serving").await;
    assert_eq!(append(&mut client, "info", "s", "m").await, 3);

    std::fs::rename(&log, &away).unwrap();
    assert_eq!(client.ask(&line(READ, &json!({}))).await["code"], 13);
    health_until(&mut client, "not_serving").await;
    std::fs::rename(&away, &log).unwrap();
    health_until(&mut client, "serving").await;
}
