//! The `journalctl` of systemd on journals of the test. `systemd-journal-remote` makes them, so that no systemd has to run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rpc_client::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{numbered, shipped, wait_for};
use crate::log::entries;
use crate::needs;
use crate::support::{Running, Server, start_rpc_at};

/// Where Debian and others have the program.
const REMOTE: [&str; 2] = [
    "/lib/systemd/systemd-journal-remote",
    "/usr/lib/systemd/systemd-journal-remote",
];

/// A directory with files of journals, and a state for it.
struct Journal {
    dir: TempDir,
    remote: &'static Path,
    lines: u64,
}

impl Journal {
    /// `None` on a machine without these programs.
    fn new() -> Option<Self> {
        if !needs::has("journalctl", "systemd") {
            return None;
        }
        let Some(remote) = REMOTE.iter().map(Path::new).find(|path| path.exists()) else {
            needs::leave_out(
                "`systemd-journal-remote` is not installed (Debian: systemd-journal-remote)",
            );
            return None;
        };

        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        Some(Self {
            dir,
            remote,
            lines: 0,
        })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// Writes into a file of the journal what is in systemd's format for exports.
    fn import(&self, file: &str, export: &[u8]) {
        let mut child = Command::new(self.remote)
            .arg("--output")
            .arg(self.path().join(file))
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(export).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Numbered entries, those with odd numbers of the unit `odd.service`.
    fn write(&mut self, boot: char, count: u64) {
        let mut export = Vec::new();
        for _ in 0..count {
            self.lines += 1;
            let unit = if self.lines.is_multiple_of(2) {
                "even"
            } else {
                "odd"
            };
            export.extend(head(boot, self.lines));
            let rest = format!(
                "MESSAGE=line {}\n_SYSTEMD_UNIT={unit}.service\n\n",
                self.lines
            );
            export.extend(rest.as_bytes());
        }
        self.import("system.journal", &export);
    }

    fn arguments(&self, flags: &[&str]) -> Vec<String> {
        let state = self.dir.path().join("state").display().to_string();
        let journal = format!("--journal={}", self.path().display());
        let arguments = ["log", "ship", &journal, "--state", &state];
        let arguments = arguments.iter().chain(flags);
        arguments.map(|it| (*it).to_owned()).collect()
    }

    fn start(&self, server: &Server) -> Running {
        let arguments = self.arguments(&[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        start_rpc_at(&server.address, &arguments)
    }

    fn ship_and_say(&self, server: &Server, flags: &[&str]) -> String {
        let arguments = self.arguments(&[&["--once"], flags].concat());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = server.rpc(&arguments);
        assert_eq!((ran.exit, &*ran.stdout), (0, ""), "{}", ran.stderr);
        ran.stderr
    }
}

/// The beginning of an entry of a boot.
fn head(boot: char, number: u64) -> Vec<u8> {
    let us = 1_764_500_000_000_000 + number * 1_000;
    let boot = boot.to_string().repeat(32);
    format!("__REALTIME_TIMESTAMP={us}\n__MONOTONIC_TIMESTAMP={number}\n_BOOT_ID={boot}\n")
        .into_bytes()
}

/// A field whose value is not one line.
fn binary(name: &str, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u64).to_le_bytes();
    [name.as_bytes(), b"\n", &length, value, b"\n"].concat()
}

#[test]
fn entries_of_a_real_journal_come_once_over_boots_and_kills_and_while_it_grows() {
    let Some(mut journal) = Journal::new() else {
        return;
    };
    let server = Server::start();
    let client = Client::new(&*server.address);

    // Entries of a boot before the one that is followed are there, too.
    journal.write('a', 3);
    assert_eq!(journal.ship_and_say(&server, &[]), "");
    journal.write('a', 2);
    journal.write('b', 2);
    let child = journal.start(&server);
    wait_for(&client, 7);
    journal.write('b', 2);
    wait_for(&client, 9);
    journal.write('c', 2);
    wait_for(&client, 11);
    child.kill();

    journal.write('c', 1500);
    assert_eq!(journal.ship_and_say(&server, &[]), "");
    assert_eq!(journal.ship_and_say(&server, &[]), "");
    assert_eq!(shipped(&server), numbered(1..=1511));
}

#[test]
fn a_real_journal_of_which_one_unit_is_sent_misses_none_of_its_entries_and_a_lost_cursor_is_said() {
    let Some(mut journal) = Journal::new() else {
        return;
    };
    let server = Server::start();
    journal.write('a', 2);
    assert_eq!(journal.ship_and_say(&server, &["--begin", "now"]), "");

    // The place is an entry of the other unit.
    journal.write('a', 3);
    let odd = ["--unit", "odd.service"];
    assert_eq!(journal.ship_and_say(&server, &odd), "");
    assert_eq!(shipped(&server), numbered([3, 5]));

    std::fs::remove_file(journal.path().join("system.journal")).unwrap();
    journal.write('a', 2);
    let said = journal.ship_and_say(&server, &odd);
    assert!(
        said.contains("no longer has the last entry that was sent (2025-11-30T10:53:20.005Z)"),
        "{said}"
    );
    assert_eq!(shipped(&server), numbered([3, 5, 7]));
}

#[test]
fn a_real_boot_without_an_entry_yet_begins_with_the_first_one_that_comes() {
    let Some(mut journal) = Journal::new() else {
        return;
    };
    let server = Server::start();
    journal.ship_and_say(&server, &["--begin", "boot"]);
    journal.write('a', 2);
    assert_eq!(journal.ship_and_say(&server, &[]), "");
    assert_eq!(shipped(&server), numbered([1, 2]));
}

#[test]
fn the_real_boot_of_a_first_run_that_sends_nothing_is_that_of_the_next_one() {
    let Some(mut journal) = Journal::new() else {
        return;
    };
    let server = Server::start();
    journal.write('a', 3);
    journal.write('b', 2);
    let silent = ["--begin", "boot", "--unit", "silent.service"];
    assert_eq!(journal.ship_and_say(&server, &silent), "");
    assert!(shipped(&server).is_empty());

    journal.write('c', 2);
    assert_eq!(journal.ship_and_say(&server, &[]), "");
    assert_eq!(shipped(&server), numbered(4..=7));
}

#[test]
fn a_real_journal_that_has_deleted_the_boot_before_anything_was_sent_is_said_to_have() {
    let Some(mut journal) = Journal::new() else {
        return;
    };
    let server = Server::start();
    journal.write('a', 2);
    let silent = ["--begin", "boot", "--unit", "silent.service"];
    assert_eq!(journal.ship_and_say(&server, &silent), "");

    std::fs::remove_file(journal.path().join("system.journal")).unwrap();
    journal.write('a', 2);
    let said = journal.ship_and_say(&server, &[]);
    assert!(
        said.contains("the entry that the first run was to begin with (2025-11-30T10:53:20.001Z)"),
        "{said}"
    );
    assert_eq!(shipped(&server), numbered([3, 4]));
}

#[test]
fn odd_entries_of_a_real_journal_are_entries_of_the_log() {
    let Some(journal) = Journal::new() else {
        return;
    };
    let server = Server::start();
    let long = "x".repeat(10_000);
    let export = [
        head('a', 1),
        binary("MESSAGE", b"two\nlines \x1b[31m \xff\0"),
        b"PRIORITY=3\n_SYSTEMD_UNIT=x.service\n_PID=12\nSYSLOG_FACILITY=10\n\n".to_vec(),
        head('a', 2),
        format!("MESSAGE={long}\nTWICE=a\nTWICE=b\nSYSLOG_IDENTIFIER=long\n\n").into_bytes(),
        head('a', 3),
        b"_COMM=sh\nPRIORITY=9\nMESSAGE=a\nMESSAGE=b\n\n".to_vec(),
    ]
    .concat();
    journal.import("system.journal", &export);

    assert_eq!(journal.ship_and_say(&server, &[]), "");
    let mut found = entries(&server.rpc(&["log", "read"]).data());
    // The first one of a batch names it.
    found[0].as_object_mut().unwrap().remove("batch").unwrap();
    for entry in &mut found {
        assert!(
            entry
                .as_object_mut()
                .unwrap()
                .remove("rx")
                .unwrap()
                .is_u64()
        );
    }
    // Which of two values is first, the journal does not say.
    let both = found[1]["fields"]["twice"].as_array_mut().unwrap();
    both.sort_by_key(Value::to_string);
    let message = found[2]["message"].as_str().unwrap();
    assert!(["a\nb", "b\na"].contains(&message), "{message}");
    found[2]["message"] = json!("a\nb");

    let boot = "a".repeat(32);
    let expected = json!([
        {
            "seq": 1, "level": "error", "service": "x.service", "message": "two\nlines \u{1b}[31m \u{fffd}\0",
            "fields": {"procid": "12", "unit": "x.service", "facility": "authpriv", "boot_id": boot},
        },
        {
            "seq": 2, "level": "info", "service": "long", "message": long,
            "fields": {"twice": ["a", "b"], "boot_id": boot},
        },
        {
            "seq": 3, "level": "info", "service": "sh", "message": "a\nb",
            "fields": {"comm": "sh", "boot_id": boot},
        },
    ]);
    assert_eq!(Value::from(found), expected);
}
