//! Loggers of commands in the daemon: their files, and SIGHUP.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{PATIENCE, Peer};
use crate::daemon_life::Place;

const FAIL: &str = r#"{"id":1,"cmdid":10006,"params":{"code":13}}"#;

/// Waits until a file has this text.
fn has(file: &Path, text: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = fs::read_to_string(file).unwrap_or_default();
        if found.contains(text) {
            return;
        }
        assert!(Instant::now() < end, "{text:?} is not in {found:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_logger_has_a_file_of_its_own_and_sighup_gives_it_another_one() {
    let place = Place::new();
    let (first, second) = (place.path("first.log"), place.path("second.log"));
    let config = |file: &Path, rest: &str| {
        format!(
            "listen = [\"127.0.0.1:0\"]\n\
             [[loggers]]\nname = \"vectors\"\ncommands = [\"10001-10008\"]\nfile = {file:?}\nfile_format = \"json\"\n{rest}\n\
             [access_log]\nper_million = 1000000\n"
        )
    };
    let mut daemon = place.start(&config(&first, ""), &[]);
    let mut peer = Peer::connect(&daemon.address());
    assert_eq!(peer.ask(FAIL)["code"], 13);
    has(&first, "\"cmdid\":10006");

    // Only a command that no logger named at the start waits.
    let more = "[[loggers]]\nname = \"tests\"\ncommands = [\"10000\"]\nconsole = \"json\"";
    place.configure(&config(&second, more));
    daemon.signal("HUP");
    daemon.log_line("reloaded: loggers");
    assert!(
        daemon
            .log_line("needs a restart")
            .contains("loggers of 10000")
    );
    let before = fs::read_to_string(&first).unwrap();
    assert_eq!(peer.ask(FAIL)["code"], 13);
    has(&second, "\"cmdid\":10006");
    assert_eq!(fs::read_to_string(&first).unwrap(), before);

    place.configure(&config(Path::new("/dev/null/x"), ""));
    daemon.signal("HUP");
    daemon.log_line("not reloaded, the old state stays: [[loggers]] \"vectors\": `file`");
    daemon.signal("TERM");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn loggers_that_cannot_work_are_refused_at_the_start() {
    let place = Place::new();
    let refused = |loggers: &str, message: &str| {
        let (status, log) = place.start(loggers, &[]).ended();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(message), "{log}");
    };

    refused(
        "[[loggers]]\nname = \"a\"\ncommands = [\"10001\"]\n",
        "[[loggers]] \"a\": it writes nowhere; set `file`",
    );
    refused(
        "[[loggers]]\nname = \"a\"\ncommands = [\"10001\"]\nfile = \"/dev/null/x\"\n",
        "[[loggers]] \"a\": `file` = \"/dev/null/x\": ",
    );
}
