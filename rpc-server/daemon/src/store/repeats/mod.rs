//! Repetitions: keys of appends and batches of producers, by which a repetition is recognised, also by the next process.
//!
//! Everything that is known is in the lines themselves. So that a start need not read all segments, what was known
//! at the end of a segment is kept in a snapshot beside the next one (`N.known`, where N is the first number of that
//! next one), and a start reads the newest snapshot and the newest segment. Without its snapshot it reads older
//! segments.

mod hash;
mod keys;
mod known;
mod producers;
mod progress;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::EntryRef;
use super::lines::{Lines, Sequence, leading_seq};
use super::segment::{self, SegmentFile, accept_but_for_newline};
use super::{Durability, LogConfig};

pub(super) use hash::{EntriesHash, text_hash};
pub(crate) use keys::Once;
pub(super) use keys::{KeyRun, Keys};
pub(super) use known::KeyOf;
pub(super) use producers::{BatchOf, BatchRun, Producers};
pub(super) use snapshot::Snapshots;

/// How many bytes are read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

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
    /// What is known of a directory with these segments, but for the lines of the newest one.
    pub(super) fn before_newest(dir: &Path, firsts: &[u64], config: &LogConfig) -> Self {
        let now = Instant::now();
        let mut repeats = Self {
            producers: Arc::new(Producers::new(now)),
            pending: None,
            durability: config.durability(),
            keys: Arc::new(Keys::new(config.dedup_age, config.dedup_bytes_max, now)),
            is_complete: false,
        };

        if let Some((newest, older)) = firsts.split_last() {
            repeats.is_complete = repeats.load(dir, *newest)
                || repeats.replay_older(
                    dir,
                    *newest,
                    older,
                    config.dedup_age.max(producers::AGE_MAX),
                );
        }
        repeats
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
        }
    }

    /// Whether something has failed that may be in the files nevertheless. Only they tell what has become of it.
    fn has_failed(&self, now: Instant) -> bool {
        self.producers.has_failed() || self.keys.has_failed(now)
    }

    /// Takes in the snapshot of what was known before the segment `first`; returns whether there is a sound one.
    fn load(&mut self, dir: &Path, first: u64) -> bool {
        match snapshot::read(dir, first) {
            Ok(known) => {
                self.keys.load(known.keys);
                self.producers.load(known.producers);
                true
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let file = snapshot::path(dir, first);
                    tracing::error!(
                        file = %file.display(), %error,
                        "a record of earlier appends cannot be read; the files of the log are read instead"
                    );
                }
                false
            }
        }
    }

    /// Learns from segments that were written to less than `age` before the newest; returns whether that is all there
    /// was.
    fn replay_older(&mut self, dir: &Path, newest: u64, older: &[u64], age: Duration) -> bool {
        let Ok(until) = segment::modified(dir, newest) else {
            return false;
        };

        // A segment is never older than those before it, whatever a clock that was wrong has put down as its time.
        let is_old = |first: &u64| {
            segment::modified(dir, *first)
                .is_ok_and(|written| until.duration_since(written).is_ok_and(|past| past > age))
        };
        let old = older.iter().take_while(|first| is_old(first)).count();
        let mut is_all = old > 0 || older.first().copied().unwrap_or(newest) == 1;

        if old < older.len() {
            tracing::warn!(
                segments = older.len() - old,
                "there is no record of earlier appends, as none is written while the log remembers entries that a failing \
                 disk did not take back; `segments` older files are read instead, which takes longer than usual"
            );
        }
        let behind = older.iter().skip(old + 1).chain([&newest]);
        for (first, next) in older[old..].iter().zip(behind) {
            match self.replay_segment(dir, *first, next - 1) {
                Ok(replayed) => is_all &= replayed == Replayed::Whole,
                Err(error) => {
                    let path = segment::path_there(dir, *first);
                    tracing::error!(file = %path.display(), %error, "the log cannot be read");
                    return false;
                }
            }
        }

        is_all
    }

    /// Learns from a whole segment, whose numbers go up to `last`. What a write that failed has left of a line or of a batch at
    /// its end is cut off, as recovery does with the newest one: it was not acknowledged, and may be sent again.
    fn replay_segment(&mut self, dir: &Path, first: u64, last: u64) -> io::Result<Replayed> {
        let file = SegmentFile::find(dir, first)?;
        let len = file.len()?;
        let mut lines = Lines::new(&file, 0, len, BLOCK_BYTES)?;
        let mut sequence = Sequence::new(first, last);
        let mut replayed = Replayed::Whole;
        let mut kept = len;
        let mut batch = BatchBegin::default();

        while let Some(line) = lines.next()? {
            if !line.whole {
                match accept_but_for_newline(&mut sequence, &line) {
                    Some(entry) => self.replay(&entry),
                    None => kept = line.offset,
                }
                break;
            }

            let is_next = sequence.accept(leading_seq(line.text), line.bytes);
            let Some(text) = str::from_utf8(line.text).ok().filter(|_| is_next) else {
                replayed = Replayed::Damaged;
                batch.is_damaged = true;
                continue;
            };
            // Most lines have nothing to tell, and need not be taken apart.
            let may_tell = text.contains("\"key\":") || text.contains("\"batch\":");
            if !may_tell && self.pending.is_none() {
                continue;
            }

            if let Some(entry) = EntryRef::parse(line.text) {
                self.replay(&entry);
                let pending = self.pending.as_ref();
                if pending.is_some_and(|(_, first)| *first == entry.seq) {
                    batch = BatchBegin::at(line.offset);
                }
            } else {
                replayed = Replayed::Damaged;
                batch.is_damaged = true;
            }
        }

        // A batch lies whole in one segment, unless its write has failed and could not be taken back.
        let next = sequence.next();
        if self
            .pending
            .as_ref()
            .is_some_and(|(batch, first)| first + batch.count <= next)
        {
            self.learn_pending();
        }
        if self.pending.take().is_some() && !batch.is_damaged {
            kept = batch.offset;
        }

        if kept < len && matches!(file, SegmentFile::Plain(_)) {
            segment::cut_left_behind(dir, first, kept, self.durability);
        }
        Ok(replayed)
    }
}

/// Where the last batch of a segment begins.
#[derive(Debug, Default)]
struct BatchBegin {
    offset: u64,
    /// Whether a line behind that makes no sense: it may be one of the batch.
    is_damaged: bool,
}

impl BatchBegin {
    fn at(offset: u64) -> Self {
        Self {
            offset,
            is_damaged: false,
        }
    }
}

/// A time in milliseconds.
fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
