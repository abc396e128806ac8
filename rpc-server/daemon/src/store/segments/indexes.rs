//! The indexes of the segments, as far as they are known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::Filter;
use super::super::index::{self, Frame, Index};
use super::super::lines::Stretch;
use super::super::segment::path;
use super::{Segments, State, View, lock};

/// What is known of the index of a segment.
#[derive(Default)]
pub(super) enum Indexed {
    /// Not known: it was not looked for yet, or it does not exist.
    #[default]
    Unknown,
    /// All of it, while the segment is open.
    Open(Arc<Index>),
    /// All its frames as one. It is on the disk.
    Closed(Frame),
}

/// The index of a segment that is closed.
pub(in crate::store) struct ClosedIndex {
    /// The segment.
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) index: Arc<Index>,
}

impl Indexed {
    /// That of a segment without entries.
    pub(super) fn empty() -> Self {
        Self::Open(Arc::default())
    }

    /// That of a segment with `len` bytes and numbers up to `last`.
    pub(super) fn recovered(index: Index, len: u64, last: u64) -> Self {
        match index.fitted(len, last) {
            Some(index) => Self::Open(Arc::new(index)),
            None if len == 0 => Self::empty(),
            None => Self::Unknown,
        }
    }

    /// Adds what was written; where the rest is not known, it stays so.
    pub(super) fn add(&mut self, added: Index) {
        match self {
            Self::Open(index) => Arc::make_mut(index).append(added),
            indexed => *indexed = Self::Unknown,
        }
    }
}

impl State {
    /// Closes the index of the newest segment, which ends with the entry `last`.
    pub(super) fn close_newest(&mut self, dir: &Path, last: u64) -> Option<ClosedIndex> {
        let newest = self.segments.back_mut()?;
        let Indexed::Open(index) = std::mem::take(&mut newest.indexed) else {
            return None;
        };

        let index = Arc::unwrap_or_clone(index).fitted(newest.len, last)?;
        newest.indexed = index.summary().map_or(Indexed::Unknown, Indexed::Closed);
        Some(ClosedIndex {
            path: path(dir, newest.first),
            index: Arc::new(index),
        })
    }
}

impl Segments {
    /// The parts of a segment that may have entries which pass a filter, as far as the index tells; without a filter, all
    /// of it. It may read the index, and is not for a thread that others wait for.
    pub(in crate::store) fn stretches(&self, view: &View, filter: Option<&Filter>) -> Vec<Stretch> {
        let whole = Stretch {
            offset: 0,
            seq: view.first,
            end: view.len,
            last: view.last,
        };
        let Some(filter) = filter.filter(|filter| filter.is_indexed()) else {
            return vec![whole];
        };

        let open = {
            let state = lock(&self.state);
            match state.indexed(view.first) {
                Some(Indexed::Open(index)) => Some(Arc::clone(index)),
                Some(Indexed::Closed(summary)) if !summary.may_pass(filter) => return Vec::new(),
                _ => None,
            }
        };

        let index = open.or_else(|| self.read_index(view).map(Arc::new));
        index.map_or_else(|| vec![whole], |index| index.stretches(filter, &whole))
    }

    /// Reads the index of a closed segment, if there is a good one.
    pub(in crate::store) fn read_index(&self, view: &View) -> Option<Index> {
        let index = index::read(&view.path, view.len, view.first, view.last)?;
        self.note_index(view, &index);
        Some(index)
    }

    /// Keeps what an index on the disk says of its whole segment.
    pub(in crate::store) fn note_index(&self, view: &View, index: &Index) {
        let mut state = lock(&self.state);
        let listed = state.segments.iter_mut().rev();
        let listed = listed.skip(1).find(|segment| segment.first == view.first);

        if let (Some(segment), Some(summary)) = (listed, index.summary()) {
            segment.indexed = Indexed::Closed(summary);
        }
    }

    /// The closed segments whose index was not looked for yet, from the newest down.
    pub(in crate::store) fn closed_without_index(&self) -> Vec<View> {
        let state = lock(&self.state);
        let closed = state.segments.iter().rev().skip(1);
        let unknown = closed.filter(|segment| matches!(segment.indexed, Indexed::Unknown));
        unknown
            .map(|segment| state.view_of(segment.first, &self.dir))
            .collect()
    }
}

impl State {
    fn indexed(&self, first: u64) -> Option<&Indexed> {
        let place = self.place_of(first)?;
        Some(&self.segments[place].indexed)
    }
}
