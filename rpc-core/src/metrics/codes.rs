//! The places of codes in an array of counters.

use std::collections::BTreeMap;

use crate::status::Code;

/// The canonical codes, and one place for all codes of services.
pub const CODES: usize = LAST as usize + 1;

const LAST: u8 = 17;

/// Counts that are not zero, by the name of a code.
pub type Counts = BTreeMap<&'static str, u64>;

/// The place of a code.
pub fn code_index(code: Code) -> u8 {
    // The last place is that of all codes of services.
    u8::try_from(code.number()).unwrap_or(u8::MAX).min(LAST)
}

/// The name of a code by its place; the last one is that of all codes of services.
pub fn name_of(code: usize) -> &'static str {
    let number = u32::try_from(code).unwrap_or(u32::MAX);
    Code::new(number).name().unwrap_or("OF_SERVICES")
}

/// Counts in the order of their places, by name.
pub fn by_name(counts: impl Iterator<Item = u64>) -> Counts {
    (0..)
        .map(name_of)
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_canonical_code_has_a_place_and_all_others_share_the_last_one() {
        for number in 0..17 {
            let code = Code::new(number);
            assert_eq!(u32::from(code_index(code)), number);
            assert_eq!(Some(name_of(number as usize)), code.name());
        }

        for number in [17, 999, 1000, u32::MAX] {
            assert_eq!(usize::from(code_index(Code::new(number))), CODES - 1);
        }
        assert_eq!(name_of(CODES - 1), "OF_SERVICES");
    }
}
