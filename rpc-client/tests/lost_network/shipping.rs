//! A service that logs by the layer of `tracing`, and whose log is beyond a network that is lost.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_client::log::{
    APPEND_BATCH, Append, AppendBatch, BatchAppended, LogGuard, ShipperConfig, layer,
};
use rpc_core::Status;
use rpc_server::{Params, Router, Server, State};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, interval};
use tracing_subscriber::layer::SubscriberExt;

use crate::Result;
use crate::case::{Process, SLACK};
use crate::fault::Fault;
use crate::namespaces::{Pair, SERVER};

/// Entries that the service logs, and how often. In a minute they are more than it may keep.
const ENTRIES: u64 = 50;
const EVERY: Duration = Duration::from_millis(50);
const KEPT_MAX: usize = 10_000;

/// What all may take to be in the log once the network is back: it has taken away at most 5 s before the next attempt to
/// connect, and the batches follow.
const BACK: Duration = Duration::from_secs(10);

/// What the service says at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    logged: u64,
    dropped: u64,
    unsent: u64,
    /// How long a flush took behind the outage.
    flush_ms: u64,
}

/// What the log has.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    entries: u64,
    doubled: u64,
    /// Dropped entries, as it was told of them.
    told: u64,
}

/// Loses the network for this time, and says in a line what became of the entries; an error says what is wrong with it.
pub(crate) async fn run(number: usize, outage: Duration) -> Result<String> {
    let pair = Pair::new(number).await?;
    let mut server = Process::new(pair.spawn(&["server-of-log"])?);
    let address = server.line().await?;
    let mut service = Process::new(pair.spawn(&["service", &address])?);
    service.line().await?;

    // Some entries first, as there always are.
    tokio::time::sleep(Duration::from_secs(1)).await;
    pair.break_with(Fault::DroppedBothWays).await?;
    tokio::time::sleep(outage).await;
    pair.heal().await?;
    service.say("end").await?;
    let ended: Ended = serde_json::from_str(&service.line().await?)?;
    server.say("count").await?;
    let found: Found = serde_json::from_str(&server.line().await?)?;

    let is_whole = found.entries + found.told == ended.logged
        && found.told == ended.dropped
        && found.doubled == 0
        && ended.unsent == 0;
    let flush = Duration::from_millis(ended.flush_ms);
    if !is_whole || flush > BACK + SLACK {
        return Err(format!("{outage:?} away: {ended:?}, {found:?}").into());
    }
    Ok(format!(
        "{} entries logged, {} in the log, none twice; {} dropped and counted there; all said {:.1} s after its return",
        ended.logged,
        found.entries,
        found.told,
        flush.as_secs_f64()
    ))
}

/// The service's process: logs until a line of its input, and ends.
pub(crate) async fn run_service(address: &str) -> Result<()> {
    let config = ShipperConfig {
        queue_entries_max: KEPT_MAX,
        ..ShipperConfig::default()
    };
    let (layer, guard) = layer(address).service("service").config(config).build()?;
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    println!("ready");

    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut turns = interval(EVERY);
    let mut logged = 0;
    loop {
        tokio::select! {
            _ = turns.tick() => {
                for _ in 0..ENTRIES {
                    logged += 1;
                    tracing::info!(n = logged, "an event");
                }
            }
            line = input.next_line() => {
                line?;
                break;
            }
        }
    }
    println!("{}", serde_json::to_string(&end(guard, logged))?);
    Ok(())
}

/// Has all entries be in the log, and the last of them tell it what was dropped.
fn end(guard: LogGuard, logged: u64) -> Ended {
    let begun = Instant::now();
    guard.flush(2 * BACK);
    let flush_ms = begun.elapsed().as_millis();
    let shipped = guard.close(BACK);
    Ended {
        logged,
        dropped: shipped.dropped,
        unsent: shipped.unsent,
        flush_ms: u64::try_from(flush_ms).unwrap_or(u64::MAX),
    }
}

/// A log in memory.
#[derive(Default)]
struct Book {
    entries: Vec<Append>,
    /// The batches of each producer.
    batches: HashMap<(String, u64), BatchAppended>,
}

/// The log's process: prints its address, and after a line of input what it has.
pub(crate) async fn serve() -> Result<()> {
    let book = Arc::new(Mutex::new(Book::default()));
    let router = Router::with_state(Arc::clone(&book)).route(APPEND_BATCH, append_batch)?;
    let server = Server::builder()
        .listen(format!("{SERVER}:0"))
        .router(router)
        .bind()
        .await?;
    println!("{}", server.addresses()[0]);
    tokio::spawn(server.serve(std::future::pending()));

    BufReader::new(tokio::io::stdin())
        .lines()
        .next_line()
        .await?;
    let found = book.lock().expect("no thread panics with it").found();
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

async fn append_batch(
    State(book): State<Arc<Mutex<Book>>>,
    Params(batch): Params<AppendBatch>,
) -> std::result::Result<BatchAppended, Status> {
    let mut book = book.lock().expect("no thread panics with it");
    let key = (batch.producer, batch.batch);
    if let Some(known) = book.batches.get(&key) {
        return Ok(*known);
    }

    let first = book.entries.len() as u64 + 1;
    book.entries.extend(batch.entries);
    let appended = BatchAppended {
        first,
        last: book.entries.len() as u64,
        duplicate: false,
        synced: true,
    };
    book.batches.insert(key, appended);
    Ok(appended)
}

impl Book {
    fn found(&self) -> Found {
        let numbers = |name: &'static str| {
            let fields = self
                .entries
                .iter()
                .filter_map(|entry| entry.fields.as_ref());
            fields.filter_map(move |fields| fields.get(name)?.get().parse::<u64>().ok())
        };

        let entries = numbers("n").count() as u64;
        let distinct: HashSet<u64> = numbers("n").collect();
        Found {
            entries,
            doubled: entries - distinct.len() as u64,
            told: numbers("dropped").sum(),
        }
    }
}
