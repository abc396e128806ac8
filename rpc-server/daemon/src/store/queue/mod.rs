//! The queue of entries that wait for the writer.

mod outcome;
#[cfg(test)]
mod tests;

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::emits::{EmitRun, NoticeRun};
use super::index::Index;
use super::lines::LINE_BYTES_MAX;
use super::new_entries::{FirstLine, NewEntries};
use super::repeats::{BatchRun, KeyRun};
use super::segment::SEQ_MAX;
use super::{Durability, StoreError, lock};

use self::outcome::GroupEnd;
pub(super) use self::outcome::{Appended, Outcome};

/// Room for `{"seq":`, twenty digits, and a comma in place of the brace that the rest of the line starts
/// with.
pub(super) const SEQ_BYTES_MAX: usize = 27;

/// Bytes that emitted entries of one call take beside their lines, about: what they are counted by.
pub(super) const EMIT_BYTES: usize = 128;

/// A buffer that has grown larger than this is given back to the system after use.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The entries between their callers and the thread that writes them. Whatever gathers while a batch is on
/// its way to the disk is the next batch.
pub(super) struct Queue {
    /// Held only to copy a line in or to take all of them out, never while the disk works: callers are async
    /// tasks.
    state: Mutex<State>,
    filled: Condvar,
    limits: QueueLimits,
    /// Whether what the writer has taken is synced before it takes more.
    durability: Durability,
}

/// How many bytes of entries may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// Of those whose callers wait for the disk.
    pub(super) bytes_max: usize,
    /// Of those that were emitted.
    pub(super) emit_bytes_max: usize,
}

/// The limit that entries are under.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Appended,
    Emitted,
}

/// Bytes of entries, by the limits that they are under.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    appended: usize,
    emitted: usize,
}

impl Held {
    fn of(self, kind: Kind) -> usize {
        match kind {
            Kind::Appended => self.appended,
            Kind::Emitted => self.emitted,
        }
    }

    fn add(&mut self, kind: Kind, bytes: usize) {
        match kind {
            Kind::Appended => self.appended += bytes,
            Kind::Emitted => self.emitted += bytes,
        }
    }
}

struct State {
    batch: Batch,
    /// The bytes of the batch that the writer has: it is in memory as well.
    writing: Held,
    closed: bool,
    /// The last batch's buffer, for the next one.
    spare: Vec<u8>,
}

/// What the writer finds.
pub(super) enum Taken {
    Batch(Batch),
    /// No entry has come.
    Nothing,
    /// The queue is closed and empty.
    End,
}

/// Entries that go to the disk together.
pub(super) struct Batch {
    /// The sequence number of the first one.
    pub(super) first: u64,
    /// Their lines.
    pub(super) lines: Vec<u8>,
    /// The index of the lines, of which the first begins at 0.
    pub(super) index: Index,
    /// Number of entries.
    entries: u64,
    held: Held,
    /// Callers that are told in ways of their own.
    callers: Vec<Caller>,
    /// The calls that wait for nothing but the disk, if there are any. They are told last, also if the batch is dropped.
    group: Option<GroupEnd>,
}

/// What wants to know what has become of an entry.
struct Caller {
    /// The number of the entry.
    seq: u64,
    tell: Tell,
}

/// How a caller is told.
pub(super) enum Tell {
    /// By its key.
    Key(KeyRun),
    /// By its batch.
    Batch(BatchRun),
    /// By the counts of its connection.
    Emit(EmitRun),
    /// By what the log is known to tell.
    Notice(NoticeRun),
}

impl Tell {
    fn resolve(self, outcome: &Outcome) {
        match self {
            Self::Key(run) => run.finish(outcome),
            Self::Batch(run) => run.finish(outcome),
            Self::Emit(run) => run.finish(outcome),
            Self::Notice(run) => run.finish(outcome),
        }
    }
}

impl Queue {
    /// An empty queue that gives out sequence numbers from `first` on.
    pub(super) fn new(first: u64, limits: QueueLimits, durability: Durability) -> Self {
        let state = State {
            batch: Batch::new(first, Vec::new()),
            writing: Held::default(),
            closed: false,
            spare: Vec::new(),
        };

        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            limits,
            durability,
        }
    }

    /// Gives consecutive numbers to entries that are written together. The outcome is the first one.
    pub(super) fn push(&self, entries: &NewEntries) -> Result<Appended, StoreError> {
        self.push_kind(Kind::Appended, entries, Batch::join)
    }

    /// Gives consecutive numbers to entries that are written together, for a caller that is told in its own way. `tell` is
    /// called only where the entries are taken.
    pub(super) fn push_for(
        &self,
        entries: &NewEntries,
        tell: impl FnOnce() -> Tell,
    ) -> Result<(), StoreError> {
        self.push_kind(Kind::Appended, entries, |batch| batch.note(tell()))
    }

    /// Gives consecutive numbers to emitted entries. `run` is made only where they are taken.
    pub(super) fn push_emitted(
        &self,
        entries: &NewEntries,
        run: impl FnOnce() -> EmitRun,
    ) -> Result<(), StoreError> {
        self.push_kind(Kind::Emitted, entries, |batch| {
            batch.note(Tell::Emit(run()));
        })
    }

    /// Takes a place behind the entries that are there. It is told when they are on the disk, or have failed.
    pub(super) fn push_mark(&self) -> Result<Appended, StoreError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(StoreError::Closed);
        }

        let was_empty = state.batch.is_empty();
        let appended = state.batch.join();
        drop(state);

        if was_empty {
            self.filled.notify_one();
        }
        Ok(appended)
    }

    /// Takes entries, and their caller by `join`, which is called only where they are taken.
    fn push_kind<T>(
        &self,
        kind: Kind,
        entries: &NewEntries,
        join: impl FnOnce(&mut Batch) -> T,
    ) -> Result<T, StoreError> {
        let mut bytes = 0;
        for line_bytes in entries.line_bytes() {
            check_length(line_bytes)?;
            bytes += SEQ_BYTES_MAX + line_bytes;
        }

        let mut state = lock(&self.state);
        if state.closed || state.batch.next() + entries.len() as u64 > SEQ_MAX + 1 {
            return Err(StoreError::Closed);
        }

        let waiting = state.batch.held.of(kind) + state.writing.of(kind);
        let (bytes_max, beside) = match kind {
            Kind::Appended => (self.limits.bytes_max, 0),
            Kind::Emitted => (self.limits.emit_bytes_max, EMIT_BYTES),
        };

        // What nothing waits before is always taken: what is larger than the limit would otherwise never be.
        if waiting > 0 && waiting + bytes + beside > bytes_max {
            return Err(StoreError::Overloaded);
        }

        let was_empty = state.batch.is_empty();
        let joined = join(&mut state.batch);
        let before = state.batch.lines.len();
        let first_line = match self.durability {
            Durability::Power if before == 0 => FirstLine::BeginsWrite,
            Durability::Power | Durability::Process => FirstLine::GoesOn,
        };
        state.batch.push(entries, bytes, first_line);
        let added = state.batch.lines.len() - before + beside;
        state.batch.held.add(kind, added);
        drop(state);

        // Behind the first entry the writer has been woken already, or is at work and will look again.
        if was_empty {
            self.filled.notify_one();
        }

        Ok(joined)
    }

    /// Waits for entries, as long as `patience` at most, and takes all there are.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let state = lock(&self.state);
        let wait = |state: &mut State| state.batch.is_empty() && !state.closed;

        // As in `lock`: a panic elsewhere has left the data whole.
        let (mut state, _) = self
            .filled
            .wait_timeout_while(state, patience, wait)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.batch.is_empty() {
            return if state.closed {
                Taken::End
            } else {
                Taken::Nothing
            };
        }

        let next = Batch::new(state.batch.next(), std::mem::take(&mut state.spare));
        let batch = std::mem::replace(&mut state.batch, next);
        state.writing = batch.held;
        Taken::Batch(batch)
    }

    /// The number behind the last one that the writer has taken.
    pub(super) fn next(&self) -> u64 {
        lock(&self.state).batch.first
    }

    /// Makes room, and tells the callers of a batch what has become of it.
    pub(super) fn finish(&self, batch: Batch, outcome: &Result<(), StoreError>) {
        let Batch {
            mut lines,
            group,
            callers,
            ..
        } = batch;

        lines.clear();
        lines.shrink_to(KEPT_BYTES_MAX);

        {
            let mut state = lock(&self.state);
            state.writing = Held::default();
            state.spare = lines;
        }

        // Before the calls: a flush among them tells what has become of the emits before it.
        for Caller { seq, tell } in callers {
            tell.resolve(&outcome.clone().map(|()| seq));
        }
        if let Some(group) = group {
            group.tell(outcome);
        }
    }

    /// Takes no more entries; those that are in the queue still go to the disk.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.notify_one();
    }

    /// Takes no more entries, and fails those that are in the queue: the writer is gone.
    pub(super) fn abandon(&self) {
        let batch = {
            let mut state = lock(&self.state);
            state.closed = true;
            let next = Batch::new(state.batch.first, Vec::new());
            std::mem::replace(&mut state.batch, next)
        };

        // Each caller learns of it by the drop, which is not for the lock.
        drop(batch);
    }
}

/// Whether a line without its number has too many bytes.
pub(super) fn is_too_long(bytes: usize) -> bool {
    SEQ_BYTES_MAX + bytes > LINE_BYTES_MAX
}

pub(super) fn check_length(line_bytes: usize) -> Result<(), StoreError> {
    if !is_too_long(line_bytes) {
        return Ok(());
    }

    Err(StoreError::TooLarge {
        bytes: SEQ_BYTES_MAX + line_bytes,
        bytes_max: LINE_BYTES_MAX,
    })
}

impl Batch {
    fn new(first: u64, lines: Vec<u8>) -> Self {
        Self {
            first,
            lines,
            index: Index::default(),
            entries: 0,
            held: Held::default(),
            group: None,
            callers: Vec::new(),
        }
    }

    /// Whether there is nothing to write and no caller to tell.
    fn is_empty(&self) -> bool {
        self.group.is_none() && self.callers.is_empty()
    }

    /// Takes a call that waits for the disk, before its entries.
    fn join(&mut self) -> Appended {
        let seq = self.next();
        self.group.get_or_insert_default().join(seq)
    }

    /// Takes a caller that is told in its own way, before its entries.
    fn note(&mut self, tell: Tell) {
        let seq = self.next();
        self.callers.push(Caller { seq, tell });
    }

    /// Number of entries.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// The sequence number after the last one.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries
    }

    /// Adds entries whose lines have this number of bytes, or less.
    fn push(&mut self, entries: &NewEntries, bytes_max: usize, first_line: FirstLine) {
        self.lines.reserve(bytes_max);
        entries.write(self.next(), &mut self.lines, &mut self.index, first_line);
        self.entries += entries.len() as u64;
    }
}
