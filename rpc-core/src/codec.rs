//! Lines out of a byte stream, and objects out of one that has no line breaks.
//!
//! [`LineDecoder`] finds the end of a line in whatever has been read, from where it last stopped
//! looking, keeps the limit, and picks up the next line behind one that was too long.

mod objects;

pub use objects::{NoObject, ObjectDecoder};

/// The default limit of a request line, without its line break: 1 MiB.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Cuts a stream of bytes into lines.
///
/// It owns no buffer: the caller shows it the bytes that it has not consumed yet, wherever they
/// lie, and drops as many from the front as it is told.
///
/// ```
/// use rpc_core::codec::{LineDecoder, Step};
///
/// let mut decoder = LineDecoder::new(16);
/// let bytes = b"{\"cmdid\":0}\r\n{\"cm";
/// let Step::Line { line, consumed } = decoder.step(bytes) else { panic!() };
/// assert_eq!((line, consumed), (&b"{\"cmdid\":0}"[..], 13));
/// assert_eq!(decoder.step(&bytes[consumed..]), Step::Partial { consumed: 0 });
/// ```
#[derive(Debug, Clone)]
pub struct LineDecoder {
    limit: usize,
    /// How many bytes at the front are known to hold no line break.
    searched: usize,
    /// Whether the line under way is over the limit and is being dropped.
    discarding: bool,
}

/// What the bytes shown to a [`LineDecoder`] begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'b> {
    /// A line, without its line break; empty for a heartbeat.
    Line {
        /// The line.
        line: &'b [u8],
        /// How many bytes to drop from the front.
        consumed: usize,
    },
    /// A line over the limit. Reported once; what follows of it is dropped.
    TooLong {
        /// The beginning of the line, `limit` bytes of it.
        start: &'b [u8],
        /// How many bytes to drop from the front.
        consumed: usize,
    },
    /// No whole line; show these bytes again with more behind them.
    Partial {
        /// How many bytes to drop from the front: those of a line that is being dropped.
        consumed: usize,
    },
}

impl LineDecoder {
    /// A decoder that takes lines of up to `limit` bytes, the line break not counted.
    pub fn new(limit: usize) -> Self {
        // No text is longer, and two more bytes can always be added.
        let limit = limit.min(isize::MAX as usize - 2);
        Self {
            limit,
            searched: 0,
            discarding: false,
        }
    }

    /// Whether the line under way was too long, and the rest of it is being dropped.
    pub fn is_skipping(&self) -> bool {
        self.discarding
    }

    /// Says that the first `length` of the bytes that are not consumed yet hold no line break, so that the next
    /// [`step`](Self::step), which must be shown all of them, begins to search behind them.
    pub fn skip_searched(&mut self, length: usize) {
        if !self.discarding {
            self.searched = length.min(self.limit.saturating_add(2));
        }
    }

    /// Looks at the bytes that are not consumed yet.
    pub fn step<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        if self.discarding {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                return Step::Partial {
                    consumed: bytes.len(),
                };
            };

            self.discarding = false;
            return match self.step(&bytes[end + 1..]) {
                Step::Line { line, consumed } => Step::Line {
                    line,
                    consumed: consumed + end + 1,
                },
                Step::TooLong { start, consumed } => Step::TooLong {
                    start,
                    consumed: consumed + end + 1,
                },
                Step::Partial { consumed } => Step::Partial {
                    consumed: consumed + end + 1,
                },
            };
        }

        // A line of `limit` bytes may have "\r\n" behind it.
        let window = &bytes[..bytes.len().min(self.limit.saturating_add(2))];
        if let Some(found) = memchr::memchr(b'\n', &window[self.searched..]) {
            let end = self.searched + found;
            self.searched = 0;
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            let consumed = end + 1;

            return if line.len() > self.limit {
                Step::TooLong {
                    start: &line[..self.limit],
                    consumed,
                }
            } else {
                Step::Line { line, consumed }
            };
        }

        let over = window.len() > self.limit && window[self.limit] != b'\r'
            || window.len() > self.limit + 1;
        if over {
            self.searched = 0;
            self.discarding = true;
            return Step::TooLong {
                start: &bytes[..self.limit],
                consumed: window.len(),
            };
        }

        self.searched = window.len();
        Step::Partial { consumed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces cut at `cuts`, the way a connection does, and says what came out.
    fn run(wire: &[u8], limit: usize, mut piece: impl FnMut() -> usize) -> Vec<String> {
        let mut decoder = LineDecoder::new(limit);
        let (mut held, mut rest, mut seen) = (Vec::new(), wire, Vec::new());

        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
            held.extend_from_slice(now);
            rest = later;

            loop {
                let consumed = match decoder.step(&held) {
                    Step::Line { line, consumed } => {
                        seen.push(String::from_utf8(line.to_vec()).unwrap());
                        consumed
                    }
                    Step::TooLong { start, consumed } => {
                        assert_eq!(start.len(), limit);
                        seen.push("too long".into());
                        consumed
                    }
                    Step::Partial { consumed } => {
                        held.drain(..consumed);
                        break;
                    }
                };

                held.drain(..consumed);
            }

            assert!(held.len() <= limit + 1, "memory stays at the limit");
        }

        seen
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_lines() {
        let wire = b"abc\n\nabcd\r\nabcde\nabcd\n\r\nabcdefghijkl\nabcd\rx\nab\rc\nx";
        let lines = [
            "abc", "", "abcd", "too long", "abcd", "", "too long", "too long", "ab\rc",
        ];

        assert_eq!(run(wire, 4, || wire.len()), lines);
        assert_eq!(run(wire, 4, || 1), lines);

        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..1000 {
            assert_eq!(run(wire, 4, || random.usize(1..7)), lines);
        }
    }

    #[test]
    fn it_goes_on_looking_where_it_stopped() {
        let mut decoder = LineDecoder::new(100);
        assert_eq!(decoder.step(b"abc"), Step::Partial { consumed: 0 });
        assert_eq!(decoder.searched, 3);

        assert_eq!(
            decoder.step(b"abcd\n"),
            Step::Line {
                line: b"abcd",
                consumed: 5
            }
        );
        assert_eq!(decoder.searched, 0);
    }

    #[test]
    fn it_does_not_search_what_its_user_has_searched() {
        let mut decoder = LineDecoder::new(4);
        decoder.skip_searched(3);
        assert_eq!(decoder.searched, 3);
        assert_eq!(
            decoder.step(b"abcd\n"),
            Step::Line {
                line: b"abcd",
                consumed: 5
            }
        );

        // Of a line that is too long, no more than the limit is looked at.
        decoder.skip_searched(9);
        assert!(matches!(
            decoder.step(b"123456789\nabc\n"),
            Step::TooLong { consumed: 6, .. }
        ));

        // The rest of it is dropped, whatever its user says.
        decoder.skip_searched(3);
        assert_eq!(
            decoder.step(b"789\nabc\n"),
            Step::Line {
                line: b"abc",
                consumed: 8
            }
        );
    }
}
