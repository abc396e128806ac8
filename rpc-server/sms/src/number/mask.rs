//! Numbers as people may see them.

use std::fmt;

/// National numbers with fewer digits show only their last two: three digits and the last four would leave too
/// little hidden.
const SHORT_DIGITS: usize = 10;

/// Writes a number masked: `+86138****8000`, or `+354****34` where it is short. The number of asterisks tells nothing
/// of the number of digits.
pub(super) fn write(f: &mut fmt::Formatter<'_>, calling_code: &str, national: &str) -> fmt::Result {
    let (shown, last) = match national.len() {
        SHORT_DIGITS.. => (3, 4),
        _ => (0, 2),
    };

    let (first, rest) = national.split_at(shown);
    let last = &rest[rest.len().saturating_sub(last)..];
    write!(f, "+{calling_code}{first}****{last}")
}
