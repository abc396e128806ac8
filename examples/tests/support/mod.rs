//! Runs a program, and looks at what it prints.

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn run(binary: &str, arguments: &[&Path]) -> Output {
    // No directory of ours: an example works wherever it is started, and leaves nothing there, nor in the
    // place for temporary files.
    let elsewhere = tempfile::tempdir().unwrap();

    let mut command = Command::new(binary);
    command
        .args(arguments)
        .current_dir(elsewhere.path())
        .env("TMPDIR", elsewhere.path());
    let output = command.output().unwrap();

    let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert!(left.is_empty(), "{binary} left files behind: {left:?}");
    output
}

#[track_caller]
pub(crate) fn stdout(output: &Output) -> String {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    assert_eq!(stderr, "");
    stdout
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Checks that it says each of these, in this order.
#[track_caller]
pub(crate) fn says(stdout: &str, expected: &[&str]) {
    let mut rest = stdout;
    for expected in expected {
        let Some((_, behind)) = rest.split_once(expected) else {
            panic!("{expected:?} is not where it should be in:\n{stdout}");
        };
        rest = behind;
    }
}
