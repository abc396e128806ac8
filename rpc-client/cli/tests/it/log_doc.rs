//! Runs the operator's day of docs/log.md, and compares what it prints.

use std::path::Path;
use std::process::Command;

use crate::support::Server;
use crate::transcript;

const DOCUMENT: &str = include_str!("../../../../docs/log.md");

/// The text with the digits of its times and waits as `d`: they are others in each run.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let is_time = word.contains('T') && word.trim_end().ends_with('Z');
        if is_time {
            plain.extend(
                word.chars()
                    .map(|it| if it.is_ascii_digit() { 'd' } else { it }),
            );
        } else {
            plain.push_str(word);
        }
    }
    plain
}

#[test]
fn an_operators_day_with_the_log_is_as_the_document_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start_at("127.0.0.1:0", &data);
    let program = Path::new(env!("CARGO_BIN_EXE_rpc")).parent().unwrap();
    let path = format!(
        "{}:{}",
        program.display(),
        std::env::var("PATH").unwrap_or_default()
    );

    let day = transcript::commands(transcript::operators_day(DOCUMENT));
    assert!(day.len() >= 12, "{day:?}");
    for (command, printed) in day {
        // The document shows what a terminal shows.
        let line = ["read", "tail"]
            .iter()
            .fold(command.to_owned(), |line, shows| {
                line.replace(
                    &format!("rpc log {shows}"),
                    &format!("rpc log {shows} --text --utc"),
                )
            });
        let output = Command::new("sh")
            .args(["-c", &format!("{line} 2>&1")])
            .env("RPC_ADDR", &server.address)
            .env("PATH", &path)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let shown = shown.replace(&server.address, "127.0.0.1:8889");
        assert_eq!(plain(&shown), plain(&printed), "{command}\n{shown}");
    }
}
