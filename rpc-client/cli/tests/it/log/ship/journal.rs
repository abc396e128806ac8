//! `rpc log ship --journal`, with a `journalctl` of the tests and with that of systemd.

mod real;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use rpc_client::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{WAIT_MAX, Writer, last, numbered, refused, shipped, wait_for, wait_for_run};
use crate::log::entries;
use crate::support::{Ran, Running, Server, command};

/// What the tests run for `journalctl`.
const JOURNALCTL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/log/ship/journal/journalctl"
);

/// A journal of numbered entries, and the program that reads it.
struct Journal {
    dir: TempDir,
    lines: u64,
}

impl Journal {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        // Not a copy, which could still be open for writing in a child of another test.
        symlink(JOURNALCTL, dir.path().join("bin/journalctl")).unwrap();
        let journal = Self { dir, lines: 0 };
        journal.add("");
        journal
    }

    /// The entries, a line for each.
    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn state_as_json(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.state()).unwrap()).unwrap()
    }

    fn add(&self, text: &str) {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(self.path());
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn write(&mut self, count: u64) {
        self.write_and(count, "");
    }

    /// Writes entries, and at once with the last one the beginning of a line.
    fn write_and(&mut self, count: u64, part: &str) {
        let mut text = String::new();
        for _ in 0..count {
            self.lines += 1;
            let line = self.lines;
            let entry = json!({
                "__CURSOR": format!("c{line}"), "__REALTIME_TIMESTAMP": (1_764_500_000_000_000 + line).to_string(),
                "MESSAGE": format!("line {line}"), "SYSLOG_IDENTIFIER": "app",
            });
            text.push_str(&entry.to_string());
            text.push('\n');
        }
        text.push_str(part);
        self.add(&text);
    }

    /// Deletes what it has, as journald does with the oldest files.
    fn rotate_away(&self) {
        std::fs::write(self.path(), "").unwrap();
    }

    /// What `journalctl` was called with.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.dir.path().join("journal.calls"));
        calls.unwrap().lines().map(str::to_owned).collect()
    }

    fn command(&self, address: &str, flags: &[&str]) -> Command {
        let state = self.state().display().to_string();
        let arguments = [&["log", "ship", "--journal", "--state", &state], flags].concat();
        let mut command = command(address, &arguments);
        let path = format!(
            "{}:{}",
            self.dir.path().join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        command.env("PATH", path).env("JOURNAL", self.path());
        command
    }

    fn ship_and_say(&self, address: &str, flags: &[&str]) -> String {
        let flags = [&["--once"], flags].concat();
        let ran = Ran::from(self.command(address, &flags).output().unwrap());
        assert_eq!((ran.exit, &*ran.stdout), (0, ""), "{}", ran.stderr);
        ran.stderr
    }

    /// Sends what there is.
    #[track_caller]
    fn ship_once(&self, address: &str) {
        assert_eq!(self.ship_and_say(address, &[]), "");
    }
}

#[test]
fn no_entry_of_the_journal_is_lost_or_sent_twice_over_kills_and_restarts_of_the_log() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Some(Server::start_at("127.0.0.1:0", data.path()));
    let address = server.as_ref().unwrap().address.clone();
    let mut journal = Journal::new();

    journal.write(1);
    journal.ship_once(&address);
    for round in 0..16u64 {
        journal.write(400);
        let mut child = journal.command(&address, &[]).spawn().unwrap();
        journal.write(300);
        if round % 8 == 5 {
            drop(server.take());
            server = Some(Server::start_at(&address, data.path()));
        }
        journal.write(1 + round * 37 % 200);

        // It is killed at work: before its first batch, in the middle, or when it has caught up with the journal.
        let client = Client::new(&*address);
        let until = (last(&client) + round * 131 % 700).min(journal.lines);
        wait_for_run(&client, until, &mut child);
        assert_eq!(child.try_wait().unwrap(), None, "it goes on");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    journal.ship_once(&address);
    let found = shipped(&server.unwrap());
    assert!(
        found == numbered(1..=journal.lines),
        "{} of {} entries",
        found.len(),
        journal.lines
    );
}

#[test]
fn a_batch_that_the_log_may_not_have_is_sent_again_as_it_was_though_the_journal_has_deleted_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_at("127.0.0.1:0", data.path());
    let address = server.address.clone();
    let mut journal = Journal::new();
    journal.write(2);
    journal.ship_once(&address);
    drop(server);

    journal.write(3);
    let mut child = Running::of(journal.command(&address, &[]));
    assert!(child.next_error_line().contains("trying again"));
    child.kill();
    let unsent = std::fs::read(journal.state()).unwrap();
    journal.rotate_away();
    journal.write(1);

    let server = Server::start_at(&address, data.path());
    let said = journal.ship_and_say(&address, &[]);
    assert!(
        said.contains("no longer has the last entry that was sent (2025-11-30T10:53:20.000Z)"),
        "{said}"
    );
    assert_eq!(shipped(&server), numbered(1..=6));

    // Nor is it doubled if it was in the log.
    std::fs::write(journal.state(), unsent).unwrap();
    journal.ship_and_say(&address, &[]);
    assert_eq!(shipped(&server), numbered(1..=6));
    assert_eq!(journal.state_as_json().get("entries"), None);
}

#[test]
fn the_first_run_begins_with_the_oldest_entry_with_the_boot_or_with_what_comes() {
    let check = |flags: &[&str], boot: &str, expected: &[u64]| {
        let server = Server::start();
        let mut journal = Journal::new();
        journal.write(3);
        let run = |journal: &Journal| {
            let mut command = journal.command(&server.address, &[&["--once"], flags].concat());
            let ran = Ran::from(command.env("JOURNAL_BOOT", boot).output().unwrap());
            ran.assert(0, "", "");
        };
        run(&journal);
        // The next run goes on behind the first one, whatever it was asked for.
        journal.write(1);
        run(&journal);
        assert_eq!(
            shipped(&server),
            numbered(expected.iter().copied()),
            "{flags:?}"
        );
    };

    check(&[], "", &[1, 2, 3, 4]);
    check(&["--begin", "oldest"], "", &[1, 2, 3, 4]);
    check(&["--begin", "boot"], "3", &[3, 4]);
    check(&["--begin", "boot"], "4", &[4]);
    check(&["--begin", "now"], "", &[4]);

    // An empty journal has no newest entry: all that comes is new.
    let server = Server::start();
    let mut journal = Journal::new();
    assert_eq!(
        journal.ship_and_say(&server.address, &["--begin", "now"]),
        ""
    );
    journal.write(2);
    journal.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered([1, 2]));
}

#[test]
fn a_batch_is_under_way_no_longer_once_it_is_acknowledged_though_a_line_behind_it_is_not_whole() {
    let server = Server::start();
    let mut journal = Journal::new();
    let line = r#"{"__CURSOR":"c3","__REALTIME_TIMESTAMP":"1764500000000003","MESSAGE":"line 3"}"#;
    let (part, rest) = line.split_at(20);

    // Of a run that ends, and of one that goes on.
    journal.write(1);
    journal.add("nonsense\n-- ");
    assert!(
        journal
            .ship_and_say(&server.address, &[])
            .contains("nonsense")
    );
    assert_eq!(journal.state_as_json().get("entries"), None);

    journal.add("\n");
    let mut child = Running::of(journal.command(&server.address, &[]));
    // Once of the run to the end, and once of that which follows.
    for _ in 0..2 {
        assert!(child.next_error_line().contains("nonsense"));
    }
    journal.write_and(1, part);
    wait_for(&Client::new(&*server.address), 2);
    let begun = Instant::now();
    while journal.state_as_json()["batch"] != 2 || journal.state_as_json().get("entries").is_some()
    {
        assert!(begun.elapsed() < WAIT_MAX, "{}", journal.state_as_json());
        std::thread::yield_now();
    }

    journal.add(&format!("{rest}\n"));
    wait_for(&Client::new(&*server.address), 3);
    child.kill();
    assert_eq!(shipped(&server), numbered(1..=3));
}

#[test]
fn entries_that_were_rotated_away_are_said_to_be_and_those_that_are_left_are_sent() {
    let server = Server::start();
    let mut journal = Journal::new();
    journal.write(3);
    journal.ship_once(&server.address);

    journal.write(2);
    journal.rotate_away();
    journal.write(1);
    let said = journal.ship_and_say(&server.address, &[]);
    assert!(
        said.ends_with("ship continues with the first later entry that the journal still has\n"),
        "{said}"
    );
    assert_eq!(shipped(&server), numbered([1, 2, 3, 6]));

    // A journal that begins anew, with a clock that was set back.
    journal.rotate_away();
    journal.lines = 0;
    journal.write(2);
    let said = journal.ship_and_say(&server.address, &[]);
    assert!(
        said.ends_with("ship continues with entries that are written from now on\n"),
        "{said}"
    );
    journal.write(2);
    journal.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered([1, 2, 3, 6, 3, 4]));
}

#[test]
fn a_journalctl_that_is_missing_fails_or_ends_is_said_with_what_to_do() {
    let server = Server::start();
    let mut journal = Journal::new();
    journal.write(2);
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = journal.command(&server.address, &[]);
        change(&mut command);
        Ran::from(command.output().unwrap())
    };

    let ran = run(&|command| {
        command.env("PATH", journal.dir.path());
    });
    ran.assert(
        2,
        "",
        "rpc: `--journal` needs the program `journalctl`, which is not on the PATH\n\
         hint: install systemd, or name where it is with PATH; without a journal, ship the files with --file\n",
    );

    let ran = run(&|command| {
        command.env("JOURNAL_FAILS", "yes");
    });
    ran.assert(
        1,
        "",
        "rpc: journalctl: Failed to open journal: Permission denied\n\
         rpc: journalctl cannot read the journal (exit status: 1): `journalctl -n 1` has to work for this user, as for members \
         of the group systemd-journal\n",
    );

    // What it has printed until then is sent.
    let ran = run(&|command| {
        command.env("JOURNAL_ENDS", "yes");
    });
    ran.assert(
        1,
        "",
        "rpc: journalctl: Failed to iterate through journal: Bad message\n\
         rpc: journalctl has ended (exit status: 1), although there may be more entries; start ship again: it continues after \
         the last entry that it has sent\n",
    );
    journal.write(1);
    journal.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered([1, 2, 3]));
}

#[test]
fn a_journal_is_followed_by_its_units_and_lines_that_are_not_entries_are_said() {
    let server = Server::start();
    let mut journal = Journal::new();
    journal.write(1);
    let flags = ["--unit", "a.service", "--unit", "b@*"];
    let mut child = Running::of(journal.command(&server.address, &flags));
    let client = Client::new(&*server.address);
    wait_for(&client, 1);

    journal.add("-- Boot 8f2e --\nnonsense\n[1,2]\n");
    journal.write(1);
    journal.add(concat!(
        r#"{"__CURSOR":"c3","__REALTIME_TIMESTAMP":"1764500000000003","PRIORITY":"4","#,
        r#""_SYSTEMD_UNIT":"a.service","MESSAGE":[255,10,97],"ORDER":["1","2"]}"#,
        "\n"
    ));
    wait_for(&client, 3);
    for line in ["nonsense", "[1,2]"] {
        let said = child.next_error_line();
        assert!(
            said.ends_with(&format!("which is not sent: `{line}`")),
            "{said}"
        );
    }
    child.kill();

    let mut found = entries(&server.rpc(&["log", "read", "--last", "1"]).data());
    assert!(
        found[0]
            .as_object_mut()
            .unwrap()
            .remove("rx")
            .unwrap()
            .is_u64()
    );
    let expected = json!([{
        "seq": 3, "level": "warn", "service": "a.service", "message": "\u{fffd}\na",
        "fields": {"unit": "a.service", "order": ["1", "2"]},
    }]);
    assert_eq!(Value::from(found), expected);

    let calls = journal.calls();
    let reads: Vec<&String> = calls.iter().filter(|call| call.contains("--all")).collect();
    let units = "--unit=a.service --unit=b@*";
    assert_eq!(
        reads,
        [
            &format!("--no-pager --output=json --all {units}"),
            &format!("--no-pager --output=json --all --cursor=c1 {units} --follow --no-tail"),
        ]
    );
}

#[test]
fn the_states_of_files_and_of_journals_are_told_apart_and_flags_that_do_not_go_together_are_refused()
 {
    let server = Server::start();
    let mut journal = Journal::new();
    journal.write(1);
    journal.ship_once(&server.address);
    let mut writer = Writer::new();
    writer.write(1);
    writer.ship_once(&server.address);

    let [of_file, of_journal] = [writer.state(), journal.state()];
    std::fs::copy(&of_journal, writer.dir.path().join("copy")).unwrap();
    std::fs::copy(&of_file, &of_journal).unwrap();
    std::fs::copy(writer.dir.path().join("copy"), &of_file).unwrap();
    let ran = Ran::from(journal.command(&server.address, &[]).output().unwrap());
    refused(
        &ran,
        " belongs to a run with `--file`; give this run another file",
    );
    let arguments = writer.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = server.rpc(&arguments);
    refused(
        &ran,
        " belongs to a run with `--journal`; give this run another file",
    );

    for arguments in [
        &["--journal"][..],
        &["--journal", "-"],
        &["--journal", "--once", "--state", "s", "--file", "f"],
        &["--journal", "--once", "--state", "s", "--service", "a"],
        &["--journal", "--once", "--state", "s", "--begin", "then"],
        &["--file", "f", "--once", "--state", "s", "--unit", "a"],
        &["--begin", "now", "-"],
    ] {
        let ran = server.rpc(&[&["log", "ship"], arguments].concat());
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
    }
}
