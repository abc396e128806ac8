//! The thread that writes: batches of entries into the newest file.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_server::LogThrottle;
use tokio::sync::watch;

use super::clock::{Clock, Steps};
use super::closing::Closing;
use super::dir_lock::DirLock;
use super::emits::{Due, Services, send_notices};
use super::free_space::free_bytes;
use super::index::{self, Index};
use super::meter::Meter;
use super::queue::{Batch, Queue, Taken};
use super::repeats::{Repeats, Snapshots};
use super::segment::{FILE_MODE, Segment};
use super::segments::{ClosedIndex, Segments};
use super::upkeep::Upkeep;
use super::waiting::Waiting;
use super::{Health, LogConfig, StoreError};

/// Time after which the writer looks whether all is well, also if no entry comes.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The thread that brings entries to the disk, all that wait at a time.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    pub(super) queue: Arc<Queue>,
    pub(super) segments: Arc<Segments>,
    pub(super) waiting: Arc<Waiting>,
    /// The segment in use; none before the first entry, and behind an error.
    pub(super) newest: Option<Segment>,
    /// What was appended before.
    pub(super) repeats: Repeats,
    pub(super) snapshots: Snapshots,
    /// Work on closed segments. It comes before `lock`: with the lock, the directory is free of it, too.
    pub(super) upkeep: Upkeep,
    /// Held open for its lock. It comes before `durable`, so that a task that sees `durable` dropped finds the
    /// directory free.
    pub(super) lock: DirLock,
    /// The last durable sequence number. It ends with the writer, which is how others learn of that.
    pub(super) durable: watch::Sender<u64>,
    /// Told when the log cannot be written or read, and when it can again.
    pub(super) health: watch::Sender<Health>,
    /// The entries that failed since the last one that did not.
    pub(super) failed: u64,
    /// Of what entries cause: some may fail and others not, as often as they come.
    pub(super) failures: LogThrottle,
    pub(super) meter: Arc<Meter>,
    /// What services send, of which the log tells when some was dropped.
    pub(super) services: Arc<Services>,
    pub(super) clock: Clock,
    pub(super) steps: Steps,
    /// The first number that this writer gives out.
    pub(super) first: u64,
    /// Whether the directory may have a record of what is left in it. The next entry takes it away.
    pub(super) is_noted: bool,
}

/// The throttle of what a writer logs of entries that fail.
pub(super) fn failures() -> LogThrottle {
    LogThrottle::new(
        "failures of the log's store, or their ends",
        tracing::Level::ERROR,
        FAILURES_LOGGED_PER_SECOND,
    )
}

const FAILURES_LOGGED_PER_SECOND: u32 = 10;

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut looked = Instant::now();
        loop {
            match self.queue.take(LOOK_AFTER) {
                Taken::Batch(batch) => self.take(batch),
                Taken::Nothing => {}
                Taken::End => break,
            }

            if looked.elapsed() >= LOOK_AFTER {
                self.look();
                looked = Instant::now();
            }
        }

        self.begin_behind_a_change();
        self.note_what_is_left();
    }

    fn note_what_is_left(&mut self) {
        self.is_noted = true;
        if let Some(newest) = self.segments.newest() {
            Closing {
                last: self.queue.next() - 1,
                segment: newest.first,
                bytes: newest.bytes,
            }
            .write(&self.dir);
        }
    }

    fn take(&mut self, batch: Batch) {
        if batch.entries() == 0 {
            // Callers that only wait for what came before.
            return self.queue.finish(batch, &Ok(()));
        }

        let outcome = self.write(&batch);
        self.report(&batch, &outcome);
        let left_behind = outcome.as_ref().err();
        if left_behind.is_some_and(|error| self.snapshots.note_failure(error)) {
            // A start believes what it finds in the newest segment.
            self.begin(batch.next());
        }
        self.note_write(outcome.as_ref().err());

        if outcome.is_ok() {
            // Readers first: a caller that is told may read what it has written.
            let last = batch.next() - 1;
            self.durable.send_replace(last);
            self.waiting.appended(last);
        }

        self.queue.finish(batch, &outcome);
        if outcome.is_ok() && self.config.retention_bytes > 0 {
            self.segments.retain(self.config.retention_bytes);
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let durability = self.config.durability();

        // Taken out, and put back only if all went well: a segment that failed is not used again.
        let mut segment = self.segment_for(batch)?;
        if let Err(error) = segment.append(&batch.lines, durability) {
            let has_others = segment.len > 0;
            let error = segment.give_up(error, self.sync());

            // A file that may not grow is as good as a full one, if nothing of the batch is left in it.
            if !has_others || !matches!(error, StoreError::FileSizeLimit { .. }) {
                return Err(error);
            }

            segment = self.create(batch.first)?;
            if let Err(error) = segment.append(&batch.lines, durability) {
                return Err(segment.give_up(error, self.sync()));
            }
        }

        let begins = segment.len - batch.lines.len() as u64;
        if let Err(error) = self.remove_note() {
            segment.len = begins;
            return Err(segment.give_up(error, self.sync()));
        }

        self.meter.note(batch.entries(), segment.synced_in);
        let added = batch.index.clone().moved_to(begins);
        self.commit(&mut segment, batch.next() - 1, added);
        self.newest = Some(segment);
        Ok(())
    }

    /// Removes the record of what is left, once entries are written and before anyone is told of them: of a file without
    /// entries, only this record says which numbers were given out.
    fn remove_note(&mut self) -> Result<(), StoreError> {
        if self.is_noted {
            Closing::remove(&self.dir)?;
            self.is_noted = false;
        }
        Ok(())
    }

    /// The segment that a batch goes to: the one in use, if there is room in it and it is what was left.
    fn segment_for(&mut self, batch: &Batch) -> Result<Segment, StoreError> {
        if let Some(segment) = self.newest.take() {
            let change = segment.change();
            if let Some(change) = &change {
                report_change(&segment, change, batch.first);
            } else if segment.len == 0 || self.has_room_for(&segment, batch) {
                return Ok(segment);
            }
            // The file is closed here: the next one may need its descriptor.
        }

        self.create(batch.first)
    }

    fn has_room_for(&self, segment: &Segment, batch: &Batch) -> bool {
        segment.len + batch.lines.len() as u64 <= self.config.segment_bytes && !self.is_old(segment)
    }

    /// Whether the next segment is to be begun for the age of this one.
    fn is_old(&self, segment: &Segment) -> bool {
        let age = self.config.segment_age;
        !age.is_zero() && segment.len > 0 && segment.is_as_old_as(age, self.clock.now())
    }

    fn create(&mut self, first: u64) -> Result<Segment, StoreError> {
        self.snapshots
            .write(first, &self.repeats, self.config.durability());

        Segment::create(&self.dir, first, self.sync(), self.clock.now())
    }

    /// Syncs the directory, if what is written is to outlive a loss of power.
    fn sync(&self) -> Option<&DirLock> {
        self.config.fsync.then_some(&self.lock)
    }

    /// Shows readers what a segment has grown to, and sees to the one before it, if that is closed now.
    fn commit(&mut self, segment: &mut Segment, last: u64, added: Index) {
        let is_new = !segment.listed;
        let closed = self.segments.commit(segment, last, added);
        write_index(closed.as_ref());
        self.snapshots.settle(segment.first);
        if is_new {
            self.upkeep.segment_closed();
        }
    }

    /// Sees to the files, whether or not entries come.
    fn look(&mut self) {
        let now_ms = self.clock.now_ms();
        // While nothing can be written, they would be tried again at each look.
        if !self.health.borrow().cannot_write {
            send_notices(&self.services, &self.queue, Due::Ended, now_ms);
        }
        self.begin_behind_a_change();

        // Without entries, too: what is in it can be deleted only once it is not the newest.
        if self
            .newest
            .as_ref()
            .is_some_and(|newest| self.is_old(newest))
        {
            self.begin(self.queue.next());
        }
        self.retain_since();
        self.keep_free();

        let can_read = self.segments.read_again();
        let cannot_write = self.health.borrow().cannot_write;
        if cannot_write {
            let probed = self.probe();
            self.note_write(probed.as_ref().err());
        }

        self.health.send_if_modified(|health| {
            std::mem::replace(&mut health.cannot_read, !can_read) == can_read
        });
    }

    /// Deletes what is too old.
    fn retain_since(&mut self) {
        let now = self.clock.now();
        if let Some(step) = self.steps.forward() {
            self.segments.correct_times_since(self.first, step, now);
        }
        if !self.config.retention_age.is_zero() {
            self.segments.retain_since(self.config.retention_age, now);
        }
    }

    /// Deletes what the file system has no room for. Where the system does not tell, nothing is deleted.
    fn keep_free(&self) {
        let Ok(free) = free_bytes(&self.dir) else {
            return;
        };

        self.meter.note_free(free);
        let missing = self.config.keep_free_bytes.saturating_sub(free);
        self.segments.make_free(missing);
    }

    /// Begins the next segment if the newest is not what was left, so that a restart goes on with the number of
    /// the next entry whatever it finds in that file.
    fn begin_behind_a_change(&mut self) {
        let next = self.queue.next();
        let Some((segment, change)) = self
            .newest
            .take_if(|segment| segment.change().is_some())
            .and_then(|segment| {
                let change = segment.change()?;
                Some((segment, change))
            })
        else {
            return;
        };

        report_change(&segment, &change, next);
        self.begin(next);
    }

    /// Makes a segment for entries to come, which readers know of.
    pub(super) fn begin(&mut self, next: u64) {
        match self.create(next) {
            Ok(mut segment) => {
                self.commit(&mut segment, next - 1, Index::default());
                self.newest = Some(segment);
                // After a kill it would look like one that was emptied.
                self.note_what_is_left();
            }
            Err(error) => {
                self.failures
                    .write(|| tracing::error!(%error, "cannot begin the next segment of the log"));
                self.note_write(Some(&error));
            }
        }
    }

    /// Tries whether the disk takes as much as an entry or two.
    fn probe(&self) -> Result<(), StoreError> {
        let path = self.dir.join(".probe");
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(&[b'\n'; 4096])?;
                file.sync_data()
            });

        // What is left of it is written over by the next one.
        let _ = fs::remove_file(&path);
        written.map_err(StoreError::io("write", &path))
    }

    fn note_write(&self, error: Option<&StoreError>) {
        let cannot_write = error.is_some();
        self.health.send_if_modified(|health| {
            std::mem::replace(&mut health.cannot_write, cannot_write) != cannot_write
        });
    }

    /// Logs the start and the end of a failure only: on a full disk each entry fails, and its caller is told
    /// anyway.
    fn report(&mut self, batch: &Batch, outcome: &Result<(), StoreError>) {
        let entries = batch.next() - batch.first;
        match outcome {
            Ok(()) if self.failed == 0 => {}
            Ok(()) => {
                self.failures.write(|| {
                    tracing::info!(
                        entries = self.failed,
                        "log entries can be written again; `entries` is the number that could not be written"
                    );
                });
                self.failed = 0;
            }
            Err(error) => {
                if self.failed == 0 {
                    self.failures
                        .write(|| tracing::error!(%error, entries, "log entries were not written"));
                }
                self.failed += entries;
            }
        }
    }
}

/// Writes the index of a segment that is closed.
fn write_index(closed: Option<&ClosedIndex>) {
    let Some(ClosedIndex { path, index }) = closed else {
        return;
    };
    if let Err(error) = index::write(path, index) {
        tracing::warn!(file = %path.display(), %error, "cannot write the index of a log segment; it is made at the next start");
    }
}

/// Says that a file was changed, and which entries it should have.
fn report_change(segment: &Segment, change: &str, next: u64) {
    let (first, last) = (segment.first, next - 1);
    tracing::error!(
        file = %segment.path().display(), first, last,
        "another program has changed this log segment: {change}; no more is written to it, and a new segment begins"
    );

    if segment.len == 0 {
        segment.set_aside();
    }
}

impl Drop for Writer {
    /// After a panic there may be callers left, who would wait for ever.
    fn drop(&mut self) {
        self.queue.abandon();
        self.waiting.end();
    }
}
