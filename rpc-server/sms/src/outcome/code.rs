//! Codes of providers: what of them may be kept and shown.

/// Longest code, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// Longest run of digits. A longer one might be a phone's number.
const DIGITS_MAX: usize = 7;

/// Whether a text is a code that may be kept and shown: a word without a long number. Anything else might be the phone's
/// number or the text of a message, which providers repeat in what they answer.
pub fn is_code(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    let digits = text.split(|character: char| !character.is_ascii_digit());

    (1..=CODE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(is_word)
        && digits.map(str::len).max().unwrap_or(0) <= DIGITS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_word_and_no_phones_number() {
        for code in [
            "30005",
            "isv.BUSINESS_LIMIT_CONTROL",
            "DELIVRD:0",
            "EC_ABSENT-SUBSCRIBER",
        ] {
            assert!(is_code(code), "{code}");
        }
        for other in [
            "",
            "your code",
            "+30005",
            "13800138000",
            "to:13800138000",
            "短信",
            &"a".repeat(65),
        ] {
            assert!(!is_code(other), "{other}");
        }
    }
}
