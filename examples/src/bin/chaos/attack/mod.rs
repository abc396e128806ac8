//! The bad peers, each kind a process of its own: one process may have only so many descriptors.
//!
//! A process prints `ready` once its peers are there, goes on until its standard input ends, and then
//! prints what it has seen: a number of faults, and a sentence.

mod connects;
mod floods;
mod slow;

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use crate::Outcome;

/// What an attack counts while it runs.
#[derive(Default)]
pub(crate) struct Seen {
    /// Connections, frames or what else the attack is made of.
    pub(crate) done: AtomicU64,
    /// What the server did that it must not do.
    pub(crate) faults: AtomicU64,
    /// Connections that the server ended.
    pub(crate) ended: AtomicU64,
    pub(crate) slowest_ms: AtomicU64,
    is_over: AtomicBool,
}

impl Seen {
    // Relaxed throughout: counts order nothing.
    pub(crate) fn one(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, since: Instant) {
        let took = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.slowest_ms.fetch_max(took, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// The role `attack NAME ADDRESS`.
pub(crate) async fn run(arguments: &[String]) -> Outcome<()> {
    let [name, address] = arguments else {
        return Err("attack NAME ADDRESS".into());
    };

    let (seen, address) = (
        Arc::new(Seen::default()),
        Arc::<str>::from(address.as_str()),
    );

    match name.as_str() {
        "slow-loris-5000" => slow::drip(&address, &seen, 5_000).await?,
        "never-reads-100" => slow::never_read(&address, &seen, 100).await?,
        "neither-reads" => slow::write_then_read(&address, &seen, 20),
        "pipelines-a-million" => floods::pipeline(&address, &seen, 1_000_000),
        "flood-of-pings" => floods::flood(&address, &seen, b"{\"cmdid\":0}\n"),
        "flood-of-cancels" => {
            floods::flood(
                &address,
                &seen,
                b"{\"cmdid\":4,\"oneway\":true,\"params\":{\"id\":1}}\n",
            );
        }
        "flood-of-empty-lines" => floods::flood(&address, &seen, b"\n"),
        "flood-of-unknown-commands" => floods::flood(&address, &seen, b"{\"cmdid\":77777}\n"),
        "reset-in-a-frame" => connects::reset(&address, &seen),
        "half-close" => connects::half_close(&address, &seen),
        "connect-and-close" => connects::storm(&address, &seen),
        "strangers" => connects::strangers(&address, &seen),
        "10000-at-once" => connects::at_once(&address, &seen, 10_000).await,
        "holds-400" => connects::hold(&address, &seen, 400).await,
        other => return Err(format!("no attack is called {other}").into()),
    }

    println!("ready");
    std::io::stdout().flush()?;
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;

    seen.is_over.store(true, Ordering::Relaxed);
    if name == "neither-reads" {
        // The last ones of it get their time.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (done, ended, slowest) = (get(&seen.done), get(&seen.ended), get(&seen.slowest_ms));
    println!(
        "{} {ended} {done} done, {ended} ended by the server, slowest {slowest} ms",
        get(&seen.faults)
    );

    // The tasks end with the process.
    std::process::exit(0)
}

fn lines_in(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}

/// What an attack has seen.
pub(crate) struct Told {
    /// What the server did that it must not do.
    pub(crate) faults: u64,
    /// Connections that the server ended.
    pub(crate) ended: u64,
    pub(crate) text: String,
}

/// An attack that runs.
pub(crate) struct Attack {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Attack {
    /// Starts one, and waits until its peers are there.
    pub(crate) fn start(name: &str, address: &str) -> Outcome<Self> {
        // They have machines of their own: here they get what nobody else wants of this one's cores.
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args(["attack", name, address]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;

        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line)?;
        if line.trim() != "ready" {
            drop(child.kill());
            child.wait()?;
            return Err(format!("the attack {name} could not begin: {line}").into());
        }

        Ok(Self { child, out })
    }

    /// Ends it, and hears what it has seen.
    pub(crate) fn end(mut self) -> Outcome<Told> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.out.read_line(&mut line)?;

        let mut parts = line.trim().splitn(3, ' ');
        let mut next = || parts.next().ok_or("the attack said nothing");
        Ok(Told {
            faults: next()?.parse()?,
            ended: next()?.parse()?,
            text: next()?.to_owned(),
        })
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
