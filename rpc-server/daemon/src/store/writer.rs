use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::dir_lock::DirLock;
use super::queue::{Batch, Queue};
use super::segment::Segment;
use super::segments::Segments;
use super::waiting::Waiting;
use super::{LogConfig, StoreError};

/// The thread that brings entries to the disk, all that wait at a time.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) config: LogConfig,
    pub(super) queue: Arc<Queue>,
    pub(super) segments: Arc<Segments>,
    pub(super) waiting: Arc<Waiting>,
    /// The segment in use; none before the first entry, and behind an error.
    pub(super) newest: Option<Segment>,
    /// Held open for its lock. It stands before `durable`, so that who sees that one go finds the directory
    /// free.
    pub(super) _lock: DirLock,
    /// The last durable sequence number. It ends with the writer, which is how others learn of that.
    pub(super) durable: watch::Sender<u64>,
    /// The entries that failed since the last one that did not.
    pub(super) failed: u64,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(batch) = self.queue.take() {
            let outcome = self.write(&batch);
            self.report(&batch, &outcome);

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
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let bytes = batch.lines.len() as u64;

        // Taken out, and put back only if all went well: a segment that failed is not used again.
        let mut segment = match self.newest.take() {
            Some(segment)
                if segment.len == 0 || segment.len + bytes <= self.config.segment_bytes =>
            {
                segment
            }
            _ => Segment::create(&self.dir, batch.first, self.config.fsync)?,
        };

        if let Err(error) = segment.append(&batch.lines, self.config.fsync) {
            segment.give_up();
            return Err(error);
        }

        self.segments.commit(&mut segment, batch.next() - 1);
        self.newest = Some(segment);
        Ok(())
    }

    /// Logs the start and the end of a failure only: on a full disk each entry fails, and its caller is told
    /// anyway.
    fn report(&mut self, batch: &Batch, outcome: &Result<(), StoreError>) {
        let entries = batch.next() - batch.first;
        match outcome {
            Ok(()) if self.failed == 0 => {}
            Ok(()) => {
                tracing::info!(
                    entries = self.failed,
                    "log entries are written again; so many were not"
                );
                self.failed = 0;
            }
            Err(error) => {
                if self.failed == 0 {
                    tracing::error!(%error, entries, "log entries were not written");
                }
                self.failed += entries;
            }
        }
    }
}

impl Drop for Writer {
    /// After a panic there may be callers left, who would wait for ever.
    fn drop(&mut self) {
        self.queue.abandon();
        self.waiting.end();
    }
}
