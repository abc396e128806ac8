//! The engine that keeps the log in files.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rpc_server::blocking::BlockingPool;
use rpc_server::create_durable_dir;
use rpc_server::layers::KeyedCall;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::{Clock, Steps};
use super::closing::Closing;
use super::dir_lock::DirLock;
use super::emits::{Due, Emitters, ServiceLimits, Services, send_notices};
use super::meter::Meter;
use super::opening::Opening;
use super::queue::{Appended, Queue, QueueLimits};
use super::repeats::{KeyOf, Keys, Once, Producers, Repeats, Replayed, Snapshots};
use super::segment;
use super::segments::{self, FoundSegments, Segments};
use super::upkeep::Upkeep;
use super::waiting::{Matcher, Waiting};
use super::writer::Writer;
use super::{Durability, Health, LogConfig, NewEntries, StoreError, identity};

/// A log on disk: entries are appended, get consecutive sequence numbers from 1 on, and are read in that
/// order.
///
/// Share it in an `Arc`. Dropping it writes what has been appended, which takes as long as the disk takes for
/// it; [`close`](Self::close) does so without blocking the thread.
pub(crate) struct LogStore {
    pub(super) queue: Arc<Queue>,
    pub(super) segments: Arc<Segments>,
    /// The threads that scan.
    pub(super) scans: BlockingPool,
    /// The reads that wait.
    pub(super) waiting: Arc<Waiting>,
    pub(super) wait_max: Duration,
    /// Whether what is acknowledged would outlive a loss of power.
    pub(super) is_synced: bool,
    /// The identity of the log.
    pub(super) log: String,
    /// What connections emit.
    pub(super) emitters: Emitters,
    /// What services append.
    pub(super) services: Arc<Services>,
    pub(super) clock: Clock,
    pub(super) meter: Arc<Meter>,
    /// The keys of appends.
    keys: Arc<Keys>,
    /// The batches of producers.
    pub(super) producers: Arc<Producers>,
    pub(super) durable: watch::Receiver<u64>,
    pub(super) health: watch::Receiver<Health>,
    /// Whether work in the background has to end.
    is_ending: Arc<AtomicBool>,
    /// The threads of the store, in the order in which they end.
    threads: Vec<JoinHandle<()>>,
}

impl LogStore {
    /// Opens the log in a directory, which is made if it does not exist, and repairs what a crash has left
    /// behind.
    ///
    /// It blocks, for as long as it takes to read the newest segment. Reads scan in threads of `pool`.
    ///
    /// # Errors
    ///
    /// [`Locked`](StoreError::Locked) if the directory is open already, by this process or another; otherwise
    /// an error of the disk.
    pub(crate) fn open(
        dir: &Path,
        config: LogConfig,
        pool: &BlockingPool,
    ) -> Result<Self, StoreError> {
        Self::open_by(dir, config, pool, Clock::default())
    }

    /// As [`open`](Self::open), by a clock that a test can set.
    pub(super) fn open_by(
        dir: &Path,
        config: LogConfig,
        pool: &BlockingPool,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        create_durable_dir(dir).map_err(StoreError::io("create", dir))?;
        let lock = DirLock::take(dir)?;
        let sync = config.fsync.then_some(&lock);
        let firsts = segments::firsts(dir).map_err(StoreError::io("list", dir))?;
        let mut repeats = Repeats::before_newest(dir, &firsts, &config)?;
        let snapshots = Snapshots::of(dir, firsts.last().copied())
            .map_err(StoreError::io("delete an old record in", dir))?;
        let FoundSegments {
            segments,
            newest,
            next: found_next,
        } = Segments::recover(dir, sync, &mut |entry| repeats.replay(entry))?;
        let segments = Arc::new(segments);

        // What was changed since the store was closed is not written to, and its numbers are not given out again.
        let closing = Closing::read(dir);
        let left = closing.filter(|left| is_changed(left, found_next, &segments, dir));
        repeats.end_replay(found_next, replayed(&segments, left.as_ref()));
        let bytes = bytes_that_count(&segments, config.durability());
        let log = identity::of(dir, &lock, bytes, closing.as_ref())?;

        note_opening(dir, &lock, &segments, config.durability());

        let next = left.map_or(found_next, |left| found_next.max(left.last + 1));
        let newest = newest.filter(|newest| left.is_none() && newest.change().is_none());
        let queue = Arc::new(Queue::new(next, limits_of(&config), config.durability()));
        let services = Services::new(service_limits_of(&config), Instant::now());
        let (services, meter) = (Arc::new(services), Arc::<Meter>::default());
        let (sender, durable) = watch::channel(next - 1);
        let (health_sender, health) = watch::channel(Health::default());

        let waiting = Arc::new(Waiting::new(next - 1));

        let scans = pool.limited(config.scans_max);
        let (wait_max, is_synced) = (config.wait_max, config.fsync);
        let matcher = Matcher::new(Arc::clone(&waiting), Arc::clone(&segments));
        let (keys, producers) = (Arc::clone(&repeats.keys), Arc::clone(&repeats.producers));
        let is_ending = Arc::<AtomicBool>::default();
        let upkeep = Upkeep::start(Arc::clone(&segments), &config, Arc::clone(&is_ending))
            .map_err(StoreError::io("start a thread of", dir))?;
        let mut writer = Writer {
            dir: dir.into(),
            config,
            queue: Arc::clone(&queue),
            segments: Arc::clone(&segments),
            waiting: Arc::clone(&waiting),
            newest,
            repeats,
            snapshots,
            upkeep,
            lock,
            durable: sender,
            health: health_sender,
            failed: 0,
            failures: super::writer::failures(),
            meter: Arc::clone(&meter),
            services: Arc::clone(&services),
            clock: clock.clone(),
            steps: Steps::of(clock.clone()),
            first: next,
            is_noted: true,
        };
        if left.is_some() {
            writer.begin(next);
        }

        let threads =
            start(writer, matcher).map_err(StoreError::io("start the threads of", dir))?;

        Ok(Self {
            queue,
            segments,
            scans,
            waiting,
            wait_max,
            is_synced,
            log,
            emitters: Emitters::default(),
            services,
            clock,
            meter,
            keys,
            producers,
            durable,
            health,
            is_ending,
            threads,
        })
    }

    /// Appends an entry, as [`LogEngine::append`]. The number of one that fails is left out.
    pub(crate) fn append(&self, entry: impl Into<NewEntries>) -> Result<Appended, StoreError> {
        let entry = entry.into().received_at(self.clock.now_ms());
        self.within_budgets(&entry, || self.queue.push(&entry))
    }

    /// Appends an entry once, as [`LogEngine::append_once`].
    pub(crate) fn append_once(
        &self,
        entry: impl Into<NewEntries>,
        call: &KeyedCall,
    ) -> Result<Once, StoreError> {
        let key = KeyOf {
            id: call.key().into(),
            by: call.identity().into(),
            hash: call.fingerprint(),
        };
        let entry = entry.into().with_key(&key).received_at(self.clock.now_ms());

        self.keys.once(call, Instant::now(), |tell| {
            self.within_budgets(&entry, || self.queue.push_for(&entry, tell))
        })
    }

    /// Does what takes entries, if their services are within their budgets.
    pub(super) fn within_budgets<T>(
        &self,
        entries: &NewEntries,
        push: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let shares = self.services.take(entries.amounts(), Instant::now())?;
        push().inspect_err(|_| self.services.give_back(&shares))
    }

    /// The sequence number of the last durable entry; 0 without entries.
    pub(crate) fn last(&self) -> u64 {
        *self.durable.borrow()
    }

    /// How many damaged lines were found since the store was opened. Each was reported with its file and
    /// line.
    pub(crate) fn damaged(&self) -> u64 {
        self.segments.damaged()
    }

    /// Takes no more entries, and returns when those taken are on the disk, or have failed, and the directory
    /// is free for the next store. Reads that wait return; reading what is there goes on working.
    ///
    /// # Cancel safety
    ///
    /// The store is closed even if this is dropped.
    pub(crate) async fn close(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let now_ms = self.clock.now_ms();
        send_notices(&self.services, &self.queue, Due::All, now_ms);
        self.queue.close();
        let mut durable = self.durable.clone();

        // The writer has ended when no one is left to change it.
        while durable.changed().await.is_ok() {}
    }
}

fn service_limits_of(config: &LogConfig) -> ServiceLimits {
    ServiceLimits {
        bytes_per_second: config.service_bytes_per_second,
        emit_queue_bytes_max: config.emit_queue_bytes_max,
    }
}

fn limits_of(config: &LogConfig) -> QueueLimits {
    QueueLimits {
        bytes_max: config.queue_bytes_max,
        emit_bytes_max: config.emit_queue_bytes_max,
    }
}

/// Whether the files are not those that a store has left when it was closed, which is logged.
fn is_changed(left: &Closing, found_next: u64, segments: &Segments, dir: &Path) -> bool {
    let change = left.difference(found_next, segments.newest());
    if let Some(change) = &change {
        let file = segment::path_there(dir, left.segment);
        tracing::error!(
            file = %file.display(), last = left.last,
            "another program has changed this log segment while the daemon was stopped: {change}; a new segment begins"
        );
    }
    change.is_some()
}

/// What the replay of the newest segment has come to.
fn replayed(segments: &Segments, left: Option<&Closing>) -> Replayed {
    match (segments.damaged(), left) {
        (0, None) => Replayed::Whole,
        _ => Replayed::Damaged,
    }
}

/// The bytes of the files that must not be empty if the log is to be the same as before: see [`identity::of`].
fn bytes_that_count(segments: &Segments, durability: Durability) -> u64 {
    match durability {
        Durability::Power => segments.total_bytes(),
        Durability::Process => segments.newest().map_or(0, |newest| newest.bytes),
    }
}

/// Notes how far the log is synced.
fn note_opening(dir: &Path, lock: &DirLock, segments: &Segments, durability: Durability) {
    match durability {
        Durability::Power => Opening::of(segments.newest()).write(dir, lock),
        Durability::Process => Opening::remove(dir),
    }
}

/// Starts the threads of a store, in the order in which they end.
fn start(writer: Writer, matcher: Matcher) -> io::Result<Vec<JoinHandle<()>>> {
    let named = |name: &str| thread::Builder::new().name(name.into());
    Ok(vec![
        named("log-writer").spawn(|| writer.run())?,
        named("log-matcher").spawn(|| matcher.run())?,
    ])
}

impl fmt::Debug for LogStore {
    /// Nothing of the entries, which are private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore")
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A panic of the thread has been printed by its hook, and has failed its callers.
            let _ = thread.join();
        }
    }
}
