//! The outbox on disk: every message, its attempts, and what is known of them.
//!
//! [`Transitions`] is what may be done with messages; `Tables` does it in SQLite. One thread has the
//! right to write: it takes all transitions that wait into one transaction, and answers them once that is on disk.

mod accept;
mod attempt;
mod error;
mod files;
mod list;
mod numbers;
mod parts;
mod read;
mod receipt;
mod row;
mod schema;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod transitions;
mod types;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

pub use error::{Refusal, StoreError};
pub(crate) use files::sync_name;
pub use list::{Filter, Page};
pub use read::{EventFilter, EventPage};
pub use transitions::Transitions;
pub use types::{
    Accepted, AttemptEnd, AttemptEvent, ClaimRules, Claimed, Content, Event, GatewaySwitch,
    Message, NewMessage, OptOut, OptOutScope, QueueCounts, Receipt, ReceiptScope, ReceiptState,
    Resend, Revealed, Swept, Viewer,
};

use crate::limits::Rate;
use crate::message::Class;
use read::Readers;
use tables::Tables;
use writer::Writer;

/// Settings of the store. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Maximum number of messages that wait for their time or a gateway. Further ones are refused.
    pub queue_max: u64,
    /// How long a key belongs to its message.
    pub key_ms: u64,
    /// How long the text is kept after the end of a message.
    pub erase_text_ms: u64,
    /// How long the number is kept after the message was accepted; then its HMAC takes its place.
    pub erase_number_ms: u64,
    /// How long an ended message is kept after its last change.
    pub keep_ms: u64,
    /// How long a sent message waits for a receipt.
    pub receipt_wait_ms: u64,
    /// How long a receipt that matches nothing is kept: it may have overtaken the response.
    pub early_receipt_ms: u64,
    /// Limits by class.
    pub limits: HashMap<Class, ClassLimits>,
}

/// Limits of the messages of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassLimits {
    /// Of messages to one number.
    pub per_number: Vec<Rate>,
    /// Of messages to one calling code.
    pub per_prefix: Vec<Rate>,
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            queue_max: 1_000_000,
            key_ms: 7 * DAY_MS,
            erase_text_ms: DAY_MS,
            erase_number_ms: 90 * DAY_MS,
            keep_ms: 365 * DAY_MS,
            receipt_wait_ms: 72 * HOUR_MS,
            early_receipt_ms: HOUR_MS,
            limits: HashMap::new(),
        }
    }
}

/// The outbox, open. Clones are handles of the same one; the writer ends when the last is gone, after what waits.
#[derive(Clone)]
pub struct Store {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    shared: Arc<Shared>,
    name: Arc<str>,
}

/// What the writer tells others after each commit.
struct Shared {
    /// The number of the last event that is on disk.
    last_event: watch::Sender<u64>,
    /// Messages by gateway and state, of the states that wait.
    counts: Mutex<HashMap<String, QueueCounts>>,
}

impl Store {
    /// Opens the outbox in a file, which is made where it is missing. Messages that were being sent when the last process
    /// ended become `unknown`. It blocks.
    ///
    /// # Errors
    /// Another process has it open, it is of a later version, or it cannot be read or written.
    pub fn open(file: &Path, config: StoreConfig, now: u64) -> Result<Self, StoreError> {
        let opened = files::Opened::open(file)?;
        let mut tables = Tables::open(opened.connection, opened.key, config, now)?;

        let recovered = tables.recover(now)?;
        if recovered > 0 {
            tracing::warn!(
                messages = recovered,
                "the last process ended while messages were being sent; they are `unknown` until a receipt or an operator decides"
            );
        }

        let shared = Arc::new(Shared {
            last_event: watch::Sender::new(tables.last_event()),
            counts: Mutex::new(tables.counts()),
        });
        let name = tables.name().to_owned();
        let readers = Readers::open(file, tables.numbers())?;
        let writer = Writer::start(tables, Arc::clone(&shared), opened.lock)?;

        Ok(Self {
            writer: Arc::new(writer),
            readers: Arc::new(readers),
            shared,
            name: name.into(),
        })
    }

    /// The name of the outbox, which no other one has. It stays over restarts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a transition, together with others that wait, and answers once it is on disk.
    ///
    /// # Errors
    /// What the transition refuses, and a disk that does not take it: then nothing of it has happened.
    ///
    /// # Cancel safety
    /// The transition runs whether or not its caller still waits.
    pub async fn run<T: Send + 'static>(
        &self,
        transition: impl FnOnce(&mut dyn Transitions) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer
            .run(transition)?
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    /// What can be read of the outbox. It blocks.
    pub fn reader(&self) -> &Readers {
        &self.readers
    }

    /// Events behind a number, up to the last one that [`last_event`](Self::last_event) tells of: a reader finds events a
    /// moment before that, and a watch that was shown one could not continue after it. It blocks.
    ///
    /// # Errors
    /// The outbox cannot be read.
    pub fn events(&self, filter: &EventFilter) -> Result<EventPage, StoreError> {
        let last = *self.shared.last_event.borrow();
        self.readers.events(filter, last)
    }

    /// The number of the last event that is on disk, and its changes.
    pub fn last_event(&self) -> watch::Receiver<u64> {
        self.shared.last_event.subscribe()
    }

    /// Messages that wait or are unknown, by gateway.
    pub fn counts(&self) -> HashMap<String, QueueCounts> {
        self.shared.counts.lock().expect("no holder panics").clone()
    }
}
