//! The segments of a text.

use rpc_core::api::sms::Encoding;

use super::gsm7;

/// Septets of a text that is sent in one segment, and of each segment of a longer one: a header of 6 bytes takes the
/// place of 7 septets.
const GSM7_ALONE: usize = 160;
const GSM7_EACH: usize = 153;

/// The same in code units of UTF-16, of two bytes each.
const UCS2_ALONE: usize = 70;
const UCS2_EACH: usize = 67;

/// The encoding of a text, and the number of segments that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// GSM-7 if each character has a place in it.
    pub encoding: Encoding,
    /// The number of segments, 1 or more. An empty text takes one.
    pub segments: u32,
}

impl Layout {
    /// The layout of a text. A segment never ends within an escape sequence or a surrogate pair; characters that
    /// are made of several code points may be split between them.
    ///
    /// ```
    /// use rpc_sms::text::{Encoding, Layout};
    ///
    /// let layout = Layout::of("Your code is 4711");
    /// assert_eq!((layout.encoding, layout.segments), (Encoding::Gsm7, 1));
    /// ```
    pub fn of(text: &str) -> Self {
        if let Some(segments) = segments(text, gsm7::septets, GSM7_ALONE, GSM7_EACH) {
            return Self {
                encoding: Encoding::Gsm7,
                segments,
            };
        }

        let units = |character: char| Some(character.len_utf16());
        let segments = segments(text, units, UCS2_ALONE, UCS2_EACH);
        Self {
            encoding: Encoding::Ucs2,
            segments: segments.expect("UTF-16 has every character"),
        }
    }
}

/// The number of segments; `None` if a character has no size. A character stays in one segment.
fn segments(
    text: &str,
    size: impl Fn(char) -> Option<usize>,
    alone: usize,
    each: usize,
) -> Option<u32> {
    let (mut total, mut full, mut used) = (0, 0, 0);

    for character in text.chars() {
        let size = size(character)?;
        total += size;
        if used + size > each {
            full += 1;
            used = 0;
        }
        used += size;
    }

    Some(if total <= alone { 1 } else { full + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, encoding: Encoding, segments: u32) {
        let expected = Layout { encoding, segments };
        assert_eq!(
            Layout::of(text),
            expected,
            "{} characters",
            text.chars().count()
        );
    }

    #[test]
    fn a_text_of_the_gsm_alphabet_has_160_septets_alone_and_153_in_each_segment() {
        check("", Encoding::Gsm7, 1);
        check(&"a".repeat(160), Encoding::Gsm7, 1);
        check(&"a".repeat(161), Encoding::Gsm7, 2);
        check(&"a".repeat(306), Encoding::Gsm7, 2);
        check(&"a".repeat(307), Encoding::Gsm7, 3);
        check(&"€".repeat(80), Encoding::Gsm7, 1);
        check(&"€".repeat(81), Encoding::Gsm7, 2);
    }

    #[test]
    fn an_escape_sequence_is_not_split() {
        // 152 septets and an escape: the escape moves to the second segment, which leaves it 151.
        let text = format!("{}€{}", "a".repeat(152), "a".repeat(151));
        check(&text, Encoding::Gsm7, 2);
        check(&format!("{text}a"), Encoding::Gsm7, 3);

        // In one segment nothing is split.
        check(
            &format!("{}€{}", "a".repeat(152), "a".repeat(6)),
            Encoding::Gsm7,
            1,
        );
    }

    #[test]
    fn any_other_text_has_70_code_units_alone_and_67_in_each_segment() {
        check("ç", Encoding::Ucs2, 1);
        check(&"中".repeat(70), Encoding::Ucs2, 1);
        check(&"中".repeat(71), Encoding::Ucs2, 2);
        check(&"中".repeat(134), Encoding::Ucs2, 2);
        check(&"中".repeat(135), Encoding::Ucs2, 3);
    }

    #[test]
    fn a_surrogate_pair_is_not_split() {
        let text = format!("{}😀{}", "中".repeat(66), "中".repeat(65));
        check(&text, Encoding::Ucs2, 2);
        check(&format!("{text}中"), Encoding::Ucs2, 3);
        check(&"😀".repeat(35), Encoding::Ucs2, 1);
        check(&"😀".repeat(36), Encoding::Ucs2, 2);
        // 33 pairs fit into 67 units.
        check(&"😀".repeat(66), Encoding::Ucs2, 2);
        check(&"😀".repeat(67), Encoding::Ucs2, 3);
    }
}
