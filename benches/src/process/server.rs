//! Servers as processes, and the loads that are put on them.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::usage::{cpu_time, family, resident_bytes};
use super::{PATIENCE, Process};
use crate::load::{Idle, Measured};
use crate::scenario::Entrant;

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
        match Command::new("taskset")
            .args(["-c", core, "true"])
            .stderr(Stdio::null())
            .status()
            .await
        {
            Ok(status) if status.success() => {}
            Ok(_) => return Some(format!("there is no core {core} to run on")),
            Err(error) => return Some(format!("taskset does not run ({error})")),
        }
    }

    None
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
        let arguments = format!("serve --workers {} {}", layout.workers, entrant.server());
        let mut process = Process::start(
            entrant.build.as_deref(),
            &arguments,
            core(layout, "0"),
            Stdio::null(),
        )?;

        let line = process.line().await.context("the server does not listen")?;
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .context("the server's first line is unknown")?;

        Ok(Self {
            address: address.parse()?,
            process,
            layout,
        })
    }

    /// Runs a load on it, in one process or several, and says what they saw and how many microseconds of
    /// processor time each call cost the server.
    pub(crate) async fn load(
        &self,
        entrant: &Entrant,
        arguments: &str,
        time: Duration,
    ) -> Result<(Measured, f64)> {
        let before = self.cpu_time()?;
        let loads = (0..entrant.clients).map(|_| self.load_once(entrant, arguments, time));
        let measured =
            Measured::of_all(&try_join_all(loads).await?).context("no load process has called")?;

        let cpu = self.cpu_time()?.saturating_sub(before);
        #[allow(
            clippy::cast_precision_loss,
            reason = "a count of calls is far below 2^52"
        )]
        let server_cpu_us = cpu.as_secs_f64() * 1e6 / measured.total_calls as f64;

        Ok((measured, server_cpu_us))
    }

    async fn load_once(
        &self,
        entrant: &Entrant,
        arguments: &str,
        time: Duration,
    ) -> Result<Measured> {
        let mut load = self.start_load(entrant, arguments, Stdio::null())?;
        let mut output = String::new();

        let ended = timeout(time + PATIENCE, async {
            load.stdout.read_to_string(&mut output).await?;
            load.child.wait().await
        });

        let Ok(status) = ended.await else {
            bail!("the load did not end in time, {}", load.words())
        };

        if !status?.success() {
            bail!("{}", load.words());
        }

        serde_json::from_str(&output).context("the load's output")
    }

    /// Opens connections that rest after one call each, and says how long that took and how many bytes
    /// each holds in the server.
    pub(crate) async fn idle(&self, entrant: &Entrant, connections: usize) -> Result<(Idle, f64)> {
        let before = self.resident_bytes()?;

        // The load keeps its connections while its stdin is open.
        let mut load =
            self.start_load(entrant, &format!("--idle {connections}"), Stdio::piped())?;
        let idle: Idle = serde_json::from_str(&load.line().await?)?;

        let held = self.resident_bytes()?.saturating_sub(before);
        #[allow(
            clippy::cast_precision_loss,
            reason = "bytes of memory are far below 2^52"
        )]
        Ok((idle, held as f64 / idle.connections as f64))
    }

    fn start_load(&self, entrant: &Entrant, arguments: &str, stdin: Stdio) -> Result<Process> {
        let (name, address, workers) =
            (entrant.contender.name(), self.address, self.layout.workers);
        let write_every = entrant
            .write_every
            .map(|frames| format!("--write-every {frames}"))
            .unwrap_or_default();

        Process::start(
            entrant.build.as_deref(),
            &format!(
                "load {name} --connect {address} --workers {workers} {arguments} {write_every}"
            ),
            core(self.layout, "1"),
            stdin,
        )
    }

    fn cpu_time(&self) -> Result<Duration> {
        family(self.process.id)?.into_iter().map(cpu_time).sum()
    }

    fn resident_bytes(&self) -> Result<u64> {
        family(self.process.id)?
            .into_iter()
            .map(resident_bytes)
            .sum()
    }
}

fn core(layout: Layout, core: &'static str) -> Option<&'static str> {
    layout.is_pinned.then_some(core)
}
