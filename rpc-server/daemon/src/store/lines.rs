//! The lines of a segment: reading them one by one, judging them, and finding a sequence number among them.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// The longest line, newline included. What is longer was not written by this store, and is not kept in
/// memory.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The shortest line: one digit each for `seq` and `ts`, a level of four letters, and empty texts. So many
/// damaged bytes may hide one entry.
pub(super) const LINE_BYTES_MIN: u64 = 58;

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

/// One line as it stands in the file.
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

    /// Takes the next line, of so many bytes, with the number that can be read from it; returns whether the
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

/// Where to start reading a segment of `len` bytes that starts with `first`, so as not to miss `seq`: the
/// offset of a line, and its number, which is at most `seq` and most often close to it.
///
/// The lines are sorted, so this halves the file instead of keeping an index. A number is believed only when
/// the next line has the one after it, which a damaged line does not bring about.
pub(super) fn locate<F: Read + Seek + Copy>(
    file: F,
    len: u64,
    first: u64,
    seq: u64,
) -> io::Result<(u64, u64)> {
    let mut low = (0, first);
    let mut high = len;

    while low.1 < seq && high - low.0 > SEARCH_BYTES_MIN {
        let middle = low.0 + (high - low.0) / 2;
        match first_pair(file, middle, high, len)? {
            Some(found) if (low.1..=seq).contains(&found.1) => low = found,
            // Too far, or nothing to go by. Had there been a line to start from above the middle, nothing but
            // more reading follows from not knowing it.
            _ => high = middle,
        }
    }

    Ok(low)
}

/// The offset and number of the first line that starts behind `from` and before `to`, and has the next number
/// after it.
fn first_pair<F: Read + Seek>(
    file: F,
    from: u64,
    to: u64,
    len: u64,
) -> io::Result<Option<(u64, u64)>> {
    let mut lines = Lines::new(file, from, len, 4096)?;

    // The rest of the line that `from` is in.
    lines.next()?;

    let mut before: Option<(u64, u64)> = None;
    while let Some(line) = lines.next()? {
        let seq = leading_seq(line.text);
        if let (Some(found), Some(seq)) = (before, seq)
            && found.1.checked_add(1) == Some(seq)
        {
            return Ok(Some(found));
        }

        if line.offset >= to {
            break;
        }

        before = seq.map(|seq| (line.offset, seq));
    }

    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use rpc_core::api::log::Level;

    use super::super::NewEntry;
    use super::*;

    fn file_with(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn the_shortest_line_is_as_long_as_it_is_said_to_be() {
        let entry = NewEntry {
            level: Level::Info,
            service: String::new(),
            message: String::new(),
            ts: Some(0),
            trace: None,
            fields: None,
        };

        assert_eq!(
            (entry.encode().len() + r#"{"seq":1"#.len()) as u64,
            LINE_BYTES_MIN
        );
    }

    #[test]
    fn lines_too_long_to_be_entries_are_passed_over_whole() {
        let long = "x".repeat(2 * LINE_BYTES_MAX + 5);
        let file = file_with(format!("a\n{long}\nb\nc").as_bytes());
        let mut lines = Lines::new(&file, 0, file.metadata().unwrap().len(), 4096).unwrap();

        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((line.offset, line.bytes, line.text.to_vec(), line.whole));
        }

        let behind = long.len() as u64 + 3;
        let expected = [
            (0, 2, b"a\n".to_vec(), true),
            (2, long.len() as u64 + 1, Vec::new(), true),
            (behind, 2, b"b\n".to_vec(), true),
            (behind + 2, 1, b"c".to_vec(), false),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_sequence_goes_on_behind_damage_but_not_further_than_the_damage_can_hide() {
        let mut sequence = Sequence::new(5, 1000);
        assert!(sequence.accept(Some(5), 100));
        assert!(!sequence.accept(Some(5), 100), "twice");
        assert!(!sequence.accept(Some(900), 100), "a flipped digit");
        assert_eq!(sequence.next(), 6 + 200 / LINE_BYTES_MIN);
        assert!(!sequence.accept(Some(6 + 1 + 200 / LINE_BYTES_MIN), 1));

        assert!(sequence.accept(Some(8), 100));
        assert!(!sequence.accept(Some(10), 100));
        assert!(!sequence.accept(None, 1));
        assert!(sequence.accept(Some(9), 100));

        let mut sequence = Sequence::new(5, 5);
        assert!(sequence.accept(Some(5), 100));
        assert!(
            !sequence.accept(Some(6), 100),
            "belongs to the next segment"
        );
    }

    #[test]
    fn a_number_is_read_from_the_start_of_a_line_only() {
        let check =
            |line: &str, expected| assert_eq!(leading_seq(line.as_bytes()), expected, "{line}");

        check("{\"seq\":17,\"ts\":1}\n", Some(17));
        check("{\"seq\":17", None);
        check("{\"seq\":,", None);
        check("{\"seq\":+1,", None);
        check("{\"seq\":1x,", None);
        check("{\"seq\":99999999999999999999,", None);
        check("{\"ts\":1,\"seq\":17,", None);
    }

    #[test]
    fn locating_never_goes_past_the_line_and_comes_close_to_it() {
        let line = |seq: u64| {
            format!(
                "{{\"seq\":{seq},{:>1$}}}\n",
                "",
                usize::try_from(seq * 7919 % 300).unwrap()
            )
        };

        let offsets: Vec<usize> = (3..3000)
            .scan(0, |at, seq| {
                Some(std::mem::replace(at, *at + line(seq).len()))
            })
            .collect();
        let mut content: Vec<u8> = (3..3000).flat_map(|seq| line(seq).into_bytes()).collect();

        // Damage of every kind: a newline lost, one more, a digit changed, a run of zeros.
        let (lost, more, digit, zeros) = (
            offsets[700] - 1,
            offsets[1500] + 4,
            offsets[2000] + 7,
            offsets[2300],
        );
        content[lost] = b'-';
        content[more] = b'\n';
        content[digit] = b'9';
        content[zeros..zeros + 9000].fill(0);

        let file = file_with(&content);
        for seq in (3..3000).chain([5000, u64::MAX]) {
            let (offset, at) = locate(&file, content.len() as u64, 3, seq).unwrap();
            assert!(at <= seq);
            assert_eq!(offset, offsets[usize::try_from(at - 3).unwrap()] as u64);

            let wanted = offsets[usize::try_from(seq.min(2999) - 3).unwrap()] as u64;
            assert!(
                wanted - offset < 4 * SEARCH_BYTES_MIN,
                "{seq}: {}",
                wanted - offset
            );
        }

        assert_eq!(locate(&file, content.len() as u64, 3, 1).unwrap(), (0, 3));
        assert_eq!(locate(&file, 0, 3, 9).unwrap(), (0, 3));
    }

    #[test]
    fn a_line_with_a_wrong_number_never_leads_past_the_one_that_is_looked_for() {
        let line = |seq: u64| format!("{{\"seq\":{seq},{:100}}}\n", "");
        let line_bytes = line(10_000).len() as u64;
        let whole: String = (10_000..11_000).map(line).collect();
        let file = file_with(whole.as_bytes());
        let len = whole.len() as u64;

        // Each line in turn, because it is only some that are looked at.
        for seq in 10_200..11_000 {
            let at = SeekFrom::Start((seq - 10_000) * line_bytes);
            let write = |line: String| {
                (&file)
                    .seek(at)
                    .and_then(|_| (&file).write_all(line.as_bytes()))
                    .unwrap();
            };

            write(line(seq - 150));
            for wanted in [seq - 150, seq - 1, seq] {
                let (offset, found) = locate(&file, len, 10_000, wanted).unwrap();
                assert!(found <= wanted);
                assert_eq!(
                    offset,
                    (found - 10_000) * line_bytes,
                    "{seq} is damaged, {wanted} is wanted"
                );
            }

            write(line(seq));
        }
    }
}
