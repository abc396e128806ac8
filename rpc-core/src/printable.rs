//! Text from elsewhere, made safe to show.

use std::fmt::{self, Write as _};

/// Text from elsewhere, for a log or a terminal: what could begin a line of its own, turn the direction of
/// the text around, or steer a terminal is escaped, and so is the backslash.
///
/// ```
/// use rpc_core::printable::Printable;
///
/// assert_eq!(Printable("one\ntwo").to_string(), "one\\ntwo");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether this separates lines, marks a direction, or is the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{2028}'
            | '\u{2029}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_on_its_line_and_away_from_the_terminal() {
        let text = "a\nb\r\u{1b}[31mred\u{7}\u{2028}\u{202e}\\n é 漢";
        let shown = Printable(text).to_string();

        assert_eq!(
            shown,
            "a\\nb\\r\\u{1b}[31mred\\u{7}\\u{2028}\\u{202e}\\\\n é 漢"
        );
    }
}
