//! The lines of a segment: reading them one by one, judging them, and finding a sequence number among them.

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// The longest line, newline included. What is longer was not written by this store, and is not kept in
/// memory.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The shortest line: one digit each for `seq` and `ts`, a level of four letters, empty texts, and no time of receipt, as
/// older versions wrote it. This number of damaged bytes may hide one entry.
pub(super) const LINE_BYTES_MIN: u64 = 58;

/// The end of a line that begins a write: all before it was synced when it was written. The space is one that JSON lets be.
pub(super) const WRITE_END: &[u8] = b"} \n";

/// The end of any other line.
pub(super) const LINE_END: &[u8] = b"}\n";

/// Whether a line begins a write.
pub(super) fn begins_write(line: &[u8]) -> bool {
    line.ends_with(WRITE_END)
}

/// Searching by halving ends when so few bytes are left that reading them all costs no more than another
/// step.
const SEARCH_BYTES_MIN: u64 = 32 * 1024;

/// Reads a file line by line, up to a given end.
pub(super) struct Lines<R> {
    reader: R,
    offset: u64,
    end: u64,
    text: Vec<u8>,
}

/// One line as it is in the file.
pub(super) struct Line<'a> {
    /// Where it starts.
    pub(super) offset: u64,
    /// Its length, newline included.
    pub(super) bytes: u64,
    /// What it says, newline included; empty if it is too long to be an entry.
    pub(super) text: &'a [u8],
    /// Whether it ends in a newline: if not, its writing was cut short.
    pub(super) whole: bool,
}

impl<F: Read + Seek> Lines<BufReader<F>> {
    /// The lines of `file` from the byte `offset` to the byte `end`.
    pub(super) fn new(file: F, offset: u64, end: u64, buffer_bytes: usize) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(buffer_bytes, file);
        reader.seek(SeekFrom::Start(offset))?;

        Ok(Self {
            reader,
            offset,
            end,
            text: Vec::new(),
        })
    }
}

impl<R: BufRead> Lines<R> {
    /// Where the next line starts; short of the end after the last one if the file is shorter than it should
    /// be.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let offset = self.offset;
        let mut whole = self.read_some()?;
        let too_long = !whole && self.text.len() == LINE_BYTES_MAX;
        while !whole && self.text.len() == LINE_BYTES_MAX {
            whole = self.read_some()?;
        }

        if self.offset == offset {
            return Ok(None);
        }

        if too_long {
            self.text.clear();
        }

        Ok(Some(Line {
            offset,
            bytes: self.offset - offset,
            text: &self.text,
            whole,
        }))
    }

    /// Reads up to a newline, the end, or as much as a line may have; returns whether it was a newline.
    fn read_some(&mut self) -> io::Result<bool> {
        self.text.clear();
        let limit = (self.end - self.offset).min(LINE_BYTES_MAX as u64);
        self.offset += self
            .reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.text)? as u64;
        Ok(self.text.ends_with(b"\n"))
    }
}

/// Judges whether the lines of a segment follow on one another, also across damage.
///
/// Without damage each line has the number after that of the line before. Behind damage a line may be ahead
/// by as many numbers as the damaged bytes can have held, and no more: a flipped digit must not make the
/// store believe in a number far off, and refuse all that come after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    expected: u64,
    last: u64,
    damaged_bytes: u64,
}

impl Sequence {
    /// A sequence that starts with `first` and does not go beyond `last`.
    pub(super) fn new(first: u64, last: u64) -> Self {
        Self {
            expected: first,
            last,
            damaged_bytes: 0,
        }
    }

    /// Takes the next line, of `length` bytes, with the number that can be read from it; returns whether the
    /// line is good.
    pub(super) fn accept(&mut self, seq: Option<u64>, bytes: u64) -> bool {
        match seq {
            Some(seq) if (self.expected..=self.next().min(self.last)).contains(&seq) => {
                self.expected = seq + 1;
                self.damaged_bytes = 0;
                true
            }
            _ => {
                self.damaged_bytes += bytes;
                false
            }
        }
    }

    /// The first number that no line so far can have held.
    pub(super) fn next(&self) -> u64 {
        self.expected + self.damaged_bytes / LINE_BYTES_MIN
    }
}

/// The sequence number a line starts with, without a look at the rest of the line.
pub(super) fn leading_seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let digits = &rest[..rest.iter().position(|&byte| byte == b',')?];

    // An optional sign is fine for `parse`, but not for JSON.
    if !digits.first()?.is_ascii_digit() {
        return None;
    }

    str::from_utf8(digits).ok()?.parse().ok()
}

/// Lines of a segment that follow on one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where the first line begins.
    pub(super) offset: u64,
    /// The number of the first entry.
    pub(super) seq: u64,
    /// Where the last line ends.
    pub(super) end: u64,
    /// The last number that a line can have.
    pub(super) last: u64,
}

impl Stretch {
    fn start(&self) -> LineStart {
        LineStart {
            offset: self.offset,
            seq: self.seq,
        }
    }
}

/// Where a line begins, and the number of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineStart {
    pub(super) offset: u64,
    pub(super) seq: u64,
}

/// Where to start reading a stretch so as not to miss `seq`: a line whose number is at most `seq`, if the stretch has
/// that, and most often close to it.
///
/// The lines are sorted, so this halves the file instead of keeping an index. A number is believed only when
/// the next line has the one after it, which a damaged line does not bring about.
pub(super) fn locate<F: Read + Seek + Copy>(
    file: F,
    stretch: &Stretch,
    seq: u64,
) -> io::Result<LineStart> {
    let mut low = stretch.start();
    let mut high = stretch.end;

    while low.seq < seq && high - low.offset > SEARCH_BYTES_MIN {
        let middle = low.offset + (high - low.offset) / 2;
        match first_pair(file, middle, high, stretch.end)? {
            Some(found) if (low.seq..=seq).contains(&found.seq) => low = found,
            // Too far, or nothing to go by. Had there been a line to start from above the middle, nothing but
            // more reading follows from not knowing it.
            _ => high = middle,
        }
    }

    Ok(low)
}

/// Where to start reading a stretch so as to come to the line at `to`, whose number is `before` or above: a line about
/// `step` bytes before it. Where nothing can be believed it is further up, and the first line at last.
pub(super) fn line_before<F: Read + Seek + Copy>(
    file: F,
    stretch: &Stretch,
    to: u64,
    before: u64,
    step: usize,
) -> io::Result<LineStart> {
    let mut step = step as u64;
    while step < to - stretch.offset {
        if let Some(found) = first_pair(file, to - step, to, stretch.end)?
            && (stretch.seq..before).contains(&found.seq)
        {
            return Ok(found);
        }
        step = step.saturating_mul(2);
    }

    Ok(stretch.start())
}

/// The first line that starts behind `from` and before `to`, and has the next number after it.
fn first_pair<F: Read + Seek>(
    file: F,
    from: u64,
    to: u64,
    len: u64,
) -> io::Result<Option<LineStart>> {
    let mut lines = Lines::new(file, from, len, 4096)?;

    // The rest of the line that `from` is in.
    lines.next()?;

    let mut before: Option<LineStart> = None;
    while let Some(line) = lines.next()? {
        let seq = leading_seq(line.text);
        if let (Some(found), Some(seq)) = (before, seq)
            && found.seq.checked_add(1) == Some(seq)
        {
            return Ok(Some(found));
        }

        if line.offset >= to {
            break;
        }

        let offset = line.offset;
        before = seq.map(|seq| LineStart { offset, seq });
    }

    Ok(None)
}
