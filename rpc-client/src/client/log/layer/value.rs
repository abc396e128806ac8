//! Values of fields as JSON.

use std::fmt::{self, Debug, Write};

use serde::Serialize;

/// Bytes of a text that are kept.
pub(super) const TEXT_BYTES_MAX: usize = 65_536;

/// Appends a text as JSON, or its beginning if it is too long.
pub(super) fn push_text(buffer: &mut Vec<u8>, text: &str) {
    let end = boundary(text, TEXT_BYTES_MAX);
    serde_json::to_writer(buffer, &text[..end]).expect("a text has a JSON form");
}

/// The largest end of a beginning of the text that has no more bytes than this.
fn boundary(text: &str, bytes_max: usize) -> usize {
    if text.len() <= bytes_max {
        return text.len();
    }

    let mut ends = (0..=bytes_max).rev();
    ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

/// Appends a number, or another value that is written as it is.
pub(super) fn push_number(buffer: &mut Vec<u8>, number: &impl Serialize) {
    serde_json::to_writer(buffer, number).expect("a number has a JSON form");
}

/// Appends a number; one that JSON does not have, as infinity, as a text.
pub(super) fn push_float(buffer: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        push_number(buffer, &number);
    } else {
        push_text(buffer, &number.to_string());
    }
}

/// Writes the text of a value behind the one that is there, up to the length that is kept.
pub(super) fn format_into(text: &mut String, value: &dyn Debug) {
    let mut bounded = Bounded { text };
    // An error says that the text is long enough, or that the value cannot be written any further.
    let _ = write!(bounded, "{value:?}");
}

struct Bounded<'a> {
    text: &'a mut String,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        let end = boundary(part, room);
        self.text.push_str(&part[..end]);
        if end < part.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}
