//! The servers: real ones, over the simulated network's streams.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rpc_core::{Reply, Status};
use rpc_server::{Config, Params, Router, Server, State};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use turmoil::net::TcpListener;

use crate::ledger::SharedLedger;

pub(crate) const PORT: u16 = 8889;

/// Runs at most once for each token.
pub(crate) const ONCE: u32 = 100;
/// May run more often.
pub(crate) const IDEMPOTENT: u32 = 101;
/// Never answers.
pub(crate) const NEVER: u32 = 102;
/// Answers with numbers, one after another.
pub(crate) const NUMBERS: u32 = 103;

/// The params of every command.
#[derive(Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) token: u64,
    /// How long it takes; of a stream, each item.
    pub(crate) ms: u64,
    /// Items of a stream.
    pub(crate) items: u64,
    /// Makes the frame longer.
    pub(crate) padding: String,
}

#[derive(Clone)]
struct Desk {
    ledger: SharedLedger,
    server: usize,
}

/// A host that serves, drains when it is told to, and begins anew.
pub(crate) async fn host(
    server: usize,
    config: Config,
    restart_pause: Duration,
    drain: Arc<Notify>,
    ledger: SharedLedger,
) -> turmoil::Result {
    loop {
        let desk = Desk {
            ledger: ledger.clone(),
            server,
        };
        let bound = Server::builder()
            .config(config.clone())
            .router(router(desk))
            .bind()
            .await?;
        let handle = bound.handle();
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        note(&ledger, server, "serves");
        ledger.lock().servers.insert(server, handle.clone());
        let (accepted, connections) = mpsc::unbounded_channel();
        let accept = async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let connection = handle.serve_connection(stream, &peer.to_string());
                if accepted.send(connection).is_err() {
                    break;
                }
            }
        };
        let until_told = async {
            tokio::select! {
                biased;
                () = drain.notified() => {}
                () = accept => {}
            }
            note(&ledger, server, "drains");
        };
        let (drained, ()) = futures::join!(bound.serve(until_told), drive(connections));
        let drained = drained?;
        note(
            &ledger,
            server,
            if drained.is_clean {
                "has drained"
            } else {
                "has dropped calls"
            },
        );
        tokio::time::sleep(restart_pause).await;
    }
}

/// Runs the connections, and those that are still to come, in the task of the host. As tasks of their own
/// a crash would close them anyway, but in an order that depends on how many tasks the
/// process has had.
async fn drive(mut accepted: mpsc::UnboundedReceiver<impl Future<Output = ()>>) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(connection) = accepted.recv() => open.push(connection),
            Some(()) = open.next() => {}
            else => break,
        }
    }
}

fn note(ledger: &SharedLedger, server: usize, what: &str) {
    let at = turmoil::sim_elapsed().unwrap_or_default();
    ledger
        .lock()
        .note(at, format_args!("server {server} {what}"));
}

fn router(desk: Desk) -> Router<Desk> {
    Router::with_state(desk)
        .route(ONCE, work)
        .and_then(|router| router.route(IDEMPOTENT, work))
        .and_then(|router| router.route(NEVER, never))
        .and_then(|router| router.route(NUMBERS, numbers))
        .expect("each has a cmdid of its own")
}

impl Desk {
    fn begin(&self, token: u64) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        let mut ledger = self.ledger.lock();
        let times = ledger.runs(token);
        ledger.note(
            at,
            format_args!("server {} runs {token:x}, time {times}", self.server),
        );
    }
}

async fn work(State(desk): State<Desk>, Params(work): Params<Work>) -> Result<u64, Status> {
    desk.begin(work.token);
    if work.ms > 0 {
        tokio::time::sleep(Duration::from_millis(work.ms)).await;
    }
    Ok(work.token)
}

async fn never(State(desk): State<Desk>, Params(work): Params<Work>) -> Result<u64, Status> {
    desk.begin(work.token);
    pending().await
}

async fn numbers(State(desk): State<Desk>, Params(work): Params<Work>) -> Reply {
    desk.begin(work.token);
    let Work {
        token, ms, items, ..
    } = work;
    Reply::stream(futures::stream::iter(0..items).then(move |n| async move {
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        Ok::<_, Status>((token, n))
    }))
}
