//! Processor time that an event costs its caller: the layer of the log service beside tracing-appender's JSON.
//!
//! `log_layer [EVENTS]` logs the same events through either, in turns, on a thread of its own, and prints the nanoseconds of
//! that thread's processor time for an event, the best round of each, and the ratio. tracing-appender writes to a file; the
//! layer sends to a server in this process that acknowledges each batch and keeps nothing. The other threads' work is not
//! counted in either case. Every event has to have left: the entries are counted.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rpc_client::log::{APPEND_BATCH, BatchAppended, LogGuard, ShipperConfig, layer};
use rpc_core::{RawJson, Status};
use rpc_server::{Params, Router, Server, State};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

const ROUNDS: usize = 5;

/// Events without a pause between them; then what they have filled is let run empty.
const BURST: u64 = 2_000;

fn main() -> Result<()> {
    let events: u64 = match std::env::args().nth(1) {
        Some(events) => events.parse().context("the number of events")?,
        None => 200_000,
    };
    let bursts = events.div_ceil(BURST);

    let file = std::env::temp_dir().join(format!("log_layer-{}.json", std::process::id()));
    let result = compare(bursts, &file);
    let _ = std::fs::remove_file(&file);
    result
}

fn compare(bursts: u64, file: &std::path::Path) -> Result<()> {
    let taken = Arc::<AtomicU64>::default();
    let (_runtime, address) = serve(&taken)?;
    let (mut appender, mut ours) = (f64::MAX, f64::MAX);

    for _ in 0..ROUNDS {
        let (writer, guard) = tracing_appender::non_blocking(std::fs::File::create(file)?);
        let errors = writer.error_counter();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(writer)
            .finish();
        appender = appender.min(measure(bursts, Dispatch::new(subscriber), || Ok(()))?);
        drop(guard);
        ensure!(
            errors.dropped_lines() == 0,
            "tracing-appender has dropped lines"
        );
        let lines = std::fs::read(file)?;
        let lines = memchr::memchr_iter(b'\n', &lines).count() as u64;
        ensure!(lines == bursts * BURST, "the file has {lines} lines");

        let before = taken.load(Ordering::Relaxed);
        let (layer, guard) = layer(&*address)
            .service("bench")
            .config(ShipperConfig::default())
            .build()?;
        let subscriber = Registry::default().with(layer);
        ours = ours.min(measure(bursts, Dispatch::new(subscriber), || {
            empty(&guard)
        })?);
        let end = guard.close(Duration::from_secs(10));
        let arrived = taken.load(Ordering::Relaxed) - before;
        ensure!(
            end.dropped == 0 && arrived == bursts * BURST,
            "{arrived} entries have arrived: {end:?}"
        );
    }

    println!("tracing-appender's JSON  {appender:7.0} ns an event");
    println!("rpc_client::log::layer   {ours:7.0} ns an event");
    println!("ratio                    {:7.2}", ours / appender);
    Ok(())
}

fn empty(guard: &LogGuard) -> Result<()> {
    let end = guard.flush(Duration::from_secs(10));
    ensure!(end.unsent == 0, "the server does not answer: {end:?}");
    Ok(())
}

/// Nanoseconds of processor time that an event costs this thread; `rest` runs after each burst and is not counted.
fn measure(bursts: u64, subscriber: Dispatch, rest: impl Fn() -> Result<()>) -> Result<f64> {
    let mut spent = 0;
    tracing::dispatcher::with_default(&subscriber, || {
        for burst in 0..bursts {
            let span = info_span!("request", id = burst, user = "user-4211");
            let _in_span = span.enter();

            let began = processor_ns();
            for number in 0..BURST {
                info!(
                    number,
                    path = "/orders/4211",
                    took_ms = 1.25,
                    "request answered"
                );
            }
            spent += processor_ns() - began;
            rest()?;
        }
        anyhow::Ok(())
    })?;

    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    Ok(spent as f64 / (bursts * BURST) as f64)
}

/// The processor time of this thread.
fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}

/// A server that acknowledges batches, for as long as its runtime is kept.
fn serve(taken: &Arc<AtomicU64>) -> Result<(tokio::runtime::Runtime, String)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let router = Router::with_state(Arc::clone(taken)).route(APPEND_BATCH, append_batch)?;
    let server = runtime.block_on(async {
        let server = Server::builder().listen("127.0.0.1:0").router(router);
        server.bind().await
    })?;

    let address = server.addresses()[0].to_string();
    runtime.spawn(server.serve(pending()));
    Ok((runtime, address))
}

#[derive(Deserialize)]
struct Batch {
    entries: Vec<RawJson<'static>>,
}

async fn append_batch(
    State(taken): State<Arc<AtomicU64>>,
    Params(batch): Params<Batch>,
) -> Result<BatchAppended, Status> {
    let count = batch.entries.len() as u64;
    let first = taken.fetch_add(count, Ordering::Relaxed) + 1;
    Ok(BatchAppended {
        first,
        last: first + count - 1,
        duplicate: false,
        synced: true,
    })
}
