//! Holes: zeros in place of sectors that a disk has not written before it lost its power.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::super::lines::{Line, Lines, begins_write};

/// Bytes that a disk writes as a whole, or not at all.
const SECTOR: u64 = 512;

/// How many bytes are read at a time.
const BLOCK_BYTES: usize = 256 * 1024;

/// The first line in a part of a file that has a hole which nothing was written behind after a sync; returns its offset.
///
/// A write is synced before the next one begins. So a hole with a line behind it that begins a write was there when that was
/// synced: it is damage. Any other hole, and all behind it, belongs to the last write, which was not synced.
pub(super) fn first_hole(file: &File, part: Range<u64>) -> io::Result<Option<u64>> {
    let mut hole = None;
    let end = part.end;
    let mut lines = Lines::new(file, part.start, end, BLOCK_BYTES)?;

    while let Some(line) = lines.next()? {
        if has_no_zeros(&line) {
            if begins_write(line.text) {
                hole = None;
            }
        } else if hole.is_none() && has_hole(file, line.offset..line.offset + line.bytes, end)? {
            hole = Some(line.offset);
        }
    }
    Ok(hole)
}

/// Whether a line is known to have no zeros. One that is too long for an entry is not at hand.
fn has_no_zeros(line: &Line<'_>) -> bool {
    !line.text.is_empty() && !line.text.contains(&0)
}

/// Whether zeros in a line are those of sectors: they begin with the line, as a write does, or with a sector, and end with
/// a sector or with the file. A byte that was flipped makes no such zeros.
fn has_hole(file: &File, line: Range<u64>, end: u64) -> io::Result<bool> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = line.start;
    let mut zeros: Option<u64> = None;
    let is_hole = |zeros: u64, behind: u64| {
        let begins = zeros == line.start || zeros.is_multiple_of(SECTOR);
        begins && (behind == end || behind.is_multiple_of(SECTOR))
    };

    while at < line.end {
        let wanted = (line.end - at).min(BLOCK_BYTES as u64);
        let read = file.read_at(
            &mut block[..usize::try_from(wanted).unwrap_or(BLOCK_BYTES)],
            at,
        )?;
        if read == 0 {
            break;
        }

        for (byte, place) in block[..read].iter().zip(at..) {
            if *byte == 0 {
                zeros.get_or_insert(place);
            } else if zeros.take().is_some_and(|zeros| is_hole(zeros, place)) {
                return Ok(true);
            }
        }
        at += read as u64;
    }
    Ok(zeros.is_some_and(|zeros| is_hole(zeros, at)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MARKED: &str = "{\"seq\":1} \n";

    /// The first hole in a file with these parts, of which the first is synced.
    fn hole_in(parts: &[&str]) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(parts.concat().as_bytes()).unwrap();
        let end = file.metadata().unwrap().len();
        first_hole(&file, parts[0].len() as u64..end).unwrap()
    }

    #[test]
    fn a_hole_begins_with_a_line_or_a_sector_and_ends_with_a_sector_or_the_file() {
        let zeros = |count| "\0".repeat(count);
        let to_sector = zeros(512 - MARKED.len());
        // From the end of what is synced.
        assert_eq!(
            hole_in(&[MARKED, &to_sector, "rest\n"]),
            Some(MARKED.len() as u64)
        );
        assert_eq!(hole_in(&["", &zeros(512), "rest\n"]), Some(0));
        assert_eq!(hole_in(&["", &zeros(700)]), Some(0));
        assert_eq!(hole_in(&[MARKED, MARKED, "line"]), None);
        // In the middle of a write.
        let line = "x".repeat(512);
        assert_eq!(
            hole_in(&["", MARKED, &line[MARKED.len()..], &zeros(1024), "rest\n"]),
            Some(MARKED.len() as u64)
        );

        // Of other lengths, or elsewhere, it is damage.
        assert_eq!(hole_in(&[MARKED, &to_sector, "\0rest\n"]), None);
        assert_eq!(hole_in(&[MARKED, &to_sector[1..], "rest\n"]), None);
        assert_eq!(hole_in(&["", "x", &zeros(511), "rest\n"]), None);
        assert_eq!(hole_in(&["", "line\0line\n"]), None);
        // As is what is synced.
        assert_eq!(hole_in(&[&zeros(512), "line\n"]), None);
    }

    #[test]
    fn a_hole_with_a_write_behind_it_was_synced() {
        let hole = "\0".repeat(512);
        let rest = format!("rest\n{}\n", "x".repeat(506));
        assert_eq!(hole_in(&["", &hole, &rest, MARKED]), None);
        let second = (hole.len() + rest.len() + MARKED.len()) as u64;
        let to_sector = "\0".repeat(512 - MARKED.len());
        assert_eq!(
            hole_in(&["", &hole, &rest, MARKED, &to_sector, "rest\n"]),
            Some(second)
        );
        // The mark of a line that has zeros itself may be that of the write with the hole.
        assert_eq!(hole_in(&["", &hole, MARKED]), Some(0));
    }

    #[test]
    fn a_hole_of_more_than_a_line_may_have_is_found() {
        let zeros = "\0".repeat(3 << 20);
        assert_eq!(hole_in(&["", &zeros, "rest\n"]), Some(0));
        assert_eq!(hole_in(&["", &zeros]), Some(0));
    }
}
