//! Deletion of the oldest segments.

use std::fs::{self, File};
use std::io;
use std::time::{Duration, SystemTime};

use super::super::index;
use super::super::segment::{self, Form, path, path_of, path_there};
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
    ///
    /// Segments are written to one after the other, whatever the clock has said meanwhile. So one whose time is in the
    /// future, as the clock was set back since, is as old as the next one with a time of the past. If that cannot be told,
    /// none is deleted.
    pub(in crate::store) fn retain_since(&self, age: Duration, now: SystemTime) {
        loop {
            let firsts = self.firsts();
            let [oldest, behind @ ..] = &*firsts else {
                return;
            };
            if behind.is_empty() || self.written(*oldest).is_none() {
                return;
            }

            let written = self.first_time_in(&firsts, SystemTime::UNIX_EPOCH, now);
            let Some(written) = written.filter(|written| is_older(*written, age, now)) else {
                return;
            };
            if self.correct_time_of_next(behind, written, now).is_err()
                || self.forget_oldest(0).is_none()
            {
                return;
            }
            self.delete(*oldest);
        }
    }

    /// Corrects the times of the segments that have entries from the number `first` on: they were written while the clock was
    /// behind, which was set forward by `step` now.
    pub(in crate::store) fn correct_times_since(
        &self,
        first: u64,
        step: Duration,
        now: SystemTime,
    ) {
        let firsts = self.firsts();
        let older = firsts.iter().rev().skip_while(|begin| **begin > first);
        let begin = older.copied().next().unwrap_or(first);

        for segment in firsts.into_iter().filter(|segment| *segment >= begin) {
            let time = self.written(segment).map(|time| time + step);
            // What was written since has the right time.
            if let Some(time) = time.filter(|time| *time <= now) {
                let _ = self.set_time(segment, time);
            }
        }
    }

    /// Corrects the time of the first of these segments if it was written to while the clock was behind, and seems to be
    /// older than the one before it, which was last written to at `written` and is about to be deleted: it gets the time of
    /// the one behind it.
    fn correct_time_of_next(
        &self,
        segments: &[u64],
        written: SystemTime,
        now: SystemTime,
    ) -> io::Result<()> {
        let Some((first, behind)) = segments.split_first() else {
            return Ok(());
        };
        if self.written(*first).is_none_or(|time| time >= written) {
            return Ok(());
        }

        let time = self.first_time_in(behind, written, now).unwrap_or(now);
        self.set_time(*first, time)
    }

    /// Sets the time at which a segment was last written to.
    fn set_time(&self, first: u64, time: SystemTime) -> io::Result<()> {
        let path = path_there(&self.dir, first);
        let set = File::open(&path).and_then(|file| file.set_modified(time));
        set.inspect_err(|error| {
            tracing::warn!(
                file = %path.display(), %error,
                "the time of this log segment is wrong and cannot be corrected; no segment before it is deleted for its age"
            );
        })
    }

    /// The first time between two others, both included, at which one of these segments was last written to.
    fn first_time_in(
        &self,
        segments: &[u64],
        from: SystemTime,
        to: SystemTime,
    ) -> Option<SystemTime> {
        let mut times = segments.iter().filter_map(|first| self.written(*first));
        times.find(|time| (from..=to).contains(time))
    }

    fn written(&self, first: u64) -> Option<SystemTime> {
        segment::modified(&self.dir, first).ok()
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

    /// The first numbers of all segments, from the oldest on.
    fn firsts(&self) -> Vec<u64> {
        let state = lock(&self.state);
        state.segments.iter().map(|segment| segment.first).collect()
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

/// Whether a time is longer ago than `age`.
fn is_older(time: SystemTime, age: Duration, now: SystemTime) -> bool {
    now.duration_since(time).is_ok_and(|past| past > age)
}
