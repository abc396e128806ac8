//! The record of how far a log was synced when a store opened it.
//!
//! A loss of power may leave zeros where a write should begin that was not synced, and the rest of it behind them. Damage of
//! what was synced looks the same, and may be anywhere. Recovery tells them apart by this record: all before its place was
//! synced, and behind it all that is before a line that begins a write ([`begins_write`](super::lines::begins_write)).
//!
//! A store that does not sync removes the record, and older versions have none: what they have written is not cut off.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::closing::Closing;
use super::dir_lock::DirLock;
use super::record;
use super::segments::Newest;

/// The place from which on each write begins with a marked line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    /// The first number of the segment that was the newest; 0 if the log had no segment.
    segment: u64,
    /// Its length.
    bytes: u64,
}

impl Opening {
    /// The record of a store that found this newest segment, and has synced it.
    pub(super) fn of(newest: Option<Newest>) -> Self {
        Self {
            segment: newest.map_or(0, |newest| newest.first),
            bytes: newest.map_or(0, |newest| newest.bytes),
        }
    }

    /// Writes the record, durably. With an older one, or none, less is cut off than could be, so that an error keeps no
    /// store from opening.
    pub(super) fn write(self, dir: &Path, lock: &DirLock) {
        let written = record::write(&path(dir), &self).and_then(|()| lock.sync());
        if let Err(error) = written {
            tracing::warn!(file = %path(dir).display(), %error, "cannot record how far the log is synced");
        }
    }

    /// Whether a store has recorded how far it found the log synced, and has synced all since.
    pub(super) fn is_there(dir: &Path) -> bool {
        path(dir).exists()
    }

    /// Removes the record: from now on nothing is synced.
    pub(super) fn remove(dir: &Path) {
        if let Err(error) = fs::remove_file(path(dir))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %path(dir).display(), %error, "cannot remove the record of how far the log is synced");
        }
    }
}

/// The bytes of the segment `first` that are known to be synced without a look at its lines; `None` if nothing can be said
/// of it.
pub(super) fn synced_bytes(dir: &Path, first: u64) -> Option<u64> {
    let opening: Opening = serde_json::from_slice(&fs::read(path(dir)).ok()?).ok()?;
    let opened = match opening.segment.cmp(&first) {
        Ordering::Less => 0,
        Ordering::Equal => opening.bytes,
        Ordering::Greater => return None,
    };

    let closing = Closing::read(dir).filter(|closing| closing.segment == first);
    let closed = closing.map_or(0, |closing| closing.bytes);
    Some(opened.max(closed))
}

fn path(dir: &Path) -> PathBuf {
    dir.join("opened.json")
}
