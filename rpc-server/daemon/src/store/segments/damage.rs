//! Damaged lines: each is counted, and reported once.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::super::packed::Packed;
use super::super::segment::{SegmentFile, path_of};
use super::{Segments, lock};

/// How many damaged lines of one segment are told apart and counted. A file with more is ruined.
const DAMAGED_LINES_MAX: usize = 1000;

/// How many of them are logged one by one; a further message says that there are more.
const DAMAGED_LINES_LOGGED: usize = 10;

impl Segments {
    /// Reports damaged lines of the segment that starts with `first`, given by their offsets in order, unless that
    /// was done before. Once `is_over` says so, the rest is left to the next scan.
    pub(in crate::store) fn report_damage(
        &self,
        first: u64,
        offsets: &[u64],
        is_over: &dyn Fn() -> bool,
    ) {
        let mut places = None;

        for &offset in offsets {
            if is_over() {
                return;
            }

            let (known, form) = {
                let mut state = lock(&self.state);
                let Some(index) = state.place_of(first) else {
                    return;
                };

                let form = state.segments[index].form();
                let damaged = &mut state.segments[index].damaged;
                if damaged.len() > DAMAGED_LINES_MAX || !damaged.insert(offset) {
                    continue;
                }

                (damaged.len(), form)
            };

            if known > DAMAGED_LINES_MAX {
                return;
            }

            self.damaged.fetch_add(1, Ordering::Relaxed);
            let file = path_of(&self.dir, first, form);
            if known == DAMAGED_LINES_LOGGED + 1 {
                tracing::error!(file = %file.display(), "more damage in this log segment is not listed");
            }
            if known > DAMAGED_LINES_LOGGED {
                continue;
            }

            // Looked for only now: an operator wants to know the place in the file, and reading knows only offsets of lines.
            let places = places.get_or_insert_with(|| Places::of(&self.dir, first));
            match places.at(offset) {
                Place::Line(line) => tracing::error!(
                    file = %file.display(), line, offset,
                    "damage in the log: a line that is not an entry, or not the next entry; it is left out when the \
                     log is read"
                ),
                Place::Frame(offset) => tracing::error!(
                    file = %file.display(), offset,
                    "damage in the log: a frame of a compressed segment does not decompress; its entries are left out \
                     when the log is read"
                ),
            }
        }
    }

    /// How many damaged lines were found since the start.
    pub(in crate::store) fn damaged(&self) -> u64 {
        // A number to show, which orders nothing.
        self.damaged.load(Ordering::Relaxed)
    }
}

/// Where an operator finds damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the line of this number; 0 if it cannot be told.
    Line(u64),
    /// In the frame that begins at this byte of a compressed file.
    Frame(u64),
}

/// Tells the places of damage in a segment, from the first to the last.
struct Places {
    /// `None` if it is plain, or cannot be opened.
    packed: Option<Packed>,
    lines: Option<LineNumbers<SegmentFile>>,
}

impl Places {
    fn of(dir: &Path, first: u64) -> Self {
        let open = || SegmentFile::find(dir, first).ok();
        let packed = match open() {
            Some(SegmentFile::Packed(packed)) => Some(packed),
            _ => None,
        };
        Self {
            packed,
            lines: open().map(LineNumbers::of),
        }
    }

    /// The place of the damaged line that begins at `offset`.
    fn at(&mut self, offset: u64) -> Place {
        let packed = self.packed.as_ref();
        let frame = packed.and_then(|packed| packed.damaged_frame(offset).ok().flatten());
        if let Some(at) = frame {
            return Place::Frame(at);
        }

        let lines = self.lines.as_mut();
        Place::Line(lines.and_then(|lines| lines.at(offset).ok()).unwrap_or(0))
    }
}

/// Counts the lines of a file up to offsets that only grow, in one pass.
pub(super) struct LineNumbers<R> {
    pub(super) reader: BufReader<R>,
    offset: u64,
    line: u64,
}

impl<R: Read> LineNumbers<R> {
    pub(super) fn of(file: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            offset: 0,
            line: 1,
        }
    }

    /// The number of the line that begins at `offset`, counting from 1.
    pub(super) fn at(&mut self, offset: u64) -> io::Result<u64> {
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
