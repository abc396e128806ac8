//! Counts the heap allocations of a call, on the client's side and on the server's.
//!
//! A program of its own, because counting needs an allocator that makes each allocation dearer:
//! the contenders of the other measurements are to have the system's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use allocation_counter::measure;
use anyhow::{Context, Result, anyhow, ensure};
use rpc_client::{Client, Config};
use rpc_core::Status;
use rpc_server::{Params, Router, Server, State};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use rpc_benches::log_call::{Check, Counter, Entry, LOG, Receipt};

const IN_FLIGHT: usize = 64;
/// The log call with params that need no allocation: what it allocates is the server's own.
const BARE: u32 = LOG + 1;
/// Two runs, whose difference has no start and no end in it.
const FEW_CALLS: u64 = 20_000;
const MANY_CALLS: u64 = 220_000;

fn main() -> Result<()> {
    let typed = a_call(LOG)?;
    let bare = a_call(BARE)?;
    let (client, server, params) = (typed.0, bare.1, typed.1 - bare.1);

    println!(
        "{}",
        serde_json::json!({ "client": client, "server": server, "params": params })
    );
    Ok(())
}

/// The client's and the server's allocations of one call.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn a_call(cmdid: u32) -> Result<(f64, f64)> {
    let few = count(cmdid, FEW_CALLS)?;
    let many = count(cmdid, MANY_CALLS)?;
    let a_call = |few: u64, many: u64| (many as f64 - few as f64) / (MANY_CALLS - FEW_CALLS) as f64;
    Ok((a_call(few.0, many.0), a_call(few.1, many.1)))
}

/// Makes calls between two threads; says how often the client's and the server's has allocated.
fn count(cmdid: u32, calls: u64) -> Result<(u64, u64)> {
    let (told, address) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let server = thread::spawn(move || counted(serve(told, stopped)));
    let address = address.recv().context("the server does not listen")?;

    let client = thread::spawn(move || counted(call(address, cmdid, calls)));
    let client = client
        .join()
        .map_err(|_| anyhow!("the client panicked"))??;

    // Dropped or sent, it stops the server.
    drop(stop);
    let server = server
        .join()
        .map_err(|_| anyhow!("the server panicked"))??;

    Ok((client, server))
}

/// Runs a future on this thread alone, and counts this thread's allocations.
fn counted(future: impl Future<Output = Result<()>>) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    let mut result = Ok(());
    let counts = measure(|| result = runtime.block_on(future));
    result.map(|()| counts.count_total)
}

async fn log(
    State(counter): State<Arc<Counter>>,
    Params(entry): Params<Entry>,
) -> Result<Receipt, Status> {
    Ok(counter.accept(&entry))
}

#[derive(Deserialize)]
struct Bare {
    ts: u64,
}

async fn bare(
    State(counter): State<Arc<Counter>>,
    Params(entry): Params<Bare>,
) -> Result<Receipt, Status> {
    Ok(Receipt {
        accepted: entry.ts > 0,
        seq: counter.number(),
    })
}

async fn serve(told: mpsc::Sender<String>, stopped: oneshot::Receiver<()>) -> Result<()> {
    let router = Router::with_state(Arc::new(Counter::default()))
        .route(LOG, log)?
        .route(BARE, bare)?;

    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router)
        .bind()
        .await?;

    told.send(server.addresses()[0].to_string())?;
    server.serve(async { drop(stopped.await) }).await?;
    Ok(())
}

async fn call(address: String, cmdid: u32, calls: u64) -> Result<()> {
    let client = Client::with_config(address, Config::default());
    let entry = Arc::new(Entry::of(0));
    let made = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();

    for _ in 0..IN_FLIGHT {
        let (client, entry, made) = (client.clone(), Arc::clone(&entry), Arc::clone(&made));
        callers.spawn(async move {
            let mut check = Check::default();

            // Relaxed: a count, nothing is published with it.
            while made.fetch_add(1, Ordering::Relaxed) < calls {
                let receipt: Receipt = client.call(cmdid, &*entry).await?;
                check.take(receipt)?;
            }

            anyhow::Ok(())
        });
    }

    while let Some(ended) = callers.join_next().await {
        ended??;
    }

    ensure!(made.load(Ordering::Relaxed) >= calls, "calls are missing");
    Ok(())
}
