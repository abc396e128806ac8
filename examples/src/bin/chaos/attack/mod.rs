//! The bad peers, each kind a process of its own: the descriptors of one process are limited.
//!
//! A process prints `ready` once its peers are there, goes on until its standard input ends, and then
//! prints what it has seen: a number of faults, and a sentence.

mod connects;
mod doors;
mod emits;
mod floods;
mod holds;
mod log;
mod slow;
mod waves;

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Outcome;
use crate::daemon::Daemon;

pub(crate) use emits::SERVICE_PREFIX;

/// How long the tasks of an attack have for what they do at its end.
const LAST_WORK: Duration = Duration::from_secs(10);

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
    /// The number of tasks that have something to do when the attack is over.
    at_work: watch::Sender<usize>,
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

    /// Notes a task whose end is waited for when the attack is over. It works until what is returned is dropped.
    pub(crate) fn working(&self) -> Working {
        self.at_work.send_modify(|at_work| *at_work += 1);
        Working(self.at_work.clone())
    }

    /// Waits until no such task works, or has had its time.
    async fn at_rest(&self) {
        let mut at_work = self.at_work.subscribe();
        let at_rest = at_work.wait_for(|at_work| *at_work == 0);
        drop(timeout(LAST_WORK, at_rest).await);
    }
}

/// A task that works.
pub(crate) struct Working(watch::Sender<usize>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.send_modify(|at_work| *at_work -= 1);
    }
}

/// The role `attack NAME ADDRESS AUTHORITY`; the last one is the file of a certificate, or empty.
pub(crate) async fn run(arguments: &[String]) -> Outcome<()> {
    let [name, address, authority] = arguments else {
        return Err("attack NAME ADDRESS AUTHORITY".into());
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
        "wrong_protocols" => connects::wrong_protocols(&address, &seen),
        "10000-at-once" => connects::at_once(&address, &seen, 10_000).await,
        "emits-8" => emits::flood_with_entries(&address, &seen, 8),
        "holds-400" => connects::hold(&address, &seen, 400).await,
        other => {
            let is_known = holds::begin(other, &address, &seen).await?
                || log::begin(other, &address, &seen).await
                || doors::begin(other, &address, &seen, authority).await?;
            if !is_known {
                return Err(format!("no attack is called {other}").into());
            }
        }
    }

    println!("ready");
    std::io::stdout().flush()?;
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;

    seen.is_over.store(true, Ordering::Relaxed);
    seen.at_rest().await;

    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (done, ended, slowest) = (get(&seen.done), get(&seen.ended), get(&seen.slowest_ms));
    println!(
        "{} {ended} {done} {done} done, {ended} ended by the server, slowest {slowest} ms",
        get(&seen.faults)
    );

    // The tasks end with the process.
    std::process::exit(0)
}

/// A connection that has room for a few KiB of replies, from an address of this attack's own: what a server gives an
/// address is taken neither from the good client nor from another attack.
async fn connect_with_small_buffer(address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4 * 1024)?;

    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = [127, 128 | high, middle, low];
    socket.bind(SocketAddr::from((own, 0)))?;

    let address = address
        .parse()
        .map_err(|_| std::io::ErrorKind::InvalidInput)?;
    socket.connect(address).await
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
    /// Connections, frames, entries, or what else the attack is made of.
    pub(crate) done: u64,
    pub(crate) text: String,
}

/// An attack that runs.
pub(crate) struct Attack {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Attack {
    /// Starts one on a daemon, and waits until its peers are there.
    pub(crate) fn start(name: &str, daemon: &Daemon) -> Outcome<Self> {
        Self::on(name, &daemon.attacked, daemon.authority().as_deref())
    }

    /// Starts one on an address; `authority` is the certificate that its TLS is known by.
    fn on(name: &str, address: &str, authority: Option<&Path>) -> Outcome<Self> {
        Self::begin(name, address, authority)?.when_ready(name)
    }

    /// Starts several on an address, all at one time.
    pub(crate) fn all_on(names: &[&str], address: &str) -> Outcome<Vec<Self>> {
        let begun = names.iter().map(|name| Self::begin(name, address, None));
        let begun: Vec<Self> = begun.collect::<Outcome<_>>()?;
        let ready = begun.into_iter().zip(names);
        ready
            .map(|(attack, name)| attack.when_ready(name))
            .collect()
    }

    fn begin(name: &str, address: &str, authority: Option<&Path>) -> Outcome<Self> {
        // They have machines of their own: here they get only the idle time of this one's cores.
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args(["attack", name, address])
            .arg(authority.unwrap_or(Path::new("")));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;

        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { child, out })
    }

    /// Waits until its peers are there.
    fn when_ready(mut self, name: &str) -> Outcome<Self> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        if line.trim() == "ready" {
            return Ok(self);
        }

        // The end of the process comes with the drop.
        Err(format!("the attack {name} could not begin: {line}").into())
    }

    /// Ends it, and hears what it has seen.
    pub(crate) fn end(mut self) -> Outcome<Told> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.out.read_line(&mut line)?;

        let mut parts = line.trim().splitn(4, ' ');
        let mut next = || parts.next().ok_or("the attack said nothing");
        Ok(Told {
            faults: next()?.parse()?,
            ended: next()?.parse()?,
            done: next()?.parse()?,
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
