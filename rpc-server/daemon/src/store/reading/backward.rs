//! A scan from the last entry down.
//!
//! Whether a line is the next one shows only upwards. So the files are read in pieces from the end, each piece from its
//! first line up: a page takes the last entries of a piece that pass, and the next piece ends where this one begins.

use std::collections::VecDeque;
use std::io;

use serde_json::value::RawValue;

use super::super::StoreError;
use super::super::entry::EntryRef;
use super::super::lines::{LineStart, Lines, Sequence, Stretch, line_before, locate};
use super::super::segments::Segments;
use super::super::walk::{BLOCK_BYTES, Blocks, check_over, read_segment};
use super::{PAGE_BYTES_MAX, Query};

/// What a scan downwards has found.
pub(in crate::store) struct Backward<'a> {
    query: &'a Query,
    /// The entries that match, the last one first.
    pub(in crate::store) entries: Vec<Box<RawValue>>,
    /// The lowest number that was looked at.
    pub(in crate::store) before: u64,
    /// The bytes looked at.
    pub(in crate::store) scanned: u64,
    /// The bytes of the entries that were found.
    pub(in crate::store) page_bytes: u64,
    /// Whether an entry had no room on the page.
    is_full: bool,
}

/// Lines of a segment that are read together.
struct Piece {
    offset: u64,
    /// The number of the first line.
    seq: u64,
    end: u64,
}

/// An entry of a piece that passes.
struct Found {
    seq: u64,
    bytes: u64,
    entry: Box<RawValue>,
}

/// What becomes of a scan behind a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoesOn,
    Ends,
}

impl<'a> Backward<'a> {
    /// Reads entries below `before` until the page is full, about this number of bytes was looked
    /// at, or none are left behind the query's `after`.
    ///
    /// It reads files, and is not for a thread that others wait for. Once `is_over` says so, it reads no further
    /// block, and ends with an error that no caller waits for.
    pub(in crate::store) fn run(
        segments: &Segments,
        query: &'a Query,
        before: u64,
        bytes_max: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let mut scan = Self {
            query,
            entries: Vec::new(),
            before,
            scanned: 0,
            page_bytes: 0,
            is_full: false,
        };

        while scan.before > scan.floor()
            && let Some(view) = segments.view(scan.before.saturating_sub(2))
            && view.first < scan.before
        {
            let stretches = segments.stretches(&view, Some(&query.filter));
            if stretches.is_empty() {
                check_over(&view, is_over)?;
                scan.before = view.first;
                continue;
            }

            let then = read_segment(segments, &view, is_over, |file, damaged| {
                scan.segment(file, &stretches, bytes_max, damaged)
            })?;
            match then {
                Some(Then::Ends) => break,
                // Also past one that is gone.
                Some(Then::GoesOn) | None => scan.before = scan.before.min(view.first),
            }
        }

        Ok(scan)
    }

    /// The lowest number that is asked for.
    fn floor(&self) -> u64 {
        self.query.after.saturating_add(1)
    }

    fn segment(
        &mut self,
        file: Blocks<'_>,
        stretches: &[Stretch],
        bytes_max: u64,
        damaged: &mut Vec<u64>,
    ) -> io::Result<Then> {
        for stretch in stretches.iter().rev() {
            if stretch.seq >= self.before {
                continue;
            }

            // What is behind the stretch does not pass.
            self.before = self.before.min(stretch.last.saturating_add(1));
            let is_done = self.before <= self.floor();
            if is_done || self.stretch(file, stretch, bytes_max, damaged)? == Then::Ends {
                return Ok(Then::Ends);
            }
        }

        Ok(Then::GoesOn)
    }

    fn stretch(
        &mut self,
        file: Blocks<'_>,
        stretch: &Stretch,
        bytes_max: u64,
        damaged: &mut Vec<u64>,
    ) -> io::Result<Then> {
        let LineStart { offset, seq } = locate(file, stretch, self.before)?;
        let mut piece = Piece {
            offset,
            seq,
            end: stretch.end,
        };

        loop {
            let found = self.piece(file, stretch.last, &piece, damaged)?;
            self.take(found, piece.seq);

            let is_full = self.is_full || self.entries.len() >= self.limit();
            if is_full || self.scanned >= bytes_max || self.before <= self.floor() {
                return Ok(Then::Ends);
            }
            if piece.offset == stretch.offset {
                return Ok(Then::GoesOn);
            }

            let LineStart { offset, seq } =
                line_before(file, stretch, piece.offset, self.before, BLOCK_BYTES)?;
            piece = Piece {
                offset,
                seq,
                end: piece.offset,
            };
        }
    }

    /// The last entries of a piece that pass, as many as the page has room for, and another if there is one.
    fn piece(
        &mut self,
        file: Blocks<'_>,
        last: u64,
        piece: &Piece,
        damaged: &mut Vec<u64>,
    ) -> io::Result<VecDeque<Found>> {
        let count_max = self.limit() - self.entries.len() + 1;
        let mut sequence = Sequence::new(piece.seq, last);
        let mut lines = Lines::new(file, piece.offset, piece.end, BLOCK_BYTES)?;
        let mut found: VecDeque<Found> = VecDeque::new();
        let mut found_bytes = 0;

        while let Some(line) = lines.next()? {
            let entry = EntryRef::parse(line.text);
            let is_next = sequence.accept(entry.as_ref().map(|entry| entry.seq), line.bytes);
            if entry
                .as_ref()
                .is_some_and(|entry| is_next && entry.seq >= self.before)
            {
                break;
            }

            self.scanned += line.bytes;
            if !is_next {
                damaged.push(line.offset);
                continue;
            }

            let Some(entry) = entry.filter(|entry| entry.seq > self.query.after) else {
                continue;
            };
            if self.query.filter.matches(&entry) {
                found.push_back(Found {
                    seq: entry.seq,
                    bytes: line.bytes,
                    entry: serde_json::from_slice(line.text)?,
                });
                found_bytes += line.bytes;
            }

            // What the page has no room for is not kept, but for the one that shows it.
            while found.len() > count_max
                || found.len() > 1 && found_bytes - found[0].bytes > PAGE_BYTES_MAX
            {
                found_bytes -= found.pop_front().map_or(0, |first| first.bytes);
            }
        }

        Ok(found)
    }

    /// Puts the entries of a piece on the page, from the last one down, as far as there is room.
    fn take(&mut self, found: VecDeque<Found>, first: u64) {
        for Found { seq, bytes, entry } in found.into_iter().rev() {
            let has_room = self.entries.len() < self.limit()
                && (self.entries.is_empty() || self.page_bytes + bytes <= PAGE_BYTES_MAX);
            if !has_room {
                // The page ends here: the next one begins with this entry.
                self.is_full = true;
                return;
            }

            self.page_bytes += bytes;
            self.entries.push(entry);
            self.before = seq;
        }

        self.before = self.before.min(first).max(self.floor());
    }

    fn limit(&self) -> usize {
        self.query.limit.max(1)
    }
}
