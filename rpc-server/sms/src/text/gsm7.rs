//! The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038, 6.2.1 and 6.2.1.1).

/// The default alphabet: a character's place in the table is its code. `\u{1b}` is the escape to the extension table,
/// and stands for no character.
const DEFAULT: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', //
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', ESCAPE, 'Æ', 'æ', 'ß', 'É', //
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/', //
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', //
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', //
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§', //
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', //
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// The extension table: each character is the escape and this code.
const EXTENSION: [(char, u8); 10] = [
    ('\u{c}', 0x0A),
    ('^', 0x14),
    ('{', 0x28),
    ('}', 0x29),
    ('\\', 0x2F),
    ('[', 0x3C),
    ('~', 0x3D),
    (']', 0x3E),
    ('|', 0x40),
    ('€', 0x65),
];

const ESCAPE: char = '\u{1b}';

/// The number of septets of a character: 1 in the default alphabet, 2 in the extension table, `None` in neither.
pub(super) fn septets(character: char) -> Option<usize> {
    // Nearly all characters of real texts: those of ASCII whose codes are their own.
    if matches!(character, 'a'..='z' | 'A'..='Z' | '0'..='9' | ' '..='#' | '%'..='?') {
        return Some(1);
    }

    if character != ESCAPE && DEFAULT.contains(&character) {
        return Some(1);
    }

    let is_extended = EXTENSION.iter().any(|(extended, _)| *extended == character);
    is_extended.then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_of_the_alphabet_is_there_once_and_has_its_septets() {
        let mut seen = std::collections::BTreeSet::new();
        for character in DEFAULT {
            assert!(seen.insert(character), "{character:?} stands twice");
            let expected = (character != ESCAPE).then_some(1);
            assert_eq!(septets(character), expected, "{character:?}");
        }

        for (character, code) in EXTENSION {
            assert!(seen.insert(character), "{character:?} stands twice");
            assert_eq!(septets(character), Some(2), "{character:?}");
            assert!(code < 128);
        }
        assert_eq!(seen.len(), 138);

        // Near ones that are not in it: the small c with cedilla, and what smartphones put into texts.
        for outside in ['ç', '`', 'Á', '’', '“', '–', '…', '\t', '\0', '中', '😀'] {
            assert_eq!(septets(outside), None, "{outside:?}");
        }
    }
}
