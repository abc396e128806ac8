//! `rpc log ship`.

mod journal;
mod rotations;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use rpc_client::blocking::Client;
use rpc_core::api::log::{LogStats, READ, STATS};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::messages;
use crate::support::{Ran, Server, command, nowhere, rpc_at, start_rpc_at};

/// Far more time than lines take to be in the log.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A program that writes numbered lines into a file and rotates it.
struct Writer {
    dir: TempDir,
    file: Option<File>,
    lines: u64,
    rotations: usize,
}

impl Writer {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            file: None,
            lines: 0,
            rotations: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.log")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("app.log.state")
    }

    fn write(&mut self, count: u64) {
        let path = self.path();
        let file = self.file.get_or_insert_with(|| {
            let mut options = OpenOptions::new();
            options.create(true).append(true).open(path).unwrap()
        });
        for _ in 0..count {
            self.lines += 1;
            let line = format!("line {}\n", self.lines);
            // In two pieces, so that a reader finds lines without their ends.
            let (begin, end) = line.split_at(3);
            file.write_all(begin.as_bytes()).unwrap();
            file.write_all(end.as_bytes()).unwrap();
        }
    }

    /// As logrotate does: `app.log` becomes `app.log.1`, which became `app.log.2` before.
    fn rotate(&mut self) {
        self.file = None;
        let name = |number: usize| match number {
            0 => self.path(),
            _ => self.dir.path().join(format!("app.log.{number}")),
        };
        for number in (0..=self.rotations).rev() {
            std::fs::rename(name(number), name(number + 1)).unwrap();
        }
        self.rotations += 1;
    }

    /// As logrotate does with `dateext`.
    fn rotate_to(&mut self, suffix: &str) {
        self.file = None;
        std::fs::rename(self.path(), self.beside(suffix)).unwrap();
    }

    fn arguments(&self) -> Vec<String> {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let [file, state] = [self.path(), self.state()].map(path);
        [
            "log",
            "ship",
            "--service",
            "app",
            "--file",
            &file,
            "--state",
            &state,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// A file beside that of the program.
    fn beside(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("app.log{suffix}"))
    }

    /// As logrotate does with a rotated file; what it holds then is not read.
    fn compress(&self, number: usize) {
        let plain = self.beside(&format!(".{number}"));
        let modified = std::fs::metadata(&plain).unwrap().modified().unwrap();
        std::fs::remove_file(&plain).unwrap();
        let compressed = File::create(self.beside(&format!(".{number}.gz"))).unwrap();
        compressed.set_modified(modified).unwrap();
    }

    /// Sends what there is; returns what was said.
    fn ship_and_say(&self, address: &str) -> String {
        let arguments = self.arguments();
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.push("--once");
        let ran = rpc_at(address, &arguments, "");
        assert_eq!((ran.exit, &*ran.stdout), (0, ""), "{}", ran.stderr);
        ran.stderr
    }

    /// Sends what there is.
    fn ship_once(&self, address: &str) {
        assert_eq!(self.ship_and_say(address), "");
    }
}

/// All that the log has.
fn shipped(server: &Server) -> Vec<String> {
    messages(&server.rpc(&["log", "read", "--all"]).data())
}

/// Checks that a run was refused for this.
#[track_caller]
fn refused(ran: &Ran, why: &str) {
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
}

fn numbered(lines: impl IntoIterator<Item = u64>) -> Vec<String> {
    let lines = lines.into_iter();
    lines.map(|line| format!("line {line}")).collect()
}

/// The state, once it says that all that was sent is acknowledged.
fn settled(writer: &Writer) -> Value {
    loop {
        let state = std::fs::read(writer.state()).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        if state["from"] == state["to"] && state["to"] != 0 {
            return state;
        }
        std::thread::yield_now();
    }
}

pub(super) fn last(client: &Client) -> u64 {
    let stats: LogStats = client.call(STATS, &json!({})).unwrap();
    stats.last
}

/// Waits until the log has this number of entries.
pub(super) fn wait_for(client: &Client, count: u64) {
    let begun = Instant::now();
    while last(client) < count {
        assert!(begun.elapsed() < WAIT_MAX, "{} of {count}", last(client));
        let read = json!({"after": last(client), "limit": 1, "wait_ms": 1_000});
        let _: Value = client.call(READ, &read).unwrap_or_default();
    }
}

/// Waits as [`wait_for`] does, while this run sends: it says why if it has ended.
fn wait_for_run(client: &Client, count: u64, run: &mut Child) {
    let begun = Instant::now();
    while last(client) < count {
        if let Some(status) = run.try_wait().unwrap() {
            let mut said = String::new();
            let mut stderr = run.stderr.take().unwrap();
            stderr.read_to_string(&mut said).unwrap();
            panic!("it has ended ({status}): {said}");
        }
        assert!(begun.elapsed() < WAIT_MAX, "{} of {count}", last(client));
        let read = json!({"after": last(client), "limit": 1, "wait_ms": 1_000});
        let _: Value = client.call(READ, &read).unwrap_or_default();
    }
}

#[test]
fn no_line_of_a_file_is_lost_or_sent_twice_over_kills_rotations_and_restarts_of_the_log() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Some(Server::start_at("127.0.0.1:0", data.path()));
    let address = server.as_ref().unwrap().address.clone();
    let mut writer = Writer::new();

    writer.write(1);
    writer.ship_once(&address);
    for round in 0..16u64 {
        writer.write(400);
        let arguments = writer.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = command(&address, &arguments).spawn().unwrap();

        writer.write(300);
        if round % 3 == 1 {
            writer.rotate();
        }
        if round % 8 == 5 {
            drop(server.take());
            server = Some(Server::start_at(&address, data.path()));
        }
        writer.write(1 + round * 37 % 200);

        // It is killed at work: before its first batch, in the middle, or when it has caught up with its file.
        let client = Client::new(&*address);
        let until = (last(&client) + round * 131 % 700).min(writer.lines);
        wait_for_run(&client, until, &mut child);
        assert_eq!(child.try_wait().unwrap(), None, "it goes on");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    writer.ship_once(&address);
    let server = server.unwrap();
    let found = messages(&server.rpc(&["log", "read", "--all"]).data());
    let expected: Vec<String> = (1..=writer.lines)
        .map(|line| format!("line {line}"))
        .collect();
    assert!(
        found == expected,
        "{} of {} lines",
        found.len(),
        expected.len()
    );
}

#[test]
fn a_rotated_file_is_read_to_its_end_and_then_the_new_one_is_followed() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(3);
    let arguments = writer.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&server.address, &arguments).spawn().unwrap();

    let client = Client::new(&*server.address);
    wait_for(&client, 3);
    // The program writes into the old file until it opens the new one.
    let mut old = OpenOptions::new().append(true).open(writer.path()).unwrap();
    writer.rotate();
    writer.write(2);
    old.write_all(b"late\nwithout its end").unwrap();
    wait_for(&client, 7);
    child.kill().unwrap();
    child.wait().unwrap();

    let found = messages(&server.rpc(&["log", "read", "--all"]).data());
    let expected = [
        "line 1",
        "line 2",
        "line 3",
        "late",
        "without its end",
        "line 4",
        "line 5",
    ];
    assert_eq!(found, expected);
}

#[test]
fn lines_that_were_acknowledged_are_not_sent_again_to_a_log_that_has_forgotten_their_producer() {
    let [first, second, third] = [Server::start(), Server::start(), Server::start()];
    let mut writer = Writer::new();
    writer.write(3);
    writer.ship_once(&first.address);
    writer.ship_once(&second.address);
    assert_eq!(last(&Client::new(&*second.address)), 0);

    // Also while it waits for more: it may be killed then.
    let arguments = writer.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&second.address, &arguments).spawn().unwrap();
    writer.write(2);
    wait_for(&Client::new(&*second.address), 2);
    settled(&writer);
    child.kill().unwrap();
    child.wait().unwrap();
    writer.write(1);
    writer.ship_once(&third.address);
    let found = messages(&third.rpc(&["log", "read"]).data());
    assert_eq!(found, ["line 6"]);
}

#[test]
fn a_file_that_was_cut_is_sent_from_its_beginning_and_ship_says_so() {
    let server = Server::start();
    let writer = Writer::new();
    std::fs::write(writer.path(), "one\ntwo\n").unwrap();
    writer.ship_once(&server.address);
    std::fs::write(writer.path(), "three\n").unwrap();

    let arguments = writer.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--once");
    let ran = server.rpc(&arguments);
    assert_eq!((ran.exit, &*ran.stdout), (0, ""));
    assert!(
        ran.stderr.contains("its later lines are lost"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        messages(&server.rpc(&["log", "read"]).data()),
        ["one", "two", "three"]
    );
}

#[test]
fn a_state_is_used_by_one_ship_at_a_time_and_another_file_is_refused_as_one() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(1);
    let arguments = writer.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&server.address, &arguments).spawn().unwrap();
    wait_for(&Client::new(&*server.address), 1);

    let state = writer.state().display().to_string();
    let ran = server.rpc(&arguments);
    let expected = format!(
        "rpc: `--state` = \"{state}\" is in use\nhint: another `rpc log ship` is running with it; give each its own file\n"
    );
    ran.assert(2, "", &expected);
    child.kill().unwrap();
    child.wait().unwrap();

    std::fs::write(writer.state(), "{}").unwrap();
    let ran = server.rpc(&arguments);
    assert_eq!(ran.exit, 2);
    assert!(
        ran.stderr
            .contains("is not a state file of `rpc log ship`: missing field"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_batch_that_the_log_refuses_ends_ship_with_the_reason() {
    let server = Server::start();
    let writer = Writer::new();
    std::fs::write(writer.path(), "one\n").unwrap();
    writer.ship_once(&server.address);

    // Another run has sent its next batch by a copy of the state.
    let state = std::fs::read_to_string(writer.state()).unwrap();
    let other = r#""entries":[{"level":"info","service":"s","message":"other"}]"#;
    let state_of: Value = serde_json::from_str(&state).unwrap();
    let batch = format!(
        r#"{{"producer":{},"batch":2,{other}}}"#,
        state_of["producer"]
    );
    server.rpc(&["call", "1003", &batch]).data();

    std::fs::write(writer.path(), "one\ntwo\n").unwrap();
    let arguments = writer.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--once");
    let ran = server.rpc(&arguments);
    assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr.contains("other entries with this number"),
        "{}",
        ran.stderr
    );
}

#[test]
fn standard_input_is_sent_to_its_end() {
    let server = Server::start();
    let input: String = (0..5_000).map(|line| format!("line {line}\n")).collect();
    let ran = server.rpc_with_input(&["log", "ship", "--level", "warn", "-"], input + "last");
    ran.assert(0, "", "");

    let found = messages(
        &server
            .rpc(&["log", "read", "--all", "--level", "warn"])
            .data(),
    );
    assert_eq!((found.len(), found[4_999].as_str()), (5_001, "line 4999"));
    assert_eq!(found[5_000], "last");
}

#[test]
fn lines_of_standard_input_that_the_log_did_not_acknowledge_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ran = rpc_at(
        &nowhere(&dir),
        &["--timeout", "100ms", "log", "ship", "-"],
        "one\ntwo\n",
    );
    assert_eq!((ran.exit, ran.stdout.as_str()), (4, ""));
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        said[0].ends_with("trying again until the log takes it"),
        "{said:?}"
    );
    assert_eq!(said[1..], ["rpc: 2 lines were not acknowledged"]);
}

#[test]
fn an_address_that_is_not_one_ends_ship_and_is_not_tried_again() {
    let long = format!("unix:/{}", "x".repeat(200));
    for address in ["localhost", &long] {
        let ran = rpc_at(address, &["log", "ship", "-"], "one\n");
        assert_eq!((ran.exit, &*ran.stdout), (2, ""), "{}", ran.stderr);
        assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
    }
}

#[test]
fn a_state_belongs_to_a_file_and_its_flags_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let address = nowhere(&dir);
    for arguments in [
        &["log", "ship"][..],
        &["log", "ship", "--file", "a"],
        &["log", "ship", "--once", "-"],
        &["log", "ship", "a"],
    ] {
        let ran = start_rpc_at(&address, arguments).finish();
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
    }
}
