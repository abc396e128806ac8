//! Damaged lines: each is counted, and reported once.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::Ordering;

use super::super::segment::{SegmentFile, path};
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
        let file = path(&self.dir, first);
        let mut lines = None;

        for &offset in offsets {
            if is_over() {
                return;
            }

            let known = {
                let mut state = lock(&self.state);
                let Some(index) = state.place_of(first) else {
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
            let lines = lines.get_or_insert_with(|| {
                let file = SegmentFile::find(&self.dir, first);
                file.ok().map(LineNumbers::of)
            });
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
    pub(in crate::store) fn damaged(&self) -> u64 {
        // A number to show, which orders nothing.
        self.damaged.load(Ordering::Relaxed)
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
