//! Servers and loads as processes of their own, so that each side has a core and a clock of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::load::{Idle, Measured};
use crate::process::{cpu_time, family, resident_bytes};
use crate::scenario::Entrant;

/// How long a server may take to listen, and a load to come to its end after its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The server on core 0 and the load on core 1; otherwise anywhere.
    pub(crate) is_pinned: bool,
    /// The worker threads of each.
    pub(crate) workers: usize,
}

/// Why nothing can be pinned here, if so.
pub(crate) async fn why_not_pinned() -> Option<String> {
    for core in ["0", "1"] {
        match Command::new("taskset").args(["-c", core, "true"]).stderr(Stdio::null()).status().await {
            Ok(status) if status.success() => {}
            Ok(_) => return Some(format!("there is no core {core} to run on")),
            Err(error) => return Some(format!("taskset does not run ({error})")),
        }
    }
    None
}

/// Raises this process's limit of open files as far as it goes, for those that it starts too. Says
/// how many there may be.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
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
    /// Starts this program itself with the arguments, which have no spaces within.
    fn start(arguments: &str, core: Option<&str>, stdin: Stdio) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // A group of its own: a server may start others, and all of them are to end together.
        command.args(arguments.split_whitespace()).process_group(0).kill_on_drop(true);
        // Errors go into tables.
        command.env("RUST_BACKTRACE", "0");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let stderr = Arc::new(Mutex::new(String::new()));
        tokio::spawn(keep_first(child.stderr.take().context("stderr is piped")?, Arc::clone(&stderr)));
        let id = child.id().context("it has ended")?;
        Ok(Self { child, id, stdout, stderr })
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
        let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() { "it said nothing".into() } else { lines.join("; ") }
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

/// A contender's server.
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    layout: Layout,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(entrant: &Entrant, layout: Layout) -> Result<Self> {
        let arguments = format!("serve {}{}", entrant.contender.name(), common(entrant, layout));
        let mut process = Process::start(&arguments, core(layout, "0"), Stdio::null())?;
        let line = process.line().await.context("the server does not listen")?;
        let address =
            line.trim().strip_prefix("listening on ").context("the server's first line is unknown")?;
        Ok(Self { address: address.parse()?, process, layout })
    }

    /// Runs a load on it, and says what that saw and how many microseconds of processor time each call
    /// cost the server.
    pub(crate) async fn load(
        &self,
        entrant: &Entrant,
        arguments: &str,
        time: Duration,
    ) -> Result<(Measured, f64)> {
        let before = self.cpu_time()?;
        let mut load = self.start_load(entrant, arguments, Stdio::null())?;
        let mut output = String::new();
        let ended = timeout(time + PATIENCE, async {
            load.stdout.read_to_string(&mut output).await?;
            load.child.wait().await
        });
        let Ok(status) = ended.await else { bail!("the load did not end in time, {}", load.words()) };
        if !status?.success() {
            bail!("{}", load.words());
        }
        let measured: Measured = serde_json::from_str(&output).context("the load's output")?;
        let cpu = self.cpu_time()?.saturating_sub(before);
        #[allow(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
        let server_cpu_us = cpu.as_secs_f64() * 1e6 / measured.total_calls as f64;
        Ok((measured, server_cpu_us))
    }

    /// Opens connections that rest after one call each, and says how long that took and how many bytes
    /// each holds in the server.
    pub(crate) async fn idle(&self, entrant: &Entrant, connections: usize) -> Result<(Idle, f64)> {
        let before = self.resident_bytes()?;
        // The load keeps its connections while its stdin is open.
        let mut load = self.start_load(entrant, &format!("--idle {connections}"), Stdio::piped())?;
        let idle: Idle = serde_json::from_str(&load.line().await?)?;
        let held = self.resident_bytes()?.saturating_sub(before);
        #[allow(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
        Ok((idle, held as f64 / idle.connections as f64))
    }

    fn start_load(&self, entrant: &Entrant, arguments: &str, stdin: Stdio) -> Result<Process> {
        let (name, address, common) = (entrant.contender.name(), self.address, common(entrant, self.layout));
        Process::start(
            &format!("load {name} --connect {address}{common} {arguments}"),
            core(self.layout, "1"),
            stdin,
        )
    }

    fn cpu_time(&self) -> Result<Duration> {
        family(self.process.id)?.into_iter().map(cpu_time).sum()
    }

    fn resident_bytes(&self) -> Result<u64> {
        family(self.process.id)?.into_iter().map(resident_bytes).sum()
    }
}

/// The options that both halves take.
fn common(entrant: &Entrant, layout: Layout) -> String {
    let write_every =
        entrant.write_every.map(|frames| format!(" --write-every {frames}")).unwrap_or_default();
    format!(" --workers {}{write_every}", layout.workers)
}

fn core(layout: Layout, core: &'static str) -> Option<&'static str> {
    layout.is_pinned.then_some(core)
}
