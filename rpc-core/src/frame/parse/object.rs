//! The scanner of a line's object, for lines of both directions.

use std::borrow::Cow;
use std::ops::Range;

use crate::frame::json::scan::{RawStr, Scanner, SyntaxError};

/// One field of a line's object.
pub(super) struct Member<'a> {
    /// The key without its escapes. Empty where it is not Unicode text, which is no known field's name.
    pub(super) name: Cow<'a, [u8]>,
    /// The value as written in the line.
    pub(super) value: &'a [u8],
    /// The place of the value in the line.
    pub(super) range: Range<usize>,
}

/// Passes over a line that must be one JSON object, and hands each of its fields to `take` once the
/// field is whole.
///
/// # Errors
/// The first place at which the line is not one JSON object. What was whole before it has been taken.
pub(super) fn scan_object<'a>(
    line: &'a [u8],
    mut take: impl FnMut(Member<'a>),
) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(line);
    scanner.skip_white_space();
    if !scanner.take(b'{') {
        return scanner.error(why_no_object(&line[scanner.position()..]));
    }

    scanner.skip_white_space();
    if !scanner.take(b'}') {
        loop {
            let key = scanner.key()?;
            let start = scanner.position();
            let value = scanner.value(1)?;
            let range = start..scanner.position();

            scanner.skip_white_space();
            if scanner.peek().is_none() {
                // Before the field is taken: a number that ends with the line may go on.
                return scanner.error("the line ends inside the object");
            }

            let name = name_of(key);
            take(Member { name, value, range });

            if scanner.take(b'}') {
                break;
            }
            if !scanner.take(b',') {
                return scanner.error("expected ',' or '}' after a field");
            }
            scanner.skip_white_space();
        }
    }

    scanner.skip_white_space();
    match scanner.peek() {
        None => Ok(()),
        Some(b'{') => scanner.error("the line holds a second object; send one object per line"),
        Some(_) => scanner.error("unexpected text after the object"),
    }
}

fn why_no_object(rest: &[u8]) -> &'static str {
    match rest {
        [0xef, 0xbb, 0xbf, ..] => "it begins with a byte order mark, which must be left out",
        [b'[', ..] => "it begins with an array; send one object per line",
        _ => "it must be one JSON object",
    }
}

fn name_of(key: RawStr<'_>) -> Cow<'_, [u8]> {
    if !key.escaped {
        return Cow::Borrowed(key.bytes);
    }

    let name = key.decode().unwrap_or_default();
    Cow::Owned(name.into_owned().into_bytes())
}
