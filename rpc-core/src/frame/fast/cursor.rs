//! The place in a line up to which it has been read.

/// The rest of a line, which begins with what is not read yet.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl Cursor<'_> {
    /// Goes past `expected`, if it comes next. Inlined, as what follows: with the length known, this
    /// is one comparison or two.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a fifth of the whole")]
    pub(super) fn take(&mut self, expected: &[u8]) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// The integer behind `key` if that comes next, up to its comma. `None` where the value is not
    /// plain: more than 16 digits, a sign, a leading zero, anything above `max`.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see above")]
    #[allow(
        clippy::option_option,
        reason = "no such key is not the same as no such line"
    )]
    pub(super) fn integer_of(&mut self, key: &[u8], max: u64) -> Option<Option<u64>> {
        if !self.take(key) {
            return Some(None);
        }

        // Python's `json` puts a space behind each colon and comma.
        self.take(b" ");

        let mut value = 0;
        let mut length = 0;

        // 17 digits fit, and are too many.
        for byte in self.0.iter().take(17) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + u64::from(digit);
            length += 1;
        }

        let has_leading_zero = length > 1 && self.0[0] == b'0';
        self.0 = &self.0[length..];
        let is_plain =
            matches!(length, 1..=16) && !has_leading_zero && value <= max && self.take(b",");

        self.take(b" ");
        is_plain.then_some(Some(value))
    }

    /// Whether `key` comes next, with `true` up to its comma. `None` where it has another value, which is seldom written.
    pub(super) fn truth_of(&mut self, key: &[u8]) -> Option<bool> {
        if !self.take(key) {
            return Some(false);
        }

        self.take(b" ");
        self.take(b"true,").then_some(())?;
        self.take(b" ");
        Some(true)
    }
}
