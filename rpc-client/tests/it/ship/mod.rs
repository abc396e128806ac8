//! Shippers of log entries, with a log that keeps its word and a network that does not.

mod faults;
mod layer;
mod refusals;
mod threads;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_client::log::{
    APPEND_BATCH, Append, AppendBatch, BatchAppended, Level, Shipper, ShipperConfig,
};
use rpc_client::{Client, Connect};
use rpc_core::Status;
use rpc_server::{Params, Router, Server, ServerBuilder, State};
use tokio::io::copy_bidirectional;
use tokio::sync::Notify;

/// What a log does with batches.
type Rule = Box<dyn FnMut(&AppendBatch) -> Answer + Send>;

enum Answer {
    Write,
    /// The batch is written, and the connection lost before the reply.
    WriteAndCut,
    /// The connection is lost before the batch is written.
    Cut,
    Fail(Status),
}

/// A log in memory, and the network before it.
#[derive(Clone, Default)]
struct Log {
    book: Arc<Mutex<Book>>,
    network: Arc<Network>,
}

#[derive(Default)]
struct Book {
    entries: Vec<Append>,
    /// The batches of each producer, with the numbers of their entries and their text.
    batches: HashMap<(String, u64), (u64, String)>,
    calls: u64,
    rule: Option<Rule>,
}

#[derive(Default)]
struct Network {
    is_down: AtomicBool,
    cut: Notify,
}

impl Log {
    /// A log whose batches this decides on.
    fn with(rule: impl FnMut(&AppendBatch) -> Answer + Send + 'static) -> Self {
        let log = Self::default();
        log.book.lock().unwrap().rule = Some(Box::new(rule));
        log
    }

    fn set_rule(&self, rule: impl FnMut(&AppendBatch) -> Answer + Send + 'static) {
        self.book.lock().unwrap().rule = Some(Box::new(rule));
    }

    fn router(&self) -> Router<Self> {
        Router::with_state(self.clone())
            .route(APPEND_BATCH, append_batch)
            .unwrap()
    }

    /// A client over pipes in memory, so that time can be paused.
    async fn client(&self) -> Client {
        self.client_of(Server::builder()).await
    }

    async fn client_of(&self, server: ServerBuilder) -> Client {
        let handle = server.router(self.router()).bind().await.unwrap().handle();
        let network = Arc::clone(&self.network);

        let connect = move |_address: String| {
            let (server, network) = (handle.clone(), Arc::clone(&network));
            async move {
                if network.is_down.load(Ordering::SeqCst) {
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "down"));
                }

                let (ours, mut near) = tokio::io::duplex(64 * 1024);
                let (mut far, theirs) = tokio::io::duplex(64 * 1024);
                tokio::spawn(server.serve_connection(theirs, "memory"));
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = network.cut.notified() => {}
                    }
                });
                Ok(ours)
            }
        };
        client_over(connect)
    }

    async fn shipper(&self, config: ShipperConfig) -> Shipper {
        Shipper::start(self.client().await, "order", config)
    }

    /// Loses the network until it is up again.
    fn go_down(&self) {
        self.network.is_down.store(true, Ordering::SeqCst);
        self.network.cut.notify_waiters();
    }

    fn come_up(&self) {
        self.network.is_down.store(false, Ordering::SeqCst);
    }

    fn calls(&self) -> u64 {
        self.book.lock().unwrap().calls
    }

    /// The messages but those about dropped entries.
    fn messages(&self) -> Vec<String> {
        let book = self.book.lock().unwrap();
        book.entries
            .iter()
            .filter(|entry| entry.fields.is_none())
            .map(|entry| entry.message.clone())
            .collect()
    }

    /// Each message with its number; a message comes once.
    fn each_once(&self) -> BTreeMap<String, usize> {
        let messages = self.messages();
        let by_message: BTreeMap<String, usize> = messages
            .iter()
            .cloned()
            .enumerate()
            .map(|(at, message)| (message, at))
            .collect();
        assert_eq!(by_message.len(), messages.len(), "a message comes twice");
        by_message
    }

    /// Dropped entries, as the log was told of them.
    fn told(&self) -> u64 {
        let book = self.book.lock().unwrap();
        let notes = book.entries.iter().filter_map(|entry| {
            let fields = entry.fields.as_ref()?;
            fields.get("dropped")?.get().parse::<u64>().ok()
        });
        notes.sum()
    }
}

fn client_over(connect: impl Connect) -> Client {
    Client::builder("log").connector(connect).build()
}

async fn append_batch(
    State(log): State<Log>,
    Params(batch): Params<AppendBatch>,
) -> Result<BatchAppended, Status> {
    let answer = log.book.lock().unwrap().take(&batch);
    match answer {
        Ok((appended, false)) => Ok(appended),
        Ok((appended, true)) => {
            log.network.cut.notify_waiters();
            Ok(appended)
        }
        Err(Some(status)) => Err(status),
        Err(None) => {
            log.network.cut.notify_waiters();
            std::future::pending().await
        }
    }
}

impl Book {
    /// The batch as it is in the log, and whether the network is lost before the reply. An error without a status is a
    /// loss before the batch is written.
    fn take(&mut self, batch: &AppendBatch) -> Result<(BatchAppended, bool), Option<Status>> {
        self.calls += 1;
        let answer = self.rule.as_mut().map_or(Answer::Write, |rule| rule(batch));
        let is_cut = match answer {
            Answer::Write => false,
            Answer::WriteAndCut => true,
            Answer::Cut => return Err(None),
            Answer::Fail(status) => return Err(Some(status)),
        };

        let key = (batch.producer.clone(), batch.batch);
        let text = serde_json::to_string(&batch.entries).unwrap();
        let count = batch.entries.len() as u64;
        let known = self.batches.get(&key).cloned();
        let duplicate = known.is_some();
        let (first, known) = known.unwrap_or_else(|| {
            self.entries.extend_from_slice(&batch.entries);
            (self.entries.len() as u64 - count + 1, text.clone())
        });
        assert_eq!(known, text, "a batch that comes again has the same entries");
        self.batches.insert(key, (first, known));

        let appended = BatchAppended {
            first,
            last: first + count - 1,
            duplicate,
            synced: true,
        };
        Ok((appended, is_cut))
    }
}

/// An entry with a message of its own.
fn entry(number: u64) -> Append {
    Append::new(Level::Info, "order", format!("entry {number}"))
}

fn small_batches() -> ShipperConfig {
    ShipperConfig {
        batch_entries_max: 4,
        ..ShipperConfig::default()
    }
}

const LONG: Duration = Duration::from_secs(600);
