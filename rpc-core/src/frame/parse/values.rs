//! Values of fields, already known to be valid JSON.

use crate::frame::json::scan::{RawStr, Scanner, SyntaxError};

/// A JSON integer without sign, fraction or exponent.
pub(super) fn integer(value: &[u8]) -> Option<u64> {
    if !value.first()?.is_ascii_digit() {
        return None;
    }

    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What Python's `int(...)` makes of a number or a string, as tornado-TCP takes `cmdid` and
/// `timestamp`: a float is truncated, a string may have a sign and white space around its digits.
pub(super) fn lenient_integer(value: &[u8]) -> Option<i128> {
    let value = std::str::from_utf8(value).ok()?;
    if let Some(inner) = value.strip_prefix('"') {
        let inner = RawStr {
            bytes: inner.strip_suffix('"')?.as_bytes(),
            escaped: inner.contains('\\'),
        };
        let text = inner.decode()?;

        let digits = text.trim_ascii();
        let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        let plain = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        return plain.then(|| digits.parse().ok()).flatten();
    }

    if !value.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }

    if let Ok(integer) = value.parse() {
        return Some(integer);
    }

    let float = value.parse::<f64>().ok()?.trunc();

    // Far outside of both fields' ranges, and exact in an i128.
    #[allow(clippy::cast_possible_truncation)]
    (float.abs() < 1e30).then_some(float as i128)
}

pub(super) fn is_object_of_strings(value: &[u8]) -> bool {
    let mut scanner = Scanner::new(value);
    let mut strings = || -> Result<bool, SyntaxError> {
        if !scanner.take(b'{') {
            return Ok(false);
        }

        scanner.skip_white_space();
        while scanner.peek() == Some(b'"') {
            scanner.key()?;
            if scanner.peek() != Some(b'"') {
                return Ok(false);
            }

            scanner.string()?;
            scanner.skip_white_space();
            scanner.take(b',');
            scanner.skip_white_space();
        }

        Ok(true)
    };

    // The value was scanned before: it is valid JSON.
    strings().unwrap_or(false)
}

/// A wrong value in words that fit a message: the text of a short scalar, the kind of the rest.
pub(super) fn shown(value: &[u8]) -> String {
    match value.first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b'"') if value.len() > 34 => "a long string".into(),
        Some(b'"') => format!("the string {}", String::from_utf8_lossy(value)),
        Some(_) if value.len() > 34 => "a long number".into(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

pub(super) fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

pub(super) fn string(value: &[u8]) -> Option<RawStr<'_>> {
    let bytes = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(RawStr {
        bytes,
        escaped: bytes.contains(&b'\\'),
    })
}
