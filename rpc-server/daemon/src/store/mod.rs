//! The durable log: entries in files of one JSON object a line, which any tool can read.
//!
//! A directory holds a `lock` file and segments. A segment is named by the first sequence number it may hold
//! (`00000000000000000001.ndjson`); each of its lines is one entry:
//!
//! ```json
//! {"seq":1,"ts":1735689600000,"level":"info","service":"order","message":"…","trace":"…","fields":{}}
//! ```
//!
//! `identity.json` names the log, `closed.json` is what a store has left when it was closed, and `opened.json` how far the
//! log was synced when it was opened.
//!
//! `trace` and `fields` are left out where the caller gave none. Behind them comes how the entry came: `rx`, the time of
//! receipt where the caller gave a `ts`, `key` and `batch`. Sequence numbers count up by one within a
//! segment; a gap between two segments stands for entries whose callers were told that they failed.
//!
//! # What holds
//!
//! - An append is acknowledged only when its line is on the disk (`fdatasync`), and readers see only such
//!   lines.
//! - No sequence number is ever shown twice, whatever fails and however often the process is killed.
//! - A file whose `fdatasync` failed is not written to again: the kernel may have dropped the pages and
//!   marked them clean, so a second call that succeeds would prove nothing.
//! - An append that failed with an error of the disk was not acknowledged, but its line may still be found
//!   after a restart if the disk also refused to take it back. The caller that retries may see it twice,
//!   under two numbers.
//! - A segment that is not what the writer has left (its length, its names, which file it is) is not written to: the
//!   next one begins, and the log says so. The same holds for what a store finds that was closed before.
//! - Only bytes after the last newline of the newest segment, a batch at its end of which lines are missing, and what lies
//!   behind zeros in a write that was not synced, are ever cut off; and of an older segment, a torn line or a batch in part at
//!   its end, which a write has left that failed and was not taken back. Any other line that makes no
//!   sense stays in its file, is reported once, counted, and left out when reading; a number it may have held
//!   is not given out again. A changed byte that leaves a line an entry cannot be noticed.
//!
//! Memory does not grow with the entries, but for a summary of each segment: a number is found by halving a segment,
//! which is sorted. Beside each closed segment stands an index (`00000000000000000001.idx`), by which a reader leaves out
//! what is of another time, level or service. It may be missing.

mod clock;
mod closing;
mod config;
mod dir_lock;
mod emits;
mod engine;
mod entry;
mod error;
mod filter;
mod free_space;
mod identity;
mod index;
mod lines;
mod log;
mod members;
mod meter;
mod new_entries;
mod opening;
mod packed;
mod queue;
mod reading;
mod record;
mod repeats;
mod segment;
mod segments;
mod stats;
#[cfg(test)]
mod tests;
mod upkeep;
mod waiting;
mod walk;
mod writer;

pub(crate) use config::{Compression, Durability, Health, LogConfig};
pub(crate) use emits::{Emitter, Overflow};
pub(crate) use engine::{LogEngine, open};
pub(crate) use error::StoreError;
pub(crate) use filter::{Filter, Rest, WantedField};
pub(crate) use new_entries::{NewBatch, NewEntries};
#[cfg(feature = "program")]
pub(crate) use reading::REPLY_BYTES_MIN;
pub(crate) use reading::{Direction, Page, Query, Start, TailQuery, Tailed};
pub(crate) use repeats::Once;

use std::sync::{Mutex, MutexGuard, PoisonError};

use log::LogStore;

/// Locks a mutex of the store. A panic elsewhere does not spread from here: every critical section of the
/// store leaves its data whole at each step that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
