//! Text from elsewhere, made safe to show.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;

/// Code points that steer a terminal, begin a line, turn the direction of text around or are not seen at all.
/// Each is below U+10000, so that JSON escapes it as one `\uXXXX`.
const UNPRINTABLE: [RangeInclusive<char>; 7] = [
    '\0'..='\u{1f}',         // C0 controls
    '\u{7f}'..='\u{9f}',     // delete, C1 controls
    '\u{61c}'..='\u{61c}',   // Arabic letter mark
    '\u{200b}'..='\u{200f}', // zero-width characters, marks of direction
    '\u{2028}'..='\u{202e}', // separators of lines and paragraphs, embeddings, overrides
    '\u{2066}'..='\u{2069}', // isolates
    '\u{feff}'..='\u{feff}', // byte order mark
];

/// Whether a character may go to a terminal or into a log as it is: it is no control character, no separator of
/// lines, no mark of direction, and has a width.
///
/// ```
/// use rpc_core::printable::is_printable;
///
/// assert!(is_printable('é') && is_printable('\\'));
/// assert!(!is_printable('\n') && !is_printable('\u{9b}') && !is_printable('\u{202e}'));
/// ```
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c => !UNPRINTABLE.iter().any(|range| range.contains(&c)),
    }
}

/// Text from elsewhere, for a log: what is not [printable](is_printable) is escaped, and so is the
/// backslash.
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
                c if is_printable(c) => f.write_char(c)?,
                c => write!(f, "{}", c.escape_default())?,
            }
        }
        Ok(())
    }
}

/// One JSON value as text from elsewhere, for a terminal: JSON of the same meaning on one line. What is not
/// [printable](is_printable) is written as `\uXXXX`, which is possible because it occurs in strings alone; white space
/// between values is written as spaces.
///
/// ```
/// use rpc_core::printable::PrintableJson;
///
/// let json = PrintableJson("{\"a\":\n\"\u{9b}2J\"}").to_string();
/// assert_eq!(json, r#"{"a": "\u009b2J"}"#);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PrintableJson<'a>(pub &'a str);

impl fmt::Display for PrintableJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                // Within a string, JSON has these as escapes only.
                '\t' | '\n' | '\r' => f.write_char(' ')?,
                c if is_printable(c) => f.write_char(c)?,
                c => write!(f, "\\u{:04x}", u32::from(c))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last code points of what is never shown.
    const TABLE: [(u32, u32); 10] = [
        (0x00, 0x1f),
        (0x7f, 0x7f),
        (0x80, 0x9f),
        (0x61c, 0x61c),
        (0x200b, 0x200f),
        (0x2028, 0x2028),
        (0x2029, 0x2029),
        (0x202a, 0x202e),
        (0x2066, 0x2069),
        (0xfeff, 0xfeff),
    ];

    #[test]
    fn each_code_point_of_the_table_is_escaped_and_no_other_one() {
        for c in '\0'..=char::MAX {
            let is_listed = TABLE
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&u32::from(c)));
            assert_eq!(is_printable(c), !is_listed, "{:x}", u32::from(c));

            let mut text = [0; 4];
            let text = c.encode_utf8(&mut text);
            let as_it_is = Printable(text).to_string() == *text;
            assert_eq!(as_it_is, !is_listed && c != '\\', "{:x}", u32::from(c));
        }
    }

    #[test]
    fn text_of_others_stays_on_its_line_and_away_from_the_terminal() {
        let text = "a\nb\r\u{1b}[31mred\u{7}\u{2028}\u{202e}\\n é 漢";
        let shown = Printable(text).to_string();

        assert_eq!(
            shown,
            "a\\nb\\r\\u{1b}[31mred\\u{7}\\u{2028}\\u{202e}\\\\n é 漢"
        );
    }

    #[test]
    fn json_for_a_terminal_is_printable_and_means_the_same() {
        // What JSON may hold unescaped: everything but the C0 controls.
        let unescaped = TABLE
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .filter_map(char::from_u32)
            .filter(|c| *c >= ' ');
        let value: String = unescaped.chain("é\\\"\n".chars()).collect();
        let json = format!(
            "{{\"a\":\r\n\t[{}]}}",
            serde_json::to_string(&value).unwrap()
        );

        let shown = PrintableJson(&json).to_string();

        assert!(shown.chars().all(is_printable), "{shown}");
        let [before, after] =
            [&json, &shown].map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap());
        assert_eq!(before, after);
    }
}
