//! Programs that tests need and a machine may lack. A test without its program is left out and says so, or fails where no test
//! may be left out, as in `.ci/run`, which has installed all of them.

#![allow(
    dead_code,
    reason = "each crate whose tests include this uses a part of it"
)]

use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// Set where no test may be left out; empty is as good as not set.
pub(crate) const NO_SKIP: &str = "RPC_TESTS_NO_SKIP";

/// Whether the program is installed, of this package of Debian. Whatever else keeps it from running is a failure.
pub(crate) fn has(program: &str, package: &str) -> bool {
    let run = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();

    match run {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            leave_out(&format!("`{program}` is not installed (Debian: {package})"));
            false
        }
        Err(error) => panic!("`{program}` cannot be run: {error}"),
    }
}

/// Says why this test is left out.
pub(crate) fn leave_out(why: &str) {
    let no_skip = std::env::var_os(NO_SKIP).is_some_and(|set| !set.is_empty());
    assert!(
        !no_skip,
        "{why}, and no test may be left out; mend that, or set `{NO_SKIP}` to nothing"
    );
    eprintln!("SKIPPED: {why}");
}
