//! The log as its services see it, whatever keeps it.
//!
//! The services (`services/log`, `syslog`) know this trait and no engine. The only engine keeps the log in files of this machine;
//! a distributed one could take its place.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{BoxStream, StreamExt};
use rpc_core::Peer;
use rpc_core::api::log::LogStats;
use rpc_server::blocking::BlockingPool;
use rpc_server::layers::KeyedCall;
use tokio::sync::watch;
use tokio::time::Instant;

use super::queue::Appended;
use super::repeats::BatchOf;
use super::{
    Emitter, Health, LogConfig, LogStore, NewBatch, NewEntries, Once, Overflow, Page, Query,
    StoreError, TailQuery, Tailed,
};

/// A log: entries get consecutive numbers from 1 on, in the order in which they are taken, and are read in that order.
///
/// What takes entries does so when it is called: an entry has its place then, whatever becomes of the future that tells of its
/// outcome. None of these methods blocks.
pub(crate) trait LogEngine: fmt::Debug + Send + Sync {
    /// The identity of the log: random, and the same for as long as its numbers are.
    fn identity(&self) -> &str;

    /// Whether what is acknowledged would outlive a loss of power.
    fn is_synced(&self) -> bool;

    /// The number of the last durable entry; 0 without entries.
    fn last(&self) -> u64;

    /// Appends an entry. The future resolves with its number once it is durable.
    ///
    /// # Errors
    ///
    /// At once, without having taken the entry: [`Overloaded`](StoreError::Overloaded),
    /// [`OverBudget`](StoreError::OverBudget), [`TooLarge`](StoreError::TooLarge), [`Closed`](StoreError::Closed). From the
    /// future: [`Full`](StoreError::Full), [`Io`](StoreError::Io) and others of the disk.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not take the entry back.
    fn append(&self, entry: NewEntries) -> Result<Appended, StoreError>;

    /// Appends an entry once, however often it is sent with this key, also after a restart.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`KeyConflict`](StoreError::KeyConflict),
    /// [`KeyForgotten`](StoreError::KeyForgotten) and [`KeysFull`](StoreError::KeysFull) at once.
    fn append_once(&self, entry: NewEntries, call: &KeyedCall) -> Result<Once, StoreError>;

    /// Appends entries together or not at all, once, however often the batch is sent. The outcome is the number of the first
    /// one.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`BatchConflict`](StoreError::BatchConflict) and
    /// [`BatchStale`](StoreError::BatchStale) at once.
    fn append_batch(
        &self,
        producer: &str,
        number: u64,
        entries: NewBatch,
    ) -> Result<Once, StoreError>;

    /// Whether a batch of the producer with this number is known whose hash is not that of these entries. It has other ones,
    /// or an older version has written it, which had another hash: see [`NewBatch::note_text`]. An engine without such
    /// batches has no need to look.
    fn has_other_batch(&self, _producer: &str, _number: u64, _entries: &NewBatch) -> bool {
        false
    }

    /// The counts of what a connection emits; the same for the same connection.
    fn emitter(&self, peer: Option<&Arc<Peer>>) -> Arc<Emitter>;

    /// Takes entries whose caller does not wait for the disk, and counts for `emitter` what becomes of them.
    ///
    /// # Errors
    ///
    /// With [`Overflow::Refuse`], without having taken any: those of [`append`](Self::append) at once, and
    /// [`EmitTooLarge`](StoreError::EmitTooLarge). With [`Overflow::Drop`] none.
    fn emit(
        &self,
        emitter: &Arc<Emitter>,
        entries: NewEntries,
        overflow: Overflow,
    ) -> Result<(), StoreError>;

    /// Waits until it is known, and counted, what has become of all that was emitted before this call.
    ///
    /// # Errors
    ///
    /// [`Closed`](StoreError::Closed).
    fn flushed(&self) -> Result<Appended, StoreError>;

    /// Reads a page of entries, in the order of the query's direction. It waits for entries if the query says so.
    ///
    /// # Errors
    ///
    /// [`OtherLog`](StoreError::OtherLog) and [`PastEnd`](StoreError::PastEnd) if the cursor does not fit;
    /// [`Io`](StoreError::Io) if entries cannot be read; [`Blocking`](StoreError::Blocking) if too many reads of the caller's
    /// connection wait for a thread. Damaged entries are left out.
    ///
    /// # Cancel safety
    ///
    /// Reading changes nothing, and ends soon after the future is dropped.
    fn read(&self, query: Query) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Follows the log from a cursor, or from its end, on. Nothing is read before an item is asked for.
    ///
    /// # Errors
    ///
    /// At once: [`OtherLog`](StoreError::OtherLog) and [`PastEnd`](StoreError::PastEnd) if the start does not fit. As the
    /// last item: those of [`read`](Self::read), and [`Ending`](StoreError::Ending) once no reader waits any more.
    fn tail(
        self: Arc<Self>,
        query: TailQuery,
    ) -> Result<BoxStream<'static, Result<Tailed, StoreError>>, StoreError>;

    /// The figures of the log now.
    fn stats(&self) -> LogStats;

    /// Whether the log can do its work. It ends when no entry is taken any more.
    fn health(&self) -> watch::Receiver<Health>;

    /// Lets reads that wait return what they have, now and from now on: a server that drains must not wait for those who wait
    /// for the next entry.
    fn end_waits(&self);

    /// Takes no more entries, and returns when what becomes of those taken is known. Reading goes on working.
    ///
    /// # Cancel safety
    ///
    /// The log is closed even if this is dropped.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Opens the log in a directory of this machine: see [`LogStore::open`].
///
/// # Errors
///
/// As [`LogStore::open`].
pub(crate) fn open(
    dir: &Path,
    config: LogConfig,
    pool: &BlockingPool,
) -> Result<Arc<dyn LogEngine>, StoreError> {
    Ok(Arc::new(LogStore::open(dir, config, pool)?))
}

impl LogEngine for LogStore {
    fn identity(&self) -> &str {
        &self.log
    }

    fn is_synced(&self) -> bool {
        self.is_synced
    }

    fn last(&self) -> u64 {
        Self::last(self)
    }

    fn append(&self, entry: NewEntries) -> Result<Appended, StoreError> {
        Self::append(self, entry)
    }

    fn append_once(&self, entry: NewEntries, call: &KeyedCall) -> Result<Once, StoreError> {
        Self::append_once(self, entry, call)
    }

    fn append_batch(
        &self,
        producer: &str,
        number: u64,
        entries: NewBatch,
    ) -> Result<Once, StoreError> {
        let batch = BatchOf::new(producer.to_owned(), number, &entries);

        self.producers.once(&batch, Instant::now(), |tell| {
            let entries = entries
                .into_entries(&batch)
                .received_at(self.clock.now_ms());
            self.within_budgets(&entries, || self.queue.push_for(&entries, tell))
        })
    }

    fn has_other_batch(&self, producer: &str, number: u64, entries: &NewBatch) -> bool {
        self.producers.has_other(producer, number, entries.hash())
    }

    fn emitter(&self, peer: Option<&Arc<Peer>>) -> Arc<Emitter> {
        Self::emitter(self, peer)
    }

    fn emit(
        &self,
        emitter: &Arc<Emitter>,
        entries: NewEntries,
        overflow: Overflow,
    ) -> Result<(), StoreError> {
        Self::emit(self, emitter, entries, overflow)
    }

    fn flushed(&self) -> Result<Appended, StoreError> {
        Self::flushed(self)
    }

    fn read(&self, query: Query) -> BoxFuture<'_, Result<Page, StoreError>> {
        Self::read(self, query).boxed()
    }

    fn tail(
        self: Arc<Self>,
        query: TailQuery,
    ) -> Result<BoxStream<'static, Result<Tailed, StoreError>>, StoreError> {
        Self::tail(&self, query).map(StreamExt::boxed)
    }

    fn stats(&self) -> LogStats {
        Self::stats(self)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    fn end_waits(&self) {
        self.waiting.end();
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Self::close(self).boxed()
    }
}
