//! Replays of segments that are not the newest: what their lines tell of keys and batches.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::super::entry::EntryRef;
use super::super::lines::{Lines, Sequence, leading_seq};
use super::super::segment::{self, SegmentFile, accept_but_for_newline};
use super::super::{Durability, StoreError};
use super::snapshot::{self, FailedSegment};
use super::{Repeats, Replayed};

/// How many bytes are read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

impl Repeats {
    /// Learns what failed writes have left in these segments, which is not in the snapshot of the newest one, and writes the
    /// snapshot again with that; returns whether all of it was read.
    ///
    /// # Errors
    ///
    /// Those of a disk that does not take what was left: it must not be answered, nor shown.
    pub(super) fn replay_failed(
        &mut self,
        dir: &Path,
        firsts: &[u64],
        failed: &[FailedSegment],
    ) -> Result<bool, StoreError> {
        let mut is_all = true;
        for FailedSegment { segment, kept } in failed {
            // Retention may have deleted it.
            let place = firsts.binary_search(segment).ok();
            let Some(next) = place.and_then(|place| firsts.get(place + 1)) else {
                continue;
            };

            if self.durability == Durability::Power {
                segment::write_again(dir, *segment, *kept)?;
            }
            is_all &= self.replay_older_one(dir, *segment, next - 1, *kept);
        }

        if let (Some(newest), true) = (firsts.last(), is_all && !failed.is_empty()) {
            tracing::warn!(
                segments = failed.len(),
                "`segments` older files of the log were read, as each has entries at its end whose write has failed and that \
                 the disk did not take back"
            );
            // It was logged if this has failed. Then the next start reads them again.
            let _ = snapshot::write(dir, *newest, &self.known(Vec::new()), self.durability);
        }
        Ok(is_all)
    }

    /// Learns from segments that were written to less than `age` before the newest; returns whether that is all there
    /// was.
    pub(super) fn replay_older(
        &mut self,
        dir: &Path,
        newest: u64,
        older: &[u64],
        age: Duration,
    ) -> bool {
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
                "there is no record of earlier appends; `segments` older files of the log are read instead, which takes longer \
                 than usual"
            );
        }
        let behind = older.iter().skip(old + 1).chain([&newest]);
        for (first, next) in older[old..].iter().zip(behind) {
            is_all &= self.replay_older_one(dir, *first, next - 1, 0);
        }

        is_all
    }

    /// Learns from a segment as [`replay_segment`](Self::replay_segment); returns whether all of it could be read and made
    /// sense.
    fn replay_older_one(&mut self, dir: &Path, first: u64, last: u64, from: u64) -> bool {
        let replayed = self.replay_segment(dir, first, last, from);
        let replayed = replayed.inspect_err(|error| {
            let path = segment::path_there(dir, first);
            tracing::error!(file = %path.display(), %error, "the log cannot be read");
        });
        replayed.is_ok_and(|replayed| replayed == Replayed::Whole)
    }

    /// Learns from the lines of a segment from the byte `from` on. Its numbers go up to `last`. What a write that failed has
    /// left of a line or of a batch at its end is cut off, as recovery does with the newest one: it was not acknowledged, and
    /// may be sent again.
    fn replay_segment(
        &mut self,
        dir: &Path,
        first: u64,
        last: u64,
        from: u64,
    ) -> io::Result<Replayed> {
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
            if line.offset < from {
                continue;
            }
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
