//! Messages in a stream of bytes (RFC 6587): each begins with its length, or ends with a newline.

use memchr::memchr;

/// The most digits that a length has. More are the beginning of a message.
const DIGITS_MAX: usize = 9;

/// Cuts a stream into messages.
pub(super) struct Framer {
    bytes: Vec<u8>,
    /// Where in `bytes` the next message begins.
    at: usize,
    bytes_max: usize,
    skip: Skip,
}

/// What is left of a message that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    Nothing,
    Bytes(usize),
    ToNewline,
}

/// How a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its sender has closed it: a last line is whole without its newline.
    Closed,
    /// Its sender may have had more to send.
    Cut,
}

/// A message, as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framed {
    pub(super) bytes: Vec<u8>,
    /// Whether it was longer.
    pub(super) is_cut: bool,
}

/// How the next message is framed.
enum Head {
    /// The message has `length` bytes behind `head` bytes.
    Counted {
        head: usize,
        length: usize,
    },
    Line,
    /// More bytes tell.
    Unknown,
}

impl Framer {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            bytes_max,
            skip: Skip::Nothing,
        }
    }

    /// Adds what was read. Everything whole has to be taken before more is added: then it keeps a message at most.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is whole, or as long as one may be.
    pub(super) fn next(&mut self) -> Option<Framed> {
        loop {
            self.skip_rest();
            let rest = &self.bytes[self.at..];
            if rest.is_empty() {
                return None;
            }

            let framed = match head_of(rest) {
                Head::Unknown => return None,
                Head::Counted { head, length } => self.counted(head, length)?,
                Head::Line => self.line()?,
            };
            if !is_blank(&framed.bytes) {
                return Some(framed);
            }
        }
    }

    /// What is left when no more of the stream is read.
    pub(super) fn end(mut self, end: End) -> Option<Framed> {
        self.skip_rest();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (rest, is_cut) = match head_of(rest) {
            Head::Counted { head, .. } => (&rest[head..], true),
            Head::Line | Head::Unknown => (rest, end == End::Cut),
        };
        (!is_blank(rest)).then(|| Framed {
            bytes: rest.to_vec(),
            is_cut,
        })
    }

    fn skip_rest(&mut self) {
        let rest = &self.bytes[self.at..];
        match self.skip {
            Skip::Nothing => {}
            Skip::Bytes(missing) => {
                let skipped = missing.min(rest.len());
                self.at += skipped;
                self.skip = match missing - skipped {
                    0 => Skip::Nothing,
                    missing => Skip::Bytes(missing),
                };
            }
            Skip::ToNewline => {
                if let Some(newline) = memchr(b'\n', rest) {
                    self.at += newline + 1;
                    self.skip = Skip::Nothing;
                } else {
                    self.at = self.bytes.len();
                }
            }
        }
    }

    fn counted(&mut self, head: usize, length: usize) -> Option<Framed> {
        let rest = &self.bytes[self.at + head..];
        let taken = length.min(self.bytes_max);
        let bytes = rest.get(..taken)?.to_vec();

        self.at += head + taken;
        let missing = length - taken;
        if missing > 0 {
            self.skip = Skip::Bytes(missing);
        }
        Some(Framed {
            bytes,
            is_cut: missing > 0,
        })
    }

    fn line(&mut self) -> Option<Framed> {
        let rest = &self.bytes[self.at..];
        let newline = memchr(b'\n', rest).filter(|newline| *newline <= self.bytes_max);
        if newline.is_none() && rest.len() <= self.bytes_max {
            return None;
        }

        let length = newline.unwrap_or(self.bytes_max);
        let bytes = rest[..length].to_vec();
        self.at += length;
        match newline {
            Some(_) => self.at += 1,
            None => self.skip = Skip::ToNewline,
        }
        Some(Framed {
            bytes,
            is_cut: newline.is_none(),
        })
    }
}

/// A length is digits, a space and the `<` that every message begins with. Other digits are a message's own.
fn head_of(bytes: &[u8]) -> Head {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits == 0 || digits > DIGITS_MAX || bytes[0] == b'0' {
        return Head::Line;
    }

    match (bytes.get(digits), bytes.get(digits + 1)) {
        (None, _) | (Some(b' '), None) => Head::Unknown,
        (Some(b' '), Some(b'<')) => {
            let length = str::from_utf8(&bytes[..digits]).ok();
            match length.and_then(|length| length.parse().ok()) {
                Some(length) => Head::Counted {
                    head: digits + 1,
                    length,
                },
                None => Head::Line,
            }
        }
        _ => Head::Line,
    }
}

/// Empty lines are no messages: some senders put one behind each message.
fn is_blank(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| byte.is_ascii_whitespace() || *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 20;

    /// What comes of a stream, whichever pieces it is read in.
    fn framed(stream: &str) -> Vec<(String, bool)> {
        let cut = |step: usize| {
            let mut framer = Framer::new(MAX);
            let mut all = Vec::new();
            for piece in stream.as_bytes().chunks(step) {
                framer.push(piece);
                all.extend(std::iter::from_fn(|| framer.next()));
                assert!(framer.bytes.len() - framer.at <= MAX + DIGITS_MAX + 2);
            }
            all.extend(framer.end(End::Closed));
            let text = |framed: Framed| (String::from_utf8(framed.bytes).unwrap(), framed.is_cut);
            all.into_iter().map(text).collect::<Vec<_>>()
        };

        let whole = cut(stream.len().max(1));
        for step in 1..stream.len() {
            assert_eq!(cut(step), whole, "{stream:?} in pieces of {step}");
        }
        whole
    }

    fn check(stream: &str, expected: &[&str]) {
        let whole = expected.iter().map(|text| ((*text).to_owned(), false));
        assert_eq!(framed(stream), whole.collect::<Vec<_>>(), "{stream:?}");
    }

    #[test]
    fn messages_are_counted_or_end_with_a_newline_also_by_turns() {
        check("<1>a\n<2>b\r\n", &["<1>a", "<2>b\r"]);
        check("4 <1>a5 <2>\nb", &["<1>a", "<2>\nb"]);
        check("4 <1>a<2>b\n4 <3>c", &["<1>a", "<2>b", "<3>c"]);
        check("\n\n<1>a\n\n", &["<1>a"]);
        check("<1>a", &["<1>a"]);
        check("", &[]);
    }

    #[test]
    fn digits_that_are_no_length_begin_a_line() {
        check("12 monkeys\n", &["12 monkeys"]);
        check("0 <1>a\n", &["0 <1>a"]);
        check("1234567890 <1>a\n", &["1234567890 <1>a"]);
        check("12", &["12"]);
        check("12 ", &["12 "]);
    }

    #[test]
    fn what_is_too_long_is_cut_off_and_the_next_message_is_found() {
        let (long, cut) = (
            "<1>".to_owned() + &"x".repeat(50),
            "<1>".to_owned() + &"x".repeat(17),
        );
        let expected = [(cut, true), ("<2>b".to_owned(), false)];
        assert_eq!(framed(&format!("{long}\n<2>b\n")), expected);
        assert_eq!(framed(&format!("53 {long}4 <2>b")), expected);
        assert_eq!(framed(&format!("999999999 {long}")), expected[..1]);
        let just = "<1>".to_owned() + &"x".repeat(17);
        check(&format!("{just}\n<2>b\n"), &[&just, "<2>b"]);

        // One that the stream ends in.
        assert_eq!(framed("10 <1>a"), [("<1>a".to_owned(), true)]);
    }

    #[test]
    fn a_last_line_whose_sender_has_not_closed_the_stream_is_cut() {
        for (stream, expected) in [
            ("<1>a\n<2>b", Some("<2>b")),
            ("<1>a\n", None),
            ("<1>a\n\n", None),
        ] {
            let mut framer = Framer::new(MAX);
            framer.push(stream.as_bytes());
            assert_eq!(framer.next().unwrap().bytes, b"<1>a");

            let last = expected.map(|text| Framed {
                bytes: text.into(),
                is_cut: true,
            });
            assert_eq!(framer.end(End::Cut), last, "{stream:?}");
        }
    }
}
