//! The record of what a store has left when it was closed.
//!
//! What another program changes while no store is open cannot be seen in the files alone: a newest segment that was
//! shortened looks like one that never held more, and its numbers would be given out a second time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::record;
use super::segments::Newest;

/// What was there when a store was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closing {
    /// The last number that was given out.
    pub(super) last: u64,
    /// The first number of the newest segment.
    pub(super) segment: u64,
    /// The length of the newest segment.
    pub(super) bytes: u64,
}

impl Closing {
    /// The record in a directory; `None` if the store was not closed, or the record makes no sense.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(dir)).ok()?).ok()
    }

    /// Writes the record. Without it, the next start believes what it finds.
    pub(super) fn write(self, dir: &Path) {
        if let Err(error) = record::write(&path(dir), &self) {
            tracing::warn!(file = %path(dir).display(), %error, "cannot record the state of the log at its close");
        }
    }

    /// Takes the record away: the files have changed.
    pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
        let path = path(dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Says how what was found differs from what was left, if it does. `next` is the number that would go on
    /// behind what was found, `newest` the newest segment.
    pub(super) fn difference(self, next: u64, newest: Option<Newest>) -> Option<String> {
        if next > self.last + 1 || newest.is_some_and(|newest| newest.first > self.segment) {
            // A store that leaves no such record has gone on behind it.
            return None;
        }

        let left = Newest {
            first: self.segment,
            bytes: self.bytes,
        };
        match newest {
            _ if self.last == 0 => None,
            Some(found) if found == left && next == self.last + 1 => None,
            Some(Newest { first, bytes }) if first == self.segment => {
                let left = self.bytes;
                Some(format!(
                    "it has {bytes} bytes, and had {left} when the log was closed"
                ))
            }
            _ => Some("it is gone".into()),
        }
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("closed.json")
}
