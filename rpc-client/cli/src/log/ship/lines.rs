//! Lines as entries: which bytes make a batch, and its JSON.

use rpc_core::api::log::Level;
use serde::{Deserialize, Serialize};

/// Maximum number of lines in a batch.
const BATCH_LINES_MAX: usize = 1_000;

/// Maximum number of bytes of lines in a batch: as JSON, where a byte has six at most, they fit into a line of 1 MiB. A longer
/// line is sent in pieces of this length, each an entry.
pub(super) const BATCH_BYTES_MAX: usize = 128 << 10;

/// Whose lines they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) service: String,
    pub(super) level: Level,
}

/// Whether more may come behind the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// A line without its end may go on.
    Open,
    /// It is complete as it is.
    Closed,
}

#[derive(Serialize)]
struct Entry<'a> {
    level: Level,
    service: &'a str,
    message: &'a str,
    ts: u64,
}

/// The number of bytes that make the next batch: whole lines, or a piece of a long one; 0 if there is no whole line yet.
pub(super) fn batch_len(bytes: &[u8], tail: Tail) -> usize {
    let bytes = &bytes[..bytes.len().min(BATCH_BYTES_MAX)];
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let end = ends.take(BATCH_LINES_MAX).last().map(|(at, _)| at + 1);

    match end {
        Some(end) => end,
        None if bytes.len() == BATCH_BYTES_MAX || tail == Tail::Closed => bytes.len(),
        None => 0,
    }
}

/// The entries of a batch as JSON: for the same bytes and time always the same text, by which the log knows the batch again.
pub(super) fn entries(bytes: &[u8], origin: &Origin, ts: u64) -> String {
    let mut text = String::from("[");
    for line in lines(bytes) {
        // A log takes what programs print: bytes that are no text are replaced, not refused.
        let message = String::from_utf8_lossy(line);
        let entry = Entry {
            level: origin.level,
            service: &origin.service,
            message: &message,
            ts,
        };

        if text.len() > 1 {
            text.push(',');
        }
        let entry = serde_json::to_string(&entry).expect("texts and numbers have a JSON form");
        text.push_str(&entry);
    }

    text.push(']');
    text
}

/// The lines without their ends; the last one may lack it.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_lines_or_a_piece_of_a_long_one_and_a_last_line_waits_for_its_end() {
        let check = |bytes: &[u8], open: usize, closed: usize| {
            let found = (batch_len(bytes, Tail::Open), batch_len(bytes, Tail::Closed));
            assert_eq!(found, (open, closed));
        };

        check(b"", 0, 0);
        check(b"a", 0, 1);
        check(b"a\nb", 2, 2);
        check(b"\n\n", 2, 2);
        check(&b"a\n".repeat(1_500), 2_000, 2_000);
        check(&vec![b'x'; BATCH_BYTES_MAX - 1], 0, BATCH_BYTES_MAX - 1);
        check(
            &vec![b'x'; BATCH_BYTES_MAX + 1],
            BATCH_BYTES_MAX,
            BATCH_BYTES_MAX,
        );
    }

    #[test]
    fn the_largest_batch_fits_into_a_line_of_the_protocol() {
        let origin = Origin {
            service: "s".repeat(64),
            level: Level::Error,
        };
        let mut bytes = vec![1; BATCH_BYTES_MAX - 1_000];
        bytes.extend_from_slice(&b"\n".repeat(1_000));
        bytes.truncate(batch_len(&bytes, Tail::Closed));
        let text = entries(&bytes, &origin, u64::MAX);
        assert!(text.len() < 1_000_000, "{}", text.len());

        let one = Origin {
            service: "s".into(),
            level: Level::Info,
        };
        assert_eq!(
            entries(b"a\r\n\n\xff", &one, 5),
            concat!(
                r#"[{"level":"info","service":"s","message":"a","ts":5},"#,
                r#"{"level":"info","service":"s","message":"","ts":5},"#,
                r#"{"level":"info","service":"s","message":"�","ts":5}]"#
            )
        );
    }
}
