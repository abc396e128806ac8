//! The queue of entries that wait for the writer.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Condvar, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::lines::LINE_BYTES_MAX;
use super::repeats::{BatchRun, KeyRun};
use super::segment::SEQ_MAX;
use super::{StoreError, lock};

/// Room for `{"seq":`, twenty digits, and a comma in place of the brace that the rest of the line starts
/// with.
const SEQ_BYTES_MAX: usize = 27;

/// A buffer that has grown larger than this is given back to the system after use.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The entries between their callers and the thread that writes them. Whatever gathers while a batch is on
/// its way to the disk is the next batch.
pub(super) struct Queue {
    /// Held only to copy a line in or to take all of them out, never while the disk works: callers are async
    /// tasks.
    state: Mutex<State>,
    filled: Condvar,
    bytes_max: usize,
}

struct State {
    batch: Batch,
    /// The bytes of the batch that the writer has: it is in memory as well.
    writing_bytes: usize,
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
    /// Number of entries.
    entries: u64,
    callers: Vec<Caller>,
}

/// What wants to know what has become of an entry.
struct Caller {
    /// The number of the entry.
    seq: u64,
    tell: Tell,
}

/// How a caller is told.
pub(super) enum Tell {
    /// By the call itself.
    Call(oneshot::Sender<Outcome>),
    /// By its key.
    Key(KeyRun),
    /// By its batch.
    Batch(BatchRun),
}

/// What becomes of an entry: its number once it is on the disk.
pub(super) type Outcome = Result<u64, StoreError>;

impl Tell {
    fn tell(self, outcome: Outcome) {
        match self {
            // A caller that has gone away does not want to know.
            Self::Call(caller) => drop(caller.send(outcome)),
            Self::Key(run) => run.finish(&outcome),
            Self::Batch(run) => run.finish(&outcome),
        }
    }
}

impl Queue {
    /// An empty queue that gives out sequence numbers from `first` on.
    pub(super) fn new(first: u64, bytes_max: usize) -> Self {
        let state = State {
            batch: Batch::new(first, Vec::new()),
            writing_bytes: 0,
            closed: false,
            spare: Vec::new(),
        };

        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            bytes_max,
        }
    }

    /// Gives the next sequence number to an entry, of which `rest` is the line without that number.
    pub(super) fn push(&self, rest: &[u8]) -> Result<Appended, StoreError> {
        let (caller, outcome) = oneshot::channel();
        self.push_for(rest, || Tell::Call(caller))?;
        Ok(Appended { outcome })
    }

    /// Gives consecutive numbers to entries that are written together, each with its line in `rest`, for a caller that is
    /// told in its own way. `tell` is called only where the entries are taken.
    pub(super) fn push_for(
        &self,
        rest: &[u8],
        tell: impl FnOnce() -> Tell,
    ) -> Result<(), StoreError> {
        let lines = || rest.split_inclusive(|byte| *byte == b'\n');
        let (mut bytes, mut entries) = (0, 0);
        for line in lines() {
            check_length(line)?;
            bytes += SEQ_BYTES_MAX + line.len();
            entries += 1;
        }

        let mut state = lock(&self.state);
        if state.closed || state.batch.next() + entries > SEQ_MAX + 1 {
            return Err(StoreError::Closed);
        }

        let waiting = state.batch.lines.len() + state.writing_bytes;

        // A single entry is always taken: one that is larger than the limit would otherwise never be.
        if waiting > 0 && waiting + bytes > self.bytes_max {
            return Err(StoreError::Overloaded);
        }

        let was_empty = state.batch.entries == 0;
        let (seq, tell) = (state.batch.next(), tell());
        state.batch.callers.push(Caller { seq, tell });
        lines().for_each(|line| state.batch.push(line));
        drop(state);

        // Behind the first entry the writer has been woken already, or is at work and will look again.
        if was_empty {
            self.filled.notify_one();
        }

        Ok(())
    }

    /// Waits for entries, as long as `patience` at most, and takes all there are.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let state = lock(&self.state);
        let wait = |state: &mut State| state.batch.entries == 0 && !state.closed;

        // As in `lock`: a panic elsewhere has left the data whole.
        let (mut state, _) = self
            .filled
            .wait_timeout_while(state, patience, wait)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.batch.entries == 0 {
            return if state.closed {
                Taken::End
            } else {
                Taken::Nothing
            };
        }

        let next = Batch::new(state.batch.next(), std::mem::take(&mut state.spare));
        let batch = std::mem::replace(&mut state.batch, next);
        state.writing_bytes = batch.lines.len();
        Taken::Batch(batch)
    }

    /// The number behind the last one that the writer has taken.
    pub(super) fn next(&self) -> u64 {
        lock(&self.state).batch.first
    }

    /// Makes room, and tells the callers of a batch what has become of it.
    pub(super) fn finish(&self, batch: Batch, outcome: &Result<(), StoreError>) {
        let Batch {
            mut lines, callers, ..
        } = batch;

        lines.clear();
        lines.shrink_to(KEPT_BYTES_MAX);

        {
            let mut state = lock(&self.state);
            state.writing_bytes = 0;
            state.spare = lines;
        }

        for Caller { seq, tell } in callers {
            tell.tell(outcome.clone().map(|()| seq));
        }
    }

    /// Takes no more entries; those that are in the queue still go to the disk.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.notify_one();
    }

    /// Takes no more entries, and fails those that are in the queue: the writer is gone.
    pub(super) fn abandon(&self) {
        let callers = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.batch.entries = 0;
            std::mem::take(&mut state.batch.callers)
        };

        // Each learns of it by the drop, which is not for the lock.
        drop(callers);
    }
}

fn check_length(line: &[u8]) -> Result<(), StoreError> {
    let bytes = SEQ_BYTES_MAX + line.len();
    if bytes <= LINE_BYTES_MAX {
        return Ok(());
    }

    Err(StoreError::TooLarge {
        bytes,
        bytes_max: LINE_BYTES_MAX,
    })
}

impl Batch {
    fn new(first: u64, lines: Vec<u8>) -> Self {
        Self {
            first,
            lines,
            entries: 0,
            callers: Vec::new(),
        }
    }

    /// The sequence number after the last one.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries
    }

    fn push(&mut self, rest: &[u8]) {
        let seq = self.next();

        // Writing to memory does not fail.
        write!(self.lines, "{{\"seq\":{seq},").expect("memory can be written to");

        // All but the brace that `rest` starts with.
        self.lines.extend_from_slice(&rest[1..]);
        self.entries += 1;
    }
}

/// The outcome of an append: the sequence number of the entry once it is on the disk.
///
/// # Errors
///
/// [`Full`](StoreError::Full) or [`Io`](StoreError::Io) if the entry was not made durable, and
/// [`Closed`](StoreError::Closed) if the writer died before it came to it.
///
/// # Cancel safety
///
/// Dropping it does not take the entry back.
#[derive(Debug)]
#[must_use = "an entry is on the disk only once this has resolved"]
pub(crate) struct Appended {
    pub(super) outcome: oneshot::Receiver<Outcome>,
}

impl Future for Appended {
    type Output = Result<u64, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(context)
            .map(|sent| sent.unwrap_or(Err(StoreError::Closed)))
    }
}
