//! One pass over the bytes of a line: is it JSON, and where do the members of its object lie?
//!
//! `serde_json`'s `RawValue` would find the members too, but checks neither depth nor UTF-8 the way
//! the protocol asks, recurses, and loses the `id` of a line that breaks further on. The scanner
//! does not recurse: which containers are open is one bit each in a `u128`, so 128 levels cost
//! nothing and the 129th is an error.

use std::borrow::Cow;

/// The deepest nesting of a frame; the frame's own object counts as one.
pub(crate) const DEPTH_MAX: u32 = 128;

/// The reason why a line is not JSON: what is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

/// A JSON string as written in the line, without its quotes.
#[derive(Clone, Copy)]
pub(crate) struct RawStr<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) escaped: bool,
}

impl<'a> RawStr<'a> {
    /// The text, unescaped where needed; `None` for a lone surrogate or for bytes that are not
    /// UTF-8.
    pub(crate) fn decode(self) -> Option<Cow<'a, str>> {
        let text = std::str::from_utf8(self.bytes).ok()?;
        if !self.escaped {
            return Some(Cow::Borrowed(text));
        }

        serde_json::from_str(&format!("\"{text}\""))
            .ok()
            .map(Cow::Owned)
    }
}

pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn error<T>(&self, what: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { what, at: self.at })
    }

    pub(crate) fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes a key, the colon behind it and the white space on both sides.
    pub(crate) fn key(&mut self) -> Result<RawStr<'a>, SyntaxError> {
        if self.peek() != Some(b'"') {
            return self.error("expected a key in double quotes");
        }

        let key = self.string()?;
        self.skip_white_space();
        if !self.take(b':') {
            return self.error("expected ':' after the key");
        }
        self.skip_white_space();
        Ok(key)
    }

    /// Takes a string; the next byte is its opening quote.
    pub(crate) fn string(&mut self) -> Result<RawStr<'a>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;

        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let bytes = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(RawStr { bytes, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    return self
                        .error("a control character in a string must be written as an escape");
                }
                None => return self.error("the string has no end"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.error("expected four hexadecimal digits after \\u");
                }
                self.at += 6;
            }
            _ => return self.error("unknown escape in a string"),
        }
        Ok(())
    }

    /// Skips one value of any kind and returns its bytes. `depth` is the number of containers that
    /// are open around it.
    pub(crate) fn value(&mut self, depth: u32) -> Result<&'a [u8], SyntaxError> {
        let start = self.at;

        // Bit n is set where the container n levels inside this value is an object.
        let mut objects: u128 = 0;
        let mut open: u32 = 0;

        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(bracket @ (b'{' | b'[')) => {
                    if depth + open >= DEPTH_MAX {
                        return self.error("nested deeper than 128");
                    }

                    self.at += 1;
                    self.skip_white_space();
                    let object = bracket == b'{';
                    if !self.take(if object { b'}' } else { b']' }) {
                        objects = objects << 1 | u128::from(object);
                        open += 1;
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(_) => return self.error("expected a JSON value"),
                None => return self.error("the line ends where a JSON value should be"),
            }

            // A value is complete; close what it closes.
            loop {
                if open == 0 {
                    return Ok(&self.bytes[start..self.at]);
                }

                self.skip_white_space();
                let object = objects & 1 == 1;
                if self.take(b',') {
                    self.skip_white_space();
                    if object {
                        self.key()?;
                    }
                    break;
                }

                if !self.take(if object { b'}' } else { b']' }) {
                    return self.error(if object {
                        "expected ',' or '}' in an object"
                    } else {
                        "expected ',' or ']' in an array"
                    });
                }

                objects >>= 1;
                open -= 1;
            }
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), SyntaxError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.error("expected a JSON value");
        }

        self.at += word.len();
        Ok(())
    }

    /// RFC 8259 section 6; any magnitude and any number of digits.
    fn number(&mut self) -> Result<(), SyntaxError> {
        self.take(b'-');
        if self.take(b'0') {
            if let Some(b'0'..=b'9') = self.peek() {
                return self.error("a number must not begin with 0");
            }
        } else {
            self.digits()?;
        }

        if self.take(b'.') {
            self.digits()?;
        }

        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }

        Ok(())
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }

        if self.at == start {
            self.error("expected a digit")
        } else {
            Ok(())
        }
    }
}

/// How many bytes at the front are neither a quote, a backslash nor a control character.
fn plain_prefix(bytes: &[u8]) -> usize {
    // Most strings end soon, and a long one is worth the larger steps.
    let (start, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES));
    let at = plain_words(start);
    if at < start.len() || rest.is_empty() {
        return at;
    }

    let blocks = rest.chunks_exact(BLOCK_BYTES);
    let at = at + BLOCK_BYTES * blocks.take_while(|block| is_plain(block)).count();
    at + plain_words(&bytes[at..])
}

/// Bytes of a long string that are looked at together.
const BLOCK_BYTES: usize = 64;

/// Whether a block has neither a quote, a backslash nor a control character. It has no branch, so that the compiler
/// takes many bytes at a time.
fn is_plain(block: &[u8]) -> bool {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let specials = block
        .iter()
        .fold(0, |any, byte| any | u8::from(is_special(byte)));
    specials == 0
}

/// The same as [`plain_prefix`], eight bytes at a time, since most bytes of a log call are inside strings.
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

    // The high bit of each byte of `word` that is zero. A borrow may set bits above a true hit,
    // never below one, and only the lowest is used.
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;

    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("the slice has eight bytes"));
        let quotes = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslashes = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;

        let hits = quotes | backslashes | controls;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }

    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    at + bytes[at..].iter().take_while(|byte| plain(byte)).count()
}

#[cfg(test)]
mod tests;
