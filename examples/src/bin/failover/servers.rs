//! The servers: processes of this same program, each with a record of what its handler has run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::Status;
use rpc_server::{Params, Router, Server, State};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::Outcome;

/// The command: takes the call's key, notes that it ran, and answers with the key.
pub(crate) const RUN: u32 = 100;

#[derive(Clone)]
struct Handler {
    record: Arc<File>,
    delay: Duration,
}

/// Serves until standard input ends, then drains. What was recorded outlives the process, however it ends.
pub(crate) async fn serve(address: &str, record: &Path, delay_ms: u64) -> Outcome<()> {
    let record = Arc::new(File::options().create(true).append(true).open(record)?);
    let handler = Handler {
        record,
        delay: Duration::from_millis(delay_ms),
    };

    let router = Router::with_state(handler).route(RUN, run)?;
    let server = Server::builder()
        .listen(address)
        .router(router)
        .bind()
        .await?;
    println!("{}", server.addresses()[0]);

    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(stop);
    });

    server
        .serve(async move {
            let _ = stopped.await;
        })
        .await?;
    Ok(())
}

async fn run(State(handler): State<Handler>, Params(key): Params<u64>) -> Result<u64, Status> {
    // One write, which the system keeps whole and in the file whatever happens to this process.
    (&*handler.record)
        .write_all(format!("{key}\n").as_bytes())
        .map_err(|_| Status::internal("the record"))?;

    if !handler.delay.is_zero() {
        tokio::time::sleep(handler.delay).await;
    }
    Ok(key)
}

/// How a server is stopped.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    Kill,
    Drain,
}

pub(crate) struct Servers {
    addresses: Vec<String>,
    records: Vec<PathBuf>,
    delays_ms: Vec<u64>,
    children: Vec<Child>,
}

impl Servers {
    /// One server for each delay, on ports of their own.
    pub(crate) async fn start(dir: &Path, delays_ms: &[u64]) -> Outcome<Self> {
        std::fs::create_dir(dir)?;
        let mut servers = Self {
            addresses: Vec::new(),
            records: Vec::new(),
            delays_ms: delays_ms.to_vec(),
            children: Vec::new(),
        };

        for (at, delay_ms) in delays_ms.iter().enumerate() {
            let record = dir.join(format!("server-{at}"));
            let (child, address) = start("127.0.0.1:0", &record, *delay_ms).await?;
            servers.addresses.push(address);
            servers.records.push(record);
            servers.children.push(child);
        }

        Ok(servers)
    }

    pub(crate) fn target(&self) -> String {
        self.addresses.join(",")
    }

    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(crate) fn address(&self, at: usize) -> &str {
        &self.addresses[at]
    }

    /// Stops a server and starts it again at the same address.
    pub(crate) async fn restart(&mut self, at: usize, stop: Stop) -> Outcome<()> {
        let child = &mut self.children[at];
        match stop {
            Stop::Kill => child.kill().await?,
            Stop::Drain => {
                drop(child.stdin.take());
                let status = child.wait().await?;
                if !status.success() {
                    return Err(format!("a drained server ended with {status}").into());
                }
            }
        }

        (self.children[at], _) =
            start(&self.addresses[at], &self.records[at], self.delays_ms[at]).await?;
        Ok(())
    }

    /// Stops them all, and says how often each key was run.
    pub(crate) async fn stop_and_count_runs(mut self) -> Outcome<BTreeMap<u64, u64>> {
        for child in &mut self.children {
            drop(child.stdin.take());
            child.wait().await?;
        }

        let mut runs = BTreeMap::new();
        for record in &self.records {
            for key in std::fs::read_to_string(record)?.lines() {
                *runs.entry(key.parse()?).or_default() += 1;
            }
        }

        Ok(runs)
    }
}

async fn start(address: &str, record: &Path, delay_ms: u64) -> Outcome<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["serve", address])
        .arg(record)
        .arg(delay_ms.to_string())
        // Its end is the sign to drain, also where this process is the one that is killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;

    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let address = lines.next_line().await?.ok_or("a server did not start")?;
    Ok((child, address))
}
