//! The processes that take part: each side of a measurement is one, with a core and a clock of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

pub(crate) mod foreign;
mod server;
pub(crate) mod usage;

pub(crate) use server::{Layout, Server, why_not_pinned};

/// How long a server may take to listen, and a load to come to its end after its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Raises this process's limit of open files as far as it goes, for those that it starts too. Says
/// how many there may be.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };

    let limit = if setrlimit(Resource::Nofile, raised).is_ok() {
        raised
    } else {
        limit
    };

    limit.current.unwrap_or(u64::MAX)
}

/// A process that ends, with all that it has started, when this value goes.
struct Process {
    child: Child,
    id: u32,
    stdout: BufReader<ChildStdout>,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    /// Starts this program itself, or another build of it, with the arguments, which have no spaces within.
    fn start(
        build: Option<&Path>,
        arguments: &str,
        core: Option<&str>,
        stdin: Stdio,
    ) -> Result<Self> {
        let program = build.map_or_else(std::env::current_exe, |build| Ok(build.to_owned()))?;
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(&program);
                command
            }
            None => Command::new(&program),
        };

        // A group of its own: a server may start others, and all of them are to end together.
        command
            .args(arguments.split_whitespace())
            .process_group(0)
            .kill_on_drop(true);

        // Errors go into tables.
        command.env("RUST_BACKTRACE", "0");
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());

        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;

        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let stderr = Arc::new(Mutex::new(String::new()));
        tokio::spawn(keep_first(
            child.stderr.take().context("stderr is piped")?,
            Arc::clone(&stderr),
        ));

        let id = child.id().context("it has ended")?;
        Ok(Self {
            child,
            id,
            stdout,
            stderr,
        })
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE * 6, self.stdout.read_line(&mut line)).await;
        if read.context("it said nothing in time")?? == 0 {
            self.child.wait().await?;
            bail!("it ended: {}", self.words());
        }

        Ok(line)
    }

    /// What it wrote to stderr, in one line.
    fn words(&self) -> String {
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();

        if lines.is_empty() {
            "it said nothing".into()
        } else {
            lines.join("; ")
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not reaped, so the number is still its own.
        if self.child.id().is_some()
            && let Some(group) = i32::try_from(self.id).ok().and_then(Pid::from_raw)
        {
            // It may have ended of itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads all, so that the writer never waits, and keeps the beginning.
async fn keep_first(mut from: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    const KEPT_BYTES: usize = 2_000;

    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
        if into.len() < KEPT_BYTES {
            into.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
}
