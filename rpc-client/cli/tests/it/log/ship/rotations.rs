//! Files that come and go while `rpc log ship` reads, or does not.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{Duration, SystemTime};

use rpc_client::blocking::Client;
use serde_json::json;
use tempfile::TempDir;

use super::{Writer, numbered, refused, shipped, wait_for};
use crate::support::{Running, Server, command, start_rpc_at};

/// A ship whose log is away: it has a line more than it could send.
struct Away {
    /// The log's files, and where it listened.
    data: TempDir,
    address: String,
    writer: Writer,
    child: Running,
}

impl Away {
    /// Ends the log after this number of lines.
    fn after(lines: u64) -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start_at("127.0.0.1:0", data.path());
        let address = server.address.clone();
        let mut writer = Writer::new();
        writer.write(lines);
        let arguments = writer.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = start_rpc_at(&address, &arguments);
        wait_for(&Client::new(&*address), lines);

        drop(server);
        writer.write(1);
        assert!(child.next_error_line().contains("trying again"));
        Self {
            data,
            address,
            writer,
            child,
        }
    }
}

#[test]
fn whole_files_that_came_and_were_rotated_while_ship_was_down_are_sent() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(2);
    writer.rotate();
    writer.write(2);
    writer.ship_once(&server.address);

    // Behind what was sent the file gets a line; then two are rotated, and the older one is compressed.
    writer.write(1);
    let file = File::open(writer.path()).unwrap();
    let later = SystemTime::now() + Duration::from_secs(1);
    file.set_modified(later).unwrap();
    writer.rotate();
    writer.write(3);
    let file = File::open(writer.path()).unwrap();
    file.set_modified(later).unwrap();
    writer.rotate();
    writer.write(1);
    writer.compress(2);

    let said = writer.ship_and_say(&server.address);
    let expected = [
        "rpc: the file that was sent up to byte 14 is neither ",
        "app.log.2.gz is not sent: it is compressed; ",
    ];
    for (line, expected) in said.lines().zip(expected) {
        assert!(line.contains(expected), "{said}");
    }
    assert_eq!(said.lines().count(), 2, "{said}");
    assert_eq!(shipped(&server), numbered([3, 4, 6, 7, 8, 9]));
}

#[test]
fn whole_files_that_came_and_were_rotated_while_the_log_was_away_are_sent() {
    let Away {
        data,
        address,
        mut writer,
        child,
    } = Away::after(1);
    for _ in 0..2 {
        writer.write(2);
        writer.rotate();
    }
    writer.write(2);
    writer.compress(2);

    let server = Server::start_at(&address, data.path());
    wait_for(&Client::new(&*address), writer.lines);
    child.kill();
    assert_eq!(shipped(&server), numbered(1..=8));
}

#[test]
fn full_files_of_a_logger_that_could_not_be_renamed_are_sent_in_their_turn() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(1);
    writer.rotate_to(".1");
    writer.write(2);
    writer.ship_once(&server.address);

    for suffix in [".pending.9", ".pending.10"] {
        writer.write(1);
        writer.rotate_to(suffix);
        let file = OpenOptions::new().append(true).open(writer.beside(suffix));
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        file.unwrap().set_modified(long_ago).unwrap();
    }
    writer.write(1);
    writer.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered(2..=6));
}

#[test]
fn an_old_file_that_is_still_written_to_and_files_of_other_programs_are_not_sent() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(2);
    writer.rotate();
    writer.write(1);
    writer.ship_once(&server.address);

    writer.write(1);
    writer.rotate();
    writer.write(1);
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    for suffix in [".1", ".2"] {
        let file = OpenOptions::new().append(true).open(writer.beside(suffix));
        file.unwrap().set_modified(long_ago).unwrap();
    }
    let mut old = OpenOptions::new()
        .append(true)
        .open(writer.beside(".2"))
        .unwrap();
    old.write_all(b"by an old process\n").unwrap();
    for stranger in [".json", ".bak", ".offset", "-old"] {
        std::fs::write(writer.beside(stranger), "of another program\n").unwrap();
    }

    writer.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered([3, 4, 5]));

    // Nor after a rotation of names by dates, which puts it behind the others.
    std::fs::rename(writer.beside(".2"), writer.beside("-20261201")).unwrap();
    std::fs::rename(writer.path(), writer.beside("-20261130")).unwrap();
    let file = File::open(writer.beside("-20261130")).unwrap();
    file.set_modified(long_ago).unwrap();
    let mut newest = File::create(writer.path()).unwrap();
    newest.write_all(b"line 6\n").unwrap();
    writer.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered([3, 4, 5, 6]));
}

#[test]
fn a_rotated_file_gets_its_time_of_silence_also_with_once() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(2);
    let mut old = OpenOptions::new().append(true).open(writer.path()).unwrap();
    writer.ship_once(&server.address);
    writer.rotate();
    writer.lines = 4;
    writer.write(1);

    writeln!(old, "line 3").unwrap();
    let arguments = writer.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--once");
    let mut child = command(&server.address, &arguments).spawn().unwrap();
    wait_for(&Client::new(&*server.address), 3);
    writeln!(old, "line 4").unwrap();
    assert!(child.wait().unwrap().success());
    let silent_since = old.metadata().unwrap().modified().unwrap();
    assert!(silent_since.elapsed().unwrap() >= Duration::from_secs(2));
    assert_eq!(shipped(&server), numbered(1..=5));
}

#[test]
fn a_file_that_was_cut_and_has_grown_again_while_the_log_was_away_is_sent_from_its_beginning() {
    let Away {
        data,
        address,
        mut writer,
        mut child,
    } = Away::after(2);
    File::options()
        .write(true)
        .open(writer.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    writer.write(50);

    let server = Server::start_at(&address, data.path());
    wait_for(&Client::new(&*address), writer.lines);
    assert!(child.next_error_line().ends_with(": back"));
    assert!(
        child
            .next_error_line()
            .ends_with("was cut; beginning with its first line")
    );
    child.kill();
    assert_eq!(shipped(&server), numbered(1..=53));
}

#[test]
fn a_file_that_was_copied_and_cut_while_ship_was_down_is_read_to_the_end_of_its_copy() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(3);
    writer.ship_once(&server.address);

    writer.write(2);
    std::fs::copy(writer.path(), writer.beside(".1")).unwrap();
    File::options()
        .write(true)
        .open(writer.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    writer.write(20);
    writer.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered(1..=25));

    // Also if nothing of it was sent before.
    writer.rotate_to(".2026-11-30");
    File::create(writer.path()).unwrap();
    writer.ship_once(&server.address);
    writer.write(2);
    std::fs::copy(writer.path(), writer.beside(".2026-12-01")).unwrap();
    let file = File::options().write(true).open(writer.path());
    file.unwrap().set_len(0).unwrap();
    writer.write(2);
    writer.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered(1..=29));
}

#[test]
fn a_file_that_was_cut_and_has_grown_again_with_the_same_beginning_is_found_out() {
    let server = Server::start();
    let writer = Writer::new();
    let head = "#".repeat(300);
    std::fs::write(writer.path(), format!("{head}\none\n")).unwrap();
    writer.ship_once(&server.address);
    std::fs::write(writer.path(), format!("{head}\ntwo\nthree\n")).unwrap();

    let said = writer.ship_and_say(&server.address);
    assert!(said.ends_with("was cut; beginning with its first line\n"));
    let expected = [&*head, "one", &*head, "two", "three"];
    assert_eq!(shipped(&server), expected);
}

#[test]
fn a_state_of_the_first_version_goes_on_and_a_batch_that_the_log_has_otherwise_shows_a_cut() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(2);
    writer.ship_once(&server.address);
    let state = std::fs::read(writer.state()).unwrap();
    let mut state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    for later in ["before", "modified_ms", "older"] {
        state.as_object_mut().unwrap().remove(later).unwrap();
    }
    state["version"] = json!(1);
    std::fs::write(writer.state(), state.to_string()).unwrap();
    writer.write(1);
    writer.ship_once(&server.address);
    assert_eq!(shipped(&server), numbered(1..=3));

    // The state names the last batch, as one that may not be in the log. The file has other lines there, with as many bytes.
    state["batch"] = json!(2);
    state["from"] = json!(14);
    state["to"] = json!(21);
    std::fs::write(writer.state(), state.to_string()).unwrap();
    std::fs::write(writer.path(), "line 1\nline 2\nline 7\n").unwrap();
    let said = writer.ship_and_say(&server.address);
    assert!(said.ends_with("was cut; beginning with its first line\n"));
    assert_eq!(shipped(&server), numbered([1, 2, 3, 1, 2, 7]));
}

#[test]
fn a_state_of_a_later_version_is_refused_by_its_number() {
    let server = Server::start();
    let mut writer = Writer::new();
    writer.write(1);
    writer.ship_once(&server.address);
    let state = std::fs::read_to_string(writer.state()).unwrap();
    let state = state.replace(r#""version":2"#, r#""version":3,"more":1"#);
    std::fs::write(writer.state(), state).unwrap();

    let arguments = writer.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = server.rpc(&arguments);
    refused(&ran, "`version` is 3, and this `rpc` reads 1 to 2");
}
