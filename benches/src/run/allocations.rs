//! The program that counts allocations: where it is, and what it says.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// Allocations a call.
#[derive(Deserialize)]
pub(super) struct Allocations {
    /// The client's.
    pub(super) client: f64,
    /// The server's, where the handler's params need none.
    pub(super) server: f64,
    /// Those of the params as the handler takes them.
    pub(super) params: f64,
}

/// Where the program that counts allocations should be.
fn program() -> Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name("allocations"))
}

/// Builds the program that counts, where cargo started this one: cargo builds only what it starts.
pub(super) async fn build() {
    let (Some(cargo), Ok(program)) = (env::var_os("CARGO"), program()) else {
        return;
    };
    let Some(target) = program.parent().and_then(|directory| directory.parent()) else {
        return;
    };

    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "rpc-benches",
            "--bin",
            "allocations",
            "--target-dir",
        ])
        .arg(target);
    if let Some(profile) = program
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .filter(|name| *name != "debug")
    {
        // Its name is that of the directory.
        build.args(["--profile", profile]);
    }

    // With the same features the dependencies are there already.
    build.args(cfg!(feature = "peers").then_some("--features=peers"));

    // Where it fails, that is said when it is needed.
    let _ = build.kill_on_drop(true).status().await;
}

pub(super) async fn count() -> Result<Allocations> {
    const TIME: Duration = Duration::from_secs(60);

    let program = program()?;
    ensure!(
        program.exists(),
        "there is no {}; `cargo build --profile dist -p rpc-benches` makes it",
        program.display()
    );

    let mut command = Command::new(&program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(TIME, command.output())
        .await
        .context("counting did not end")??;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );

    Ok(serde_json::from_slice(&output.stdout)?)
}
