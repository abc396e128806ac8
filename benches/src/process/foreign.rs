//! Servers that are other programs.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Whether a program is there and does this.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = std::process::Command::new(program);
    let status = command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Starts a program. Its stdin stays open as long as this process lives, however that ends: a program
/// that reads it knows when to go.
pub(crate) fn start(command: &mut Command) -> Result<Child> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let started = command.stdin(Stdio::piped()).kill_on_drop(true).spawn();
    started.with_context(|| format!("cannot start {program}"))
}

/// Waits for SIGTERM or ctrl-c and takes the program along. That it ends by itself is an error.
pub(crate) async fn run(mut child: Child) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;

    // Kept here: waiting for a child closes its stdin otherwise.
    let _stdin = child.stdin.take();

    tokio::select! {
        status = child.wait() => bail!("the server has ended: {}", status?),
        _ = terminate.recv() => {}
        pressed = ctrl_c() => pressed?,
    }

    child.kill().await?;
    Ok(())
}
