//! A loss of power at any instant, on a simulated disk that keeps what was synced and as much of the rest as it likes.
//!
//! Processes write to a directory under `strace`, which records each of their calls to the system. From a seed, the disk is
//! then made as it may be after a loss of power between two of these calls.

mod disk;
mod trace;

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

// The tests that include this one have it.
use super::needs;

pub(crate) use self::disk::Disk;
pub(crate) use self::trace::Call;

/// The calls of processes that write to a directory, one process after the other; `None` where no process can be traced.
pub(crate) fn recorded(
    dir: &Path,
    processes: impl IntoIterator<Item = Command>,
) -> Option<Vec<Call>> {
    if !needs::has("strace", "strace") {
        return None;
    }
    let able = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output()
        .unwrap();
    if !able.status.success() {
        needs::leave_out(&format!("`strace` cannot trace a process: {able:?}"));
        return None;
    }

    let traces = TempDir::new().unwrap();
    for (number, process) in processes.into_iter().enumerate() {
        let variables = process.get_envs();
        let variables = variables.filter_map(|(name, value)| Some((name, value?)));
        let output = Command::new("strace")
            .args(["-ff", "-y", "-ttt", "-xx", "-s", "1000000", "-o"])
            .arg(traces.path().join(format!("{number}")))
            .args(["-e", trace::CALLS, "--"])
            .arg(process.get_program())
            .args(process.get_args())
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    Some(trace::read(traces.path(), dir))
}
