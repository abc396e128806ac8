//! Objects out of a byte stream that has no line breaks between them.

use super::Step;

/// Cuts a stream of bytes into JSON objects, each of which ends with its own last bracket.
///
/// For servers that end a reply with nothing, as tornado-TCP's handlers do. Only brackets and strings are looked at, so that
/// an object is found whose content is wrong; strings may be in single quotes too, as Python prints them. Like
/// [`LineDecoder`](super::LineDecoder) it owns no buffer.
///
/// ```
/// use rpc_core::codec::{ObjectDecoder, Step};
///
/// let mut decoder = ObjectDecoder::new(64);
/// let bytes = br#"{"code":0,"data":"}"}{"co"#;
/// let Ok(Step::Line { line, consumed }) = decoder.step(bytes) else { panic!() };
/// assert_eq!((line, consumed), (&br#"{"code":0,"data":"}"}"#[..], 21));
/// assert_eq!(decoder.step(&bytes[consumed..]), Ok(Step::Partial { consumed: 0 }));
/// assert!(decoder.step(b"ok").is_err(), "no bracket would say where it ends");
/// ```
#[derive(Debug, Clone)]
pub struct ObjectDecoder {
    limit: usize,
    /// How many bytes at the front have been looked at.
    searched: usize,
    depth: usize,
    text: Text,
}

/// Bytes that begin no object, so that nothing says where they end: the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoObject(pub u8);

/// Whether a string is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Outside,
    Inside {
        quote: u8,
    },
    /// Behind a backslash.
    Escaped {
        quote: u8,
    },
}

impl ObjectDecoder {
    /// A decoder that takes objects of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            searched: 0,
            depth: 0,
            text: Text::Outside,
        }
    }

    /// Looks at the bytes that are not consumed yet. [`Step::Line`] is an object, [`Step::TooLong`] the beginning of one that
    /// has more bytes than the limit, behind which nothing can be found any more.
    ///
    /// # Errors
    /// Bytes that begin no object.
    pub fn step<'b>(&mut self, bytes: &'b [u8]) -> Result<Step<'b>, NoObject> {
        let start = self.start_of_object(bytes);
        let object = &bytes[start..];
        match object.first() {
            None => return Ok(Step::Partial { consumed: start }),
            Some(b'{') => {}
            Some(&first) => return Err(NoObject(first)),
        }

        let window = &object[..object.len().min(self.limit)];
        for (at, &byte) in window.iter().enumerate().skip(self.searched) {
            self.text = self.text.behind(byte);
            match byte {
                b'{' | b'[' if self.text == Text::Outside => self.depth += 1,
                b'}' | b']' if self.text == Text::Outside => self.depth -= 1,
                _ => continue,
            }

            if self.depth == 0 {
                self.searched = 0;
                return Ok(Step::Line {
                    line: &object[..=at],
                    consumed: start + at + 1,
                });
            }
        }

        self.searched = window.len();
        Ok(if object.len() > self.limit {
            Step::TooLong {
                start: window,
                consumed: bytes.len(),
            }
        } else {
            Step::Partial { consumed: start }
        })
    }

    /// The first byte behind white space, where no object is under way.
    fn start_of_object(&self, bytes: &[u8]) -> usize {
        let is_white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.searched {
            0 => bytes.iter().take_while(|&byte| is_white(byte)).count(),
            _ => 0,
        }
    }
}

impl Text {
    /// The same behind another byte.
    fn behind(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"' | b'\'') => Self::Inside { quote: byte },
            (Self::Outside, _) => self,
            (Self::Inside { quote }, b'\\') => Self::Escaped { quote },
            (Self::Inside { quote }, _) if byte == quote => Self::Outside,
            (Self::Inside { quote } | Self::Escaped { quote }, _) => Self::Inside { quote },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of these bytes, in pieces of a random size of at most `piece`.
    fn run(wire: &str, limit: usize, piece: usize) -> Vec<String> {
        let mut random = fastrand::Rng::with_seed(3);
        let mut decoder = ObjectDecoder::new(limit);
        let (mut held, mut rest, mut seen) = (Vec::new(), wire.as_bytes(), Vec::new());

        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.usize(1..=piece).min(rest.len()));
            held.extend_from_slice(now);
            rest = later;

            loop {
                let consumed = match decoder.step(&held) {
                    Ok(Step::Line { line, consumed }) => {
                        seen.push(String::from_utf8(line.to_vec()).unwrap());
                        consumed
                    }
                    Ok(Step::Partial { consumed }) => {
                        held.drain(..consumed);
                        break;
                    }
                    Ok(Step::TooLong { start, .. }) => {
                        assert_eq!(start.len(), limit);
                        seen.push("too long".into());
                        return seen;
                    }
                    Err(NoObject(first)) => {
                        seen.push(format!("no object: {}", first.escape_ascii()));
                        return seen;
                    }
                };
                held.drain(..consumed);
            }
        }

        seen
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_objects() {
        let objects = [
            r#"{"code":0}"#,
            r#"{"code":0,"data":"}{ \" \\"}"#,
            r#"{"data":[{"a":[]},"]"]}"#,
            r"{'code':0}",
            r#"{'it': "it's", 'they': '\'}'}"#,
        ];
        let wire = objects.join("") + " \r\n" + &objects.join("\n");
        let expected = [objects, objects].concat();

        for piece in [1, 3, 7, 1000] {
            assert_eq!(run(&wire, 100, piece), expected);
        }
    }

    #[test]
    fn what_begins_no_object_and_one_over_the_limit_are_told() {
        for piece in [1, 1000] {
            assert_eq!(
                run("{\"a\":1}ok{}", 100, piece),
                ["{\"a\":1}", "no object: o"]
            );
            assert_eq!(run("\n[1]", 100, piece), ["no object: ["]);
            assert_eq!(run("{}{\"a\":\"}}}", 7, piece), ["{}", "too long"]);
            assert_eq!(run("{\"a\":1}", 7, piece), ["{\"a\":1}"]);
        }
    }
}
