use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::dir_lock::DirLock;
use super::segment::{Recovered, Segment, first_in, path};
use super::{StoreError, lock};

/// How many damaged lines of one segment are told apart and counted. A file with more is ruined.
const DAMAGED_LINES_MAX: usize = 1000;

/// How many of them are logged one by one; a further message says that there are more.
const DAMAGED_LINES_LOGGED: usize = 10;

/// What is durable, as readers see it: the list of segments, how far each of them is filled, and the damage
/// known.
pub(super) struct Segments {
    dir: PathBuf,
    /// Held for look-ups and small changes only, never for a file operation.
    state: Mutex<State>,
    damaged: AtomicU64,
}

struct State {
    /// From oldest to newest. A new one is listed with its first durable entry, so that `last` is never below
    /// the end of an older one. Never empty once an entry was durable, because the names carry the numbers
    /// over a restart.
    segments: VecDeque<Listed>,
    /// The last durable sequence number. Every number up to it can be read, or never will be.
    last: u64,
    /// The bytes of all segments.
    total: u64,
    /// Segments whose last read failed, by their first numbers.
    unreadable: BTreeSet<u64>,
}

struct Listed {
    first: u64,
    len: u64,
    /// The offsets of the damaged lines found so far, so that each of them is reported once.
    damaged: BTreeSet<u64>,
}

/// A segment as it was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) path: PathBuf,
    pub(super) first: u64,
    /// How many of its bytes are durable.
    pub(super) len: u64,
    /// The last sequence number it can hold.
    pub(super) last: u64,
    newest: bool,
}

impl Segments {
    /// Lists a directory and recovers its newest segment; returns that segment if there is one, and the
    /// sequence number to go on with.
    ///
    /// Older segments are not read, so this takes as long for a terabyte as for the newest segment alone.
    pub(super) fn recover(
        dir: &Path,
        lock: Option<&DirLock>,
    ) -> Result<(Self, Option<Segment>, u64), StoreError> {
        let mut segments = list(dir).map_err(StoreError::io("list", dir))?;

        let mut recovered = None;
        if let Some(newest) = segments.last_mut() {
            let found = Segment::recover(dir, newest.first, lock.is_some())?;
            newest.len = found.segment.len;
            recovered = Some(found);
        }

        // The newest name may not be durable yet either: see `Segment::recover`.
        if let Some(lock) = lock {
            lock.sync().map_err(StoreError::io("fsync", dir))?;
        }

        let next = recovered.as_ref().map_or(1, |found| found.next);
        let total = segments.iter().map(|segment| segment.len).sum();
        let state = State {
            segments: segments.into(),
            last: next - 1,
            total,
            unreadable: BTreeSet::new(),
        };
        let listed = Self {
            dir: dir.into(),
            state: Mutex::new(state),
            damaged: AtomicU64::new(0),
        };

        let newest = recovered.map(
            |Recovered {
                 segment, damaged, ..
             }| {
                listed.report_damage(segment.first, &damaged, &|| false);
                segment
            },
        );

        Ok((listed, newest, next))
    }

    /// Shows readers what a segment has grown to, up to the entry `last`.
    pub(super) fn commit(&self, segment: &mut Segment, last: u64) {
        let mut state = lock(&self.state);
        state.last = last;

        if !segment.listed {
            state.segments.push_back(Listed::new(segment.first, 0));
            segment.listed = true;
        }

        if let Some(newest) = state.segments.back_mut() {
            let added = segment.len - newest.len;
            newest.len = segment.len;
            state.total += added;
        }
    }

    /// Deletes the oldest segments for as long as all together have more than `bytes_max`. The newest always
    /// stays.
    pub(super) fn retain(&self, bytes_max: u64) {
        while let Some(first) = self.forget_oldest(bytes_max) {
            self.delete(first);
        }
    }

    /// Deletes the oldest segments that were last written to longer ago than `age`. The newest always stays.
    pub(super) fn retain_since(&self, age: Duration) {
        while let Some(first) = self.oldest_but_newest() {
            let written = fs::metadata(path(&self.dir, first)).and_then(|file| file.modified());
            // What cannot be told, and what a clock that was set back has put into the future, is not old.
            let is_old =
                written.is_ok_and(|written| written.elapsed().is_ok_and(|past| past > age));
            if !is_old || self.forget_oldest(0) != Some(first) {
                return;
            }

            self.delete(first);
        }
    }

    fn delete(&self, first: u64) {
        let path = path(&self.dir, first);
        match fs::remove_file(&path) {
            Ok(()) => tracing::info!(file = %path.display(), "deleted the oldest log segment"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot delete the oldest log segment");
            }
        }
    }

    /// The first number of the oldest segment, unless that is the newest, too.
    fn oldest_but_newest(&self) -> Option<u64> {
        let state = lock(&self.state);
        let oldest = state.segments.front()?;
        (state.segments.len() > 1).then_some(oldest.first)
    }

    fn forget_oldest(&self, bytes_max: u64) -> Option<u64> {
        let mut state = lock(&self.state);
        // Also one without entries: it has no bytes to be over the limit with.
        let is_over = state.total > bytes_max || bytes_max == 0;
        if !is_over || state.segments.len() < 2 {
            return None;
        }

        let oldest = state.segments.pop_front()?;
        state.total -= oldest.len;
        Some(oldest.first)
    }

    /// The segment with the first entry after `after`; `None` if no entry after it is durable.
    pub(super) fn view(&self, after: u64) -> Option<View> {
        let state = lock(&self.state);
        if after >= state.last {
            return None;
        }

        // Before the oldest segment is what was deleted: reading starts with what is left.
        let index = state
            .segments
            .partition_point(|segment| segment.first <= after + 1)
            .saturating_sub(1);
        let segment = state.segments.get(index)?;
        let newer = state.segments.get(index + 1);

        Some(View {
            path: path(&self.dir, segment.first),
            first: segment.first,
            len: segment.len,
            last: newer.map_or(state.last, |newer| newer.first - 1),
            newest: newer.is_none(),
        })
    }

    /// Notes how reading a segment has ended. The first failure of it is logged, and what ends it.
    pub(super) fn note_read(&self, view: &View, error: Option<&StoreError>) {
        let mut state = lock(&self.state);
        match error {
            Some(error) if state.unreadable.insert(view.first) => {
                drop(state);
                tracing::error!(%error, "the log cannot be read");
            }
            None if !state.unreadable.is_empty() && state.unreadable.remove(&view.first) => {
                drop(state);
                tracing::info!(file = %view.path.display(), "the log can be read again");
            }
            _ => {}
        }
    }

    /// Tries again to read what could not be read; returns whether all of it can be read now.
    pub(super) fn read_again(&self) -> bool {
        let unreadable: Vec<View> = {
            let state = lock(&self.state);
            let views = state
                .unreadable
                .iter()
                .map(|first| state.view_of(*first, &self.dir));
            views.collect()
        };

        let mut all = true;
        for view in unreadable {
            let read = self.open(&view).and_then(|file| match file {
                Some(mut file) => file
                    .read(&mut [0; 4096])
                    .map(drop)
                    .map_err(StoreError::io("read", &view.path)),
                None => Ok(()),
            });

            all &= read.is_ok();
            self.note_read(&view, read.err().as_ref());
        }

        all
    }

    /// The first number that may still be read, and the last one.
    pub(super) fn range(&self) -> RangeInclusive<u64> {
        let state = lock(&self.state);
        let oldest = state.segments.front().map(|oldest| oldest.first);
        oldest.unwrap_or(state.last + 1)..=state.last
    }

    /// The newest segment with its length.
    pub(super) fn newest(&self) -> Option<(u64, u64)> {
        let state = lock(&self.state);
        state
            .segments
            .back()
            .map(|newest| (newest.first, newest.len))
    }

    /// Opens a segment for reading. `None` if it has been deleted since it was looked up, by retention or by
    /// hand.
    pub(super) fn open(&self, view: &View) -> Result<Option<File>, StoreError> {
        match File::open(&view.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !view.newest => {
                let mut state = lock(&self.state);
                if let Ok(index) = state
                    .segments
                    .binary_search_by_key(&view.first, |segment| segment.first)
                {
                    tracing::warn!(file = %view.path.display(), "a log segment was deleted by someone else");
                    if let Some(gone) = state.segments.remove(index) {
                        state.total -= gone.len;
                    }
                }

                Ok(None)
            }
            Err(error) => Err(StoreError::io("open", &view.path)(error)),
        }
    }

    /// Reports damaged lines of the segment that starts with `first`, given by their offsets in order, unless that
    /// was done before. Once `is_over` says so, the rest is left to the next scan.
    pub(super) fn report_damage(&self, first: u64, offsets: &[u64], is_over: &dyn Fn() -> bool) {
        let file = path(&self.dir, first);
        let mut lines = None;

        for &offset in offsets {
            if is_over() {
                return;
            }

            let known = {
                let mut state = lock(&self.state);
                let Ok(index) = state
                    .segments
                    .binary_search_by_key(&first, |segment| segment.first)
                else {
                    return;
                };

                let damaged = &mut state.segments[index].damaged;
                if damaged.len() > DAMAGED_LINES_MAX || !damaged.insert(offset) {
                    continue;
                }

                damaged.len()
            };

            if known > DAMAGED_LINES_MAX {
                return;
            }

            self.damaged.fetch_add(1, Ordering::Relaxed);
            if known == DAMAGED_LINES_LOGGED + 1 {
                tracing::error!(file = %file.display(), "more damage in this log segment is not listed");
            }
            if known > DAMAGED_LINES_LOGGED {
                continue;
            }

            // Counted only now: an operator wants to know the line, and reading knows only offsets.
            let lines = lines.get_or_insert_with(|| LineNumbers::open(&file).ok());
            let line = lines
                .as_mut()
                .and_then(|lines| lines.at(offset).ok())
                .unwrap_or(0);
            tracing::error!(
                file = %file.display(), line, offset,
                "damage in the log: a line that is no entry, or not the next one; it is left out when reading"
            );
        }
    }

    /// How many damaged lines were found since the start.
    pub(super) fn damaged(&self) -> u64 {
        // A number to show, which orders nothing.
        self.damaged.load(Ordering::Relaxed)
    }
}

impl State {
    /// The segment that starts with `first`, whether or not it is still listed.
    fn view_of(&self, first: u64, dir: &Path) -> View {
        let index = self
            .segments
            .partition_point(|segment| segment.first < first);
        let listed = self
            .segments
            .get(index)
            .filter(|segment| segment.first == first);
        let newer = self.segments.iter().find(|segment| segment.first > first);

        View {
            path: path(dir, first),
            first,
            len: listed.map_or(0, |segment| segment.len),
            last: newer.map_or(self.last, |newer| newer.first - 1),
            newest: newer.is_none(),
        }
    }
}

impl Listed {
    fn new(first: u64, len: u64) -> Self {
        Self {
            first,
            len,
            damaged: BTreeSet::new(),
        }
    }
}

/// The segments in a directory, from oldest to newest.
fn list(dir: &Path) -> io::Result<Vec<Listed>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(first) = entry.file_name().to_str().and_then(first_in) {
            segments.push(Listed::new(first, fs::metadata(entry.path())?.len()));
        }
    }

    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

/// Counts the lines of a file up to offsets that only grow, in one pass.
struct LineNumbers {
    reader: BufReader<File>,
    offset: u64,
    line: u64,
}

impl LineNumbers {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            reader: BufReader::with_capacity(64 * 1024, File::open(path)?),
            offset: 0,
            line: 1,
        })
    }

    /// The number of the line that begins at `offset`, counting from 1.
    fn at(&mut self, offset: u64) -> io::Result<u64> {
        let mut rest = self
            .reader
            .by_ref()
            .take(offset.saturating_sub(self.offset));
        while rest.skip_until(b'\n')? > 0 {
            self.line += 1;
        }

        self.offset = offset;
        Ok(self.line)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Seek;

    use super::*;

    fn segments(lens: &[(u64, u64)], last: u64) -> Segments {
        let dir = PathBuf::from("d");
        let segments = lens
            .iter()
            .map(|&(first, len)| Listed::new(first, len))
            .collect();
        let total = lens.iter().map(|&(_, len)| len).sum();

        Segments {
            dir,
            state: Mutex::new(State {
                segments,
                last,
                total,
                unreadable: BTreeSet::new(),
            }),
            damaged: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_view_is_the_segment_of_the_next_entry() {
        let segments = segments(&[(11, 100), (21, 200), (31, 50)], 33);

        let check = |after, expected: Option<(u64, u64, u64)>| {
            let view = segments
                .view(after)
                .map(|view| (view.first, view.len, view.last));
            assert_eq!(view, expected, "after {after}");
        };

        check(0, Some((11, 100, 20)));
        check(10, Some((11, 100, 20)));
        check(19, Some((11, 100, 20)));
        check(20, Some((21, 200, 30)));
        check(30, Some((31, 50, 33)));
        check(32, Some((31, 50, 33)));
        check(33, None);
        check(u64::MAX, None);
    }

    #[test]
    fn lines_are_numbered_in_one_pass() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "a\nbb\n\nccc\nd").unwrap();

        let mut lines = LineNumbers::open(&file).unwrap();
        let numbers = [0, 2, 5, 6, 6, 10].map(|offset| lines.at(offset).unwrap());
        assert_eq!(numbers, [1, 2, 3, 4, 4, 5]);
        assert_eq!(lines.reader.stream_position().unwrap(), 10, "read once");
    }

    #[test]
    fn damage_is_not_reported_for_a_call_that_is_over_and_then_by_the_next_scan() {
        let segments = segments(&[(11, 100)], 20);
        let looks = Cell::new(0);
        let is_over = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };

        segments.report_damage(11, &[1, 2, 3, 4], &is_over);
        assert_eq!((segments.damaged(), looks.get()), (2, 3));
        segments.report_damage(11, &[1, 2, 3, 4], &|| false);
        assert_eq!(segments.damaged(), 4);
    }

    #[test]
    fn the_oldest_are_forgotten_first_and_the_newest_never() {
        let segments = segments(&[(11, 100), (21, 200), (31, 50)], 33);
        assert_eq!(segments.forget_oldest(350), None);
        assert_eq!(segments.forget_oldest(249), Some(11));
        assert_eq!(segments.forget_oldest(250), None);
        assert_eq!(segments.forget_oldest(0), Some(21));
        assert_eq!(segments.forget_oldest(0), None);
        assert_eq!(segments.view(0).map(|view| view.first), Some(31));
    }
}
