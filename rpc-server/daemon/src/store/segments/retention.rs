//! Deletion of the oldest segments.

use std::fs;
use std::io;
use std::time::Duration;

use super::super::index;
use super::super::segment::{self, Form, path, path_of};
use super::{Listed, Segments, lock};

impl Segments {
    /// Deletes the oldest segments for as long as all together have more than `bytes_max`. The newest always
    /// stays.
    pub(in crate::store) fn retain(&self, bytes_max: u64) {
        while let Some(oldest) = self.forget_oldest(bytes_max) {
            self.delete(oldest.first);
        }
    }

    /// Deletes the oldest segments that were last written to longer ago than `age`. The newest always stays.
    pub(in crate::store) fn retain_since(&self, age: Duration) {
        while let Some(first) = self.oldest_but_newest() {
            let written = segment::modified(&self.dir, first);
            // What cannot be told, and what a clock that was set back has put into the future, is not old.
            let is_old =
                written.is_ok_and(|written| written.elapsed().is_ok_and(|past| past > age));
            let Some(oldest) = is_old.then(|| self.forget_oldest(0)).flatten() else {
                return;
            };

            self.delete(oldest.first);
        }
    }

    /// Deletes the oldest segments until they free `missing` bytes. The newest always stays.
    pub(in crate::store) fn make_free(&self, mut missing: u64) {
        while missing > 0 {
            let Some(oldest) = self.forget_oldest(0) else {
                return;
            };

            missing = missing.saturating_sub(oldest.disk_bytes());
            self.delete(oldest.first);
        }
    }

    /// Deletes the files of a segment, in whichever forms it is there.
    pub(super) fn delete(&self, first: u64) {
        index::remove(&path(&self.dir, first));
        for form in [Form::Plain, Form::Packed] {
            let path = path_of(&self.dir, first, form);
            match fs::remove_file(&path) {
                Ok(()) => tracing::info!(file = %path.display(), "deleted the oldest log segment"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "cannot delete the oldest log segment");
                }
            }
        }
    }

    /// The first number of the oldest segment, unless that is the newest, too.
    fn oldest_but_newest(&self) -> Option<u64> {
        let state = lock(&self.state);
        let oldest = state.segments.front()?;
        (state.segments.len() > 1).then_some(oldest.first)
    }

    pub(super) fn forget_oldest(&self, bytes_max: u64) -> Option<Listed> {
        let mut state = lock(&self.state);
        // Also one without entries: it has no bytes to be over the limit with.
        let is_over = state.total > bytes_max || bytes_max == 0;
        if !is_over || state.segments.len() < 2 {
            return None;
        }

        let oldest = state.segments.pop_front()?;
        state.total -= oldest.disk_bytes();
        Some(oldest)
    }
}
