//! Repetitions: keys of appends and batches of producers, by which a repetition is recognised, also by the next process.
//!
//! Everything that is known is in the lines themselves. So that a start need not read all segments, what was known
//! at the end of a segment is kept in a snapshot beside the next one (`N.known`, where N is the first number of that
//! next one), and a start reads the newest snapshot and the newest segment. Of older segments it reads those with something
//! that a failed write has left, which the snapshot names, and without a snapshot all.

mod hash;
mod keys;
mod known;
mod producers;
mod progress;
mod replay;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::snapshot::{FailedSegment, Known};
use super::entry::EntryRef;
use super::opening::Opening;
use super::{Durability, LogConfig, StoreError, segment};

pub(super) use hash::{EntriesHash, text_hash};
pub(crate) use keys::Once;
pub(super) use keys::{KeyRun, Keys};
pub(super) use known::KeyOf;
pub(super) use producers::{BatchOf, BatchRun, Producers};
pub(super) use snapshot::Snapshots;

/// All that is known.
pub(super) struct Repeats {
    pub(super) keys: Arc<Keys>,
    pub(super) producers: Arc<Producers>,
    /// The last batch that was read, with the number of its first entry, until it is known to be whole.
    pending: Option<(BatchOf, u64)>,
    /// Whether what is cut off has to stay so after a loss of power.
    durability: Durability,
    /// Whether all is known that the process before knew.
    is_complete: bool,
}

/// What a replay has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replayed {
    /// All that was read made sense.
    Whole,
    /// Lines were damaged, or another program has changed the file.
    Damaged,
}

impl Repeats {
    /// What is known of a directory with these segments, but for the lines of the newest one. All of it is on the disk, if
    /// this store syncs.
    ///
    /// # Errors
    ///
    /// Those of a disk that does not sync an older segment.
    pub(super) fn before_newest(
        dir: &Path,
        firsts: &[u64],
        config: &LogConfig,
    ) -> Result<Self, StoreError> {
        let now = Instant::now();
        let mut repeats = Self {
            producers: Arc::new(Producers::new(now)),
            pending: None,
            durability: config.durability(),
            keys: Arc::new(Keys::new(config.dedup_age, config.dedup_bytes_max, now)),
            is_complete: false,
        };
        let Some((newest, older)) = firsts.split_last() else {
            return Ok(repeats);
        };

        let failed = repeats.load(dir, *newest);
        let is_synced = failed.is_some() && Opening::is_there(dir);
        if repeats.durability == Durability::Power && !is_synced {
            // A store that does not sync has written them, or which of them has what a failed write has left is not known.
            segment::sync_older(dir, older)?;
        }

        let age = config.dedup_age.max(producers::AGE_MAX);
        repeats.is_complete = match failed {
            Some(failed) => repeats.replay_failed(dir, firsts, &failed)?,
            None => repeats.replay_older(dir, *newest, older, age),
        };
        Ok(repeats)
    }

    /// Learns from a line of the newest segment, each in its order, what the process before knew.
    pub(super) fn replay(&mut self, entry: &EntryRef<'_>) {
        let is_behind = |(batch, first): &(BatchOf, u64)| entry.seq + 1 >= first + batch.count;
        if self.pending.as_ref().is_some_and(is_behind) {
            self.learn_pending();
        }

        if let Some(key) = &entry.key {
            self.keys.replay(key, entry.seq);
        }
        if let Some(batch) = entry.batch() {
            self.pending = Some((batch, entry.seq));
        }
    }

    fn learn_pending(&mut self) {
        if let Some((batch, first)) = self.pending.take() {
            self.producers.replay(&batch, first);
        }
    }

    /// Notes that the newest segment was read up to the number `next`.
    pub(super) fn end_replay(&mut self, next: u64, replayed: Replayed) {
        // One that was cut off has no number any more.
        if self
            .pending
            .as_ref()
            .is_some_and(|(_, first)| *first < next)
        {
            self.learn_pending();
        }
        self.pending = None;

        self.is_complete &= replayed == Replayed::Whole;
        if self.is_complete {
            self.keys.are_complete();
        } else if next > 1 || replayed == Replayed::Damaged {
            self.keys.may_have_been_lost();
        }
    }

    /// All that is written down.
    fn known(&self, failed: Vec<FailedSegment>) -> Known {
        let now = Instant::now();
        Known {
            keys: self.keys.snapshot(now),
            producers: self.producers.snapshot(now),
            failed,
        }
    }

    /// Takes in the snapshot of what was known before the segment `first`, if there is a sound one; returns the segments that
    /// have to be read as well.
    fn load(&mut self, dir: &Path, first: u64) -> Option<Vec<FailedSegment>> {
        match snapshot::read(dir, first) {
            Ok(known) => {
                self.keys.load(known.keys);
                self.producers.load(known.producers);
                Some(known.failed)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let file = snapshot::path(dir, first);
                    tracing::error!(
                        file = %file.display(), %error,
                        "a record of earlier appends cannot be read; the files of the log are read instead"
                    );
                }
                None
            }
        }
    }
}

/// A time in milliseconds.
fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
