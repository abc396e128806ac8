//! Lines in and out of a byte stream.
//!
//! [`LineDecoder`] finds the end of a line in whatever has been read, from where it last stopped
//! looking, keeps the limit, and picks up the next line behind one that was too long. With the
//! feature `tokio-util`, [`LineCodec`] is the same as that crate's `Decoder` and `Encoder`.

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

#[cfg(feature = "tokio-util")]
mod tokio_codec {
    use bytes::{Buf, BufMut, Bytes, BytesMut};

    use super::{LineDecoder, Step};

    /// Whole lines over tokio-util's `Framed`: each item is a line without its line break.
    ///
    /// Empty lines come out as empty items. After [`LineError::TooLong`] the next item is the line
    /// behind the one that was too long.
    #[derive(Debug, Clone)]
    pub struct LineCodec {
        lines: LineDecoder,
        limit: usize,
    }

    /// Why a line could not be taken or sent.
    #[derive(Debug)]
    #[non_exhaustive]
    pub enum LineError {
        /// A line over the limit arrived.
        TooLong {
            /// The limit, in bytes.
            limit: usize,
        },
        /// A line to be sent holds a line break.
        LineBreak,
        /// The transport failed.
        Io(std::io::Error),
    }

    impl LineCodec {
        /// A codec for lines of up to `limit` bytes.
        pub fn new(limit: usize) -> Self {
            Self {
                lines: LineDecoder::new(limit),
                limit,
            }
        }
    }

    impl Default for LineCodec {
        fn default() -> Self {
            Self::new(super::FRAME_BYTES_MAX)
        }
    }

    impl tokio_util::codec::Decoder for LineCodec {
        type Item = Bytes;
        type Error = LineError;

        fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Bytes>, LineError> {
            match self.lines.step(source) {
                Step::Line { line, consumed } => {
                    let length = line.len();
                    let mut whole = source.split_to(consumed);

                    // The line stands at the end, before its line break; a line that was dropped
                    // may stand in front of it.
                    let line_break = if whole.ends_with(b"\r\n") { 2 } else { 1 };
                    whole.advance(consumed - line_break - length);
                    whole.truncate(length);
                    Ok(Some(whole.freeze()))
                }
                Step::TooLong { consumed, .. } => {
                    source.advance(consumed);
                    Err(LineError::TooLong { limit: self.limit })
                }
                Step::Partial { consumed } => {
                    source.advance(consumed);
                    Ok(None)
                }
            }
        }

        fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Bytes>, LineError> {
            let item = self.decode(source)?;
            if item.is_none() {
                // A part line at the end of the stream is not a frame, even if it is whole JSON.
                source.clear();
            }
            Ok(item)
        }
    }

    impl<T: AsRef<[u8]>> tokio_util::codec::Encoder<T> for LineCodec {
        type Error = LineError;

        fn encode(&mut self, line: T, out: &mut BytesMut) -> Result<(), LineError> {
            let line = line.as_ref();
            if memchr::memchr(b'\n', line).is_some() {
                return Err(LineError::LineBreak);
            }

            out.reserve(line.len() + 1);
            out.put_slice(line);
            out.put_u8(b'\n');
            Ok(())
        }
    }

    impl std::fmt::Display for LineError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Self::TooLong { limit } => {
                    write!(f, "a line is longer than the limit of {limit} bytes")
                }
                Self::LineBreak => f.write_str("a line to be sent holds a line break"),
                Self::Io(error) => error.fmt(f),
            }
        }
    }

    impl std::error::Error for LineError {}

    impl From<std::io::Error> for LineError {
        fn from(error: std::io::Error) -> Self {
            Self::Io(error)
        }
    }

    #[cfg(test)]
    mod tests {
        use tokio_util::codec::{Decoder, Encoder};

        use super::*;

        #[test]
        fn lines_come_out_as_they_went_in_and_a_long_one_is_skipped() {
            let mut codec = LineCodec::new(4);
            let mut wire = BytesMut::new();
            for line in ["abcd", "", "abcde", "x"] {
                codec.encode(line, &mut wire).unwrap();
            }
            wire.extend_from_slice(b"y\r\npart");

            assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), "abcd");
            assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), "");
            assert!(matches!(
                codec.decode(&mut wire),
                Err(LineError::TooLong { limit: 4 })
            ));
            assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), "x");
            assert_eq!(codec.decode(&mut wire).unwrap().unwrap(), "y");
            assert!(codec.decode(&mut wire).unwrap().is_none());
            assert!(codec.decode_eof(&mut wire).unwrap().is_none());
            assert!(wire.is_empty());

            assert!(matches!(
                codec.encode("a\nb", &mut wire),
                Err(LineError::LineBreak)
            ));
        }
    }
}

#[cfg(feature = "tokio-util")]
pub use tokio_codec::{LineCodec, LineError};

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
}
