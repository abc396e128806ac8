use std::fs;
use std::time::Duration;

use super::*;

fn logger(name: &str, commands: &[&str], file: &str) -> LoggerConfig {
    LoggerConfig {
        name: name.into(),
        commands: commands.iter().map(|&command| command.into()).collect(),
        file: file.into(),
        ..LoggerConfig::default()
    }
}

#[track_caller]
fn refused(configs: &[LoggerConfig], message: &str) {
    assert_eq!(check(configs).unwrap_err().to_string(), message);
}

#[test]
fn loggers_that_do_not_go_together_are_refused() {
    let orders = logger("orders", &["1001-1007", "1100"], "a.log");
    assert_eq!(
        check(&[orders.clone(), logger("b", &["1008"], "b.log")]),
        Ok(())
    );

    refused(
        &[
            orders.clone(),
            logger("b", &["1"], "b.log"),
            logger("b", &["2"], "c.log"),
        ],
        "[[loggers]]: two have the `name` \"b\"; rename one",
    );
    refused(
        &[orders.clone(), logger("b", &["1"], "a.log")],
        "[[loggers]]: two have the `file` \"a.log\"; give each its own",
    );
    let here = std::env::current_dir().unwrap().join("a.log");
    let here = here.to_str().unwrap();
    refused(
        &[orders.clone(), logger("b", &["1"], here)],
        &format!("[[loggers]]: two have the `file` \"{here}\"; give each its own"),
    );
    refused(
        &[orders.clone(), logger("b", &["1"], "./a.log")],
        "[[loggers]]: two have the `file` \"./a.log\"; give each its own",
    );
    refused(
        &[orders.clone(), logger("b", &["1005-1200"], "b.log")],
        "[[loggers]]: command 1005 is in `commands` of \"orders\" and of \"b\"; take it out of one",
    );
    refused(
        &[logger("b", &["x"], "b.log")],
        "[[loggers]] \"b\": `commands`: \"x\" must be a cmdid like \"1001\", a range like \"2000-2099\", or \"*\"",
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_refused_with_its_logger() {
    let dir = tempfile::tempdir().unwrap();
    let console = LogQueue::start(1 << 20, std::io::sink(), |_| ()).unwrap();
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let orders = LoggerConfig {
        file: taken,
        ..logger("orders", &["1"], "")
    };

    let error = Loggers::open(&[orders], console).err().unwrap().to_string();
    assert!(
        error.starts_with("[[loggers]] \"orders\": `file` = ")
            && error.contains("taken\" cannot be opened: "),
        "{error}"
    );
}

#[test]
fn a_full_file_that_a_killed_process_has_left_is_renamed_before_the_logger_writes() {
    let dir = tempfile::tempdir().unwrap();
    let console = LogQueue::start(1 << 20, std::io::sink(), |_| ()).unwrap();
    let file = dir.path().join("orders.log");
    let pending = dir.path().join("orders.log.pending.7");
    fs::write(&pending, "full").unwrap();
    let orders = LoggerConfig {
        file,
        ..logger("orders", &["1"], "")
    };

    let _loggers = Loggers::open(&[orders], console).unwrap();
    assert!(!pending.exists());
    let full = fs::read_to_string(dir.path().join("orders.log.1"));
    assert_eq!(full.unwrap(), "full");
}

#[test]
fn a_full_file_whose_renaming_has_failed_is_renamed_while_the_logger_writes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders.log");
    // The library does not count a directory, and cannot replace it.
    fs::create_dir(dir.path().join("orders.log.1")).unwrap();
    let orders = LoggerConfig {
        file: file.clone(),
        file_bytes_max: 10,
        ..logger("orders", &["1"], "")
    };

    let queue = output::file(&orders, Vec::new(), dropped::DroppedLines::default()).unwrap();
    for line in ["first\n", "second\n", "third\n"] {
        queue.push(line.as_bytes());
        queue.flush(Duration::from_secs(60));
    }
    queue.close();
    queue.wait_for_end();

    let content = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let found = ["orders.log", "orders.log.1", "orders.log.2"].map(content);
    assert_eq!(found, ["third\n", "second\n", "first\n"]);
    let names = fs::read_dir(dir.path()).unwrap();
    let is_pending = |name: &str| name.contains(".pending.");
    assert!(
        !names
            .flatten()
            .any(|it| is_pending(&it.file_name().to_string_lossy()))
    );
}
