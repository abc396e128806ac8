//! Reading entries in order, from one segment to the next.

use std::io::{self, Read, Seek, SeekFrom};

use super::entry::EntryRef;
use super::lines::{Line, LineStart, Lines, Sequence, Stretch, leading_seq, locate};
use super::segment::SegmentFile;
use super::segments::{Segments, View};
use super::{Filter, StoreError};

/// How many bytes are read at a time. A walk learns between two such blocks that its call is over.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// The kind of error of a walk whose call is over. No file fails with it.
const OVER: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// A walk over durable entries.
pub(super) struct Walk<'a> {
    segments: &'a Segments,
    /// Says that no caller waits for the entries any more. No further block is read then.
    is_over: &'a dyn Fn() -> bool,
    /// The number of the last entry that was passed. Before the first one, the number to walk on behind.
    pub(super) passed: u64,
    /// The bytes of the lines that were passed.
    pub(super) bytes: u64,
    /// Number of entries that were deleted before the walk came to them.
    pub(super) lost: u64,
    /// The line to go on with, where that is known.
    place: Option<WalkPosition>,
    /// Of other entries, none has to be shown.
    only: Option<&'a Filter>,
}

/// What is shown the entries of a walk.
type Visit<'v> = &'v mut dyn FnMut(&EntryRef<'_>, &Line<'_>) -> io::Result<Step>;

/// What a walk does after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It passes the entry and goes on.
    On,
    /// It passes the entry and stops.
    Stop,
    /// It stops before the entry.
    StopBefore,
}

/// The place of a line in its segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalkPosition {
    /// The first number of its segment.
    first: u64,
    line: LineStart,
}

impl<'a> Walk<'a> {
    /// A walk over the entries behind `after`.
    ///
    /// It reads files, and is not for a thread that others wait for. Once `is_over` says so, it ends with an error
    /// that no caller waits for.
    pub(super) fn new(segments: &'a Segments, after: u64, is_over: &'a dyn Fn() -> bool) -> Self {
        Self {
            segments,
            is_over,
            passed: after,
            bytes: 0,
            lost: 0,
            place: None,
            only: None,
        }
    }

    /// Leaves out what an index says does not pass. All else is shown.
    pub(super) fn only(mut self, filter: &'a Filter) -> Self {
        self.only = Some(filter);
        self
    }

    /// Begins where another walk has ended, if that is where this one begins.
    pub(super) fn begin_at(mut self, place: Option<WalkPosition>) -> Self {
        self.place = place;
        self
    }

    /// Where the walk has ended.
    pub(super) fn place(&self) -> Option<WalkPosition> {
        self.place
    }

    /// Shows entries to `visit` until it stops the walk or none are left.
    pub(super) fn run(&mut self, visit: Visit<'_>, bytes_max: u64) -> Result<(), StoreError> {
        let (segments, is_over) = (self.segments, self.is_over);
        while let Some(view) = segments.view(self.passed) {
            let stretches = segments.stretches(&view, self.only);
            if stretches.is_empty() {
                check_over(&view, is_over)?;
                self.skip_deleted(&view);
                self.passed = self.passed.max(view.last);
                continue;
            }

            let done = read_segment(segments, &view, is_over, |file, damaged| {
                self.skip_deleted(&view);
                self.segment(file, &view, &stretches, visit, bytes_max, damaged)
            })?;
            if done == Some(true) {
                break;
            }
        }

        Ok(())
    }

    /// Passes what was deleted before the oldest segment.
    fn skip_deleted(&mut self, view: &View) {
        if view.is_oldest && view.first > self.passed + 1 {
            self.lost += view.first - 1 - self.passed;
            self.passed = view.first - 1;
        }
    }

    /// Walks over stretches of one segment; returns whether the walk is done.
    fn segment(
        &mut self,
        file: Blocks<'_>,
        view: &View,
        stretches: &[Stretch],
        visit: Visit<'_>,
        bytes_max: u64,
        damaged: &mut Vec<u64>,
    ) -> io::Result<bool> {
        for stretch in stretches {
            if stretch.last <= self.passed {
                continue;
            }

            self.passed = self.passed.max(stretch.seq - 1);
            if self.stretch(file, view, stretch, visit, bytes_max, damaged)? {
                return Ok(true);
            }
            // Also past what the stretch should hold but does not.
            self.passed = self.passed.max(stretch.last);
        }

        self.passed = self.passed.max(view.last);
        Ok(false)
    }

    /// Walks over one stretch; returns whether the walk is done.
    fn stretch(
        &mut self,
        file: Blocks<'_>,
        view: &View,
        stretch: &Stretch,
        visit: Visit<'_>,
        bytes_max: u64,
        damaged: &mut Vec<u64>,
    ) -> io::Result<bool> {
        let LineStart { offset, seq } = match self.place.take() {
            Some(place) if place.is_next_in(view, stretch, self.passed) => place.line,
            _ => locate(file, stretch, self.passed + 1)?,
        };
        let mut sequence = Sequence::new(seq, view.last);
        let mut lines = Lines::new(file, offset, stretch.end, BLOCK_BYTES)?;

        while let Some(line) = lines.next()? {
            // What comes before the walk is only counted along.
            let passed = leading_seq(line.text).filter(|&seq| seq <= self.passed);
            let entry = if passed.is_some() {
                None
            } else {
                EntryRef::parse(line.text)
            };

            if !sequence.accept(passed.or(entry.as_ref().map(|entry| entry.seq)), line.bytes) {
                self.bytes += line.bytes;
                damaged.push(line.offset);
                continue;
            }

            let Some(entry) = entry.filter(|entry| entry.seq > self.passed) else {
                continue;
            };

            self.bytes += line.bytes;
            let step = visit(&entry, &line)?;
            let (offset, bytes) = (line.offset, line.bytes);
            if step == Step::StopBefore {
                self.place = Some(WalkPosition::new(view, offset, entry.seq));
                return Ok(true);
            }

            self.passed = entry.seq;
            self.place = Some(WalkPosition::new(view, offset + bytes, entry.seq + 1));
            if step == Step::Stop || self.bytes >= bytes_max {
                return Ok(true);
            }
        }

        if lines.offset() < stretch.end {
            // Someone else has shortened the file. What it held is gone, and reading goes on behind it.
            damaged.push(lines.offset());
        }

        Ok(false)
    }
}

/// Fails once the call is over, where no file is read that would fail.
pub(super) fn check_over(view: &View, is_over: &dyn Fn() -> bool) -> Result<(), StoreError> {
    match is_over() {
        true => Err(StoreError::io("read", &view.path)(over())),
        false => Ok(()),
    }
}

fn over() -> io::Error {
    io::Error::new(OVER, "the call is over")
}

/// Opens a segment for `read`, and notes how that has ended and which damaged lines it has found. `None` if the segment
/// was deleted since it was looked up.
pub(super) fn read_segment<T>(
    segments: &Segments,
    view: &View,
    is_over: &dyn Fn() -> bool,
    read: impl FnOnce(Blocks<'_>, &mut Vec<u64>) -> io::Result<T>,
) -> Result<Option<T>, StoreError> {
    let file = segments.open(view);
    let Some(file) = file.inspect_err(|error| segments.note_read(view, Some(error)))? else {
        return Ok(None);
    };

    let mut damaged = Vec::new();
    let blocks = Blocks {
        file: &file,
        is_over,
    };
    let done = read(blocks, &mut damaged);
    damaged.sort_unstable();
    segments.report_damage(view.first, &damaged, is_over);

    // What ends because its call is over says nothing of the file.
    let is_over = matches!(&done, Err(error) if error.kind() == OVER);
    let done = done.map_err(StoreError::io("read", &view.path));
    if !is_over {
        segments.note_read(view, done.as_ref().err());
    }
    done.map(Some)
}

impl WalkPosition {
    fn new(view: &View, offset: u64, seq: u64) -> Self {
        Self {
            first: view.first,
            line: LineStart { offset, seq },
        }
    }

    /// Whether it is the place of the entry after `passed`, in this stretch of the segment.
    fn is_next_in(self, view: &View, stretch: &Stretch, passed: u64) -> bool {
        let is_in = (stretch.offset..=stretch.end).contains(&self.line.offset);
        self.first == view.first && is_in && self.line.seq == passed + 1
    }
}

/// A file that is read only for as long as its call is not over.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    file: &'a SegmentFile,
    is_over: &'a dyn Fn() -> bool,
}

impl Read for Blocks<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if (self.is_over)() {
            return Err(over());
        }

        (&mut &*self.file).read(block)
    }
}

impl Seek for Blocks<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&mut &*self.file).seek(to)
    }
}
