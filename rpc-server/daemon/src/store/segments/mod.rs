//! The list of segments, as readers see it.

mod damage;
mod forms;
mod indexes;
mod listing;
mod retention;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use super::dir_lock::DirLock;
use super::entry::EntryRef;
use super::index::{self, Brief, Index};
use super::segment::{Form, Segment, SegmentFile, path_of};
use super::{Durability, StoreError, lock};

use self::forms::PlainFile;
pub(super) use self::indexes::ClosedIndex;
use self::indexes::Indexed;
pub(super) use self::listing::firsts;
use self::listing::{FoundNewest, list};

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
    /// The bytes that all segments have on the disk.
    total: u64,
    /// Segments whose last read failed, by their first numbers.
    unreadable: BTreeSet<u64>,
}

struct Listed {
    first: u64,
    /// The bytes of its lines.
    len: u64,
    /// The bytes of its file where that is compressed.
    packed: Option<u64>,
    /// What has become of its plain file where it is compressed.
    plain: PlainFile,
    /// The offsets of the damaged lines found so far, so that each of them is reported once.
    damaged: BTreeSet<u64>,
    indexed: Indexed,
}

/// A segment as it was when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) path: PathBuf,
    pub(super) form: Form,
    pub(super) first: u64,
    /// How many bytes of its lines are durable.
    pub(super) len: u64,
    /// The last sequence number it can hold.
    pub(super) last: u64,
    newest: bool,
    /// Whether no older one is left.
    pub(super) is_oldest: bool,
}

/// What [`Segments::recover`] found in a directory.
pub(super) struct FoundSegments {
    pub(super) segments: Segments,
    /// The newest segment, if the directory has one.
    pub(super) newest: Option<Segment>,
    /// The sequence number to go on with.
    pub(super) next: u64,
}

/// The newest segment, as it is found or was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    /// The number of its first entry.
    pub(super) first: u64,
    /// Its length.
    pub(super) bytes: u64,
}

impl Segments {
    /// Lists a directory and recovers its newest segment.
    ///
    /// `learn` is told of each entry of the newest. Older segments are not read, so this takes as long for a terabyte as for
    /// the newest segment alone.
    pub(super) fn recover(
        dir: &Path,
        lock: Option<&DirLock>,
        learn: &mut dyn FnMut(&EntryRef<'_>),
    ) -> Result<FoundSegments, StoreError> {
        let mut segments = list(dir).map_err(StoreError::io("list", dir))?;

        let mut recovered = None;
        if let Some(newest) = segments.last_mut() {
            let mut index = Index::default();
            let mut learn = |entry: &EntryRef<'_>, end: u64| {
                learn(entry);
                index.add(&Brief::of(entry), end);
            };
            let durability = match lock {
                Some(_) => Durability::Power,
                None => Durability::Process,
            };
            let found = FoundNewest::recover(dir, newest, durability, &mut learn)?;
            newest.indexed = Indexed::recovered(index, newest.len, found.next - 1);
            recovered = Some(found);
        }

        // The newest name may not be durable yet either: see `Segment::recover`.
        if let Some(lock) = lock {
            lock.sync().map_err(StoreError::io("fsync", dir))?;
        }

        let next = recovered.as_ref().map_or(1, |found| found.next);
        let total = segments.iter().map(Listed::disk_bytes).sum();
        let unreadable = segments.iter().filter(|segment| segment.is_unreadable());
        let unreadable = unreadable.map(|segment| segment.first).collect();
        let state = State {
            segments: segments.into(),
            last: next - 1,
            total,
            unreadable,
        };
        let segments = Self {
            dir: dir.into(),
            state: Mutex::new(state),
            damaged: AtomicU64::new(0),
        };

        let newest = recovered.and_then(|found| {
            segments.report_damage(found.first, &found.damaged, &|| false);
            found.segment
        });

        Ok(FoundSegments {
            segments,
            newest,
            next,
        })
    }

    /// Shows readers what a segment has grown to, up to the entry `last`. `added` is the index of what was added, if that is
    /// known. Where a new segment begins, the one before it is returned, with its index.
    pub(super) fn commit(
        &self,
        segment: &mut Segment,
        last: u64,
        added: Index,
    ) -> Option<ClosedIndex> {
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut state.last, last);

        let mut closed = None;
        if !segment.listed {
            closed = state.close_newest(&self.dir, before);
            state
                .segments
                .push_back(Listed::with(segment.first, 0, Indexed::empty()));
            segment.listed = true;
        }

        if let Some(newest) = state.segments.back_mut() {
            let (index, added) = (added, segment.len - newest.len);
            newest.len = segment.len;
            newest.indexed.add(index);
            state.total += added;
        }
        closed
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
            path: path_of(&self.dir, segment.first, segment.form()),
            form: segment.form(),
            first: segment.first,
            len: segment.len,
            last: newer.map_or(state.last, |newer| newer.first - 1),
            newest: newer.is_none(),
            is_oldest: index == 0,
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
                Some(file) => (&file)
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

    /// The bytes that all segments have on the disk.
    pub(super) fn total_bytes(&self) -> u64 {
        lock(&self.state).total
    }

    /// Number of segments.
    pub(super) fn count(&self) -> u64 {
        lock(&self.state).segments.len() as u64
    }

    /// The newest segment.
    pub(super) fn newest(&self) -> Option<Newest> {
        let state = lock(&self.state);
        state.segments.back().map(|newest| Newest {
            first: newest.first,
            bytes: newest.len,
        })
    }

    /// Opens a segment for reading. `None` if it has been deleted since it was looked up, by retention or by
    /// hand.
    pub(super) fn open(&self, view: &View) -> Result<Option<SegmentFile>, StoreError> {
        match self.open_form(view) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !view.newest => {
                let mut state = lock(&self.state);
                if let Some(index) = state.place_of(view.first) {
                    tracing::warn!(file = %view.path.display(), "another program has deleted a log segment");
                    if let Some(gone) = state.segments.remove(index) {
                        state.total -= gone.disk_bytes();
                    }
                }
                index::remove(&view.path);

                Ok(None)
            }
            Err(error) => Err(StoreError::io("open", &view.path)(error)),
        }
    }
}

impl State {
    /// The place of the segment that starts with `first`, if it is listed.
    fn place_of(&self, first: u64) -> Option<usize> {
        let place = self
            .segments
            .binary_search_by_key(&first, |segment| segment.first);
        place.ok()
    }

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
        let form = listed.map_or(Form::Plain, Listed::form);

        View {
            path: path_of(dir, first, form),
            form,
            first,
            len: listed.map_or(0, |segment| segment.len),
            last: newer.map_or(self.last, |newer| newer.first - 1),
            newest: newer.is_none(),
            is_oldest: index == 0,
        }
    }
}

impl Listed {
    fn new(first: u64, len: u64) -> Self {
        Self {
            first,
            len,
            packed: None,
            plain: PlainFile::Gone,
            damaged: BTreeSet::new(),
            indexed: Indexed::default(),
        }
    }

    fn with(first: u64, len: u64, indexed: Indexed) -> Self {
        Self {
            indexed,
            ..Self::new(first, len)
        }
    }
}
