//! Phone numbers: read, classified, and masked. The only room that knows the library behind it.

mod kind;
mod mask;

use std::error::Error;
use std::fmt;

use phonelib::{ParseError, PhoneNumber};

pub use kind::NumberKind;

/// Maximum length of a number as a caller writes it, in bytes.
const INPUT_BYTES_MAX: usize = 32;

/// A phone number in its international form.
///
/// It is valid by its country's plan: the calling code exists, and the number has a length that the plan knows. Ranges
/// that are not given out yet are not refused.
///
/// `Debug` shows it masked, so that no number gets into a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Number {
    /// With its `+`.
    e164: String,
    /// Digits of the calling code behind the `+`: of `+1268…` that is 1, as for all of North America.
    code_digits: usize,
    country: &'static str,
    kind: NumberKind,
}

impl Number {
    /// Reads a number: `+` and its digits, with spaces, hyphens, dots, slashes and brackets between them. With a default
    /// region ("CN"), a number without `+` is one of that country, as it is dialled there.
    ///
    /// ```
    /// use rpc_sms::number::Number;
    ///
    /// let number = Number::parse("138 0013 8000", Some("CN"))?;
    /// assert_eq!(number.e164(), "+8613800138000");
    /// assert_eq!(number.country(), "CN");
    /// assert_eq!(number.to_string(), "+86138****8000");
    /// # Ok::<(), rpc_sms::number::NumberError>(())
    /// ```
    ///
    /// # Errors
    /// Anything else. The error does not repeat the number.
    pub fn parse(input: &str, default_region: Option<&str>) -> Result<Self, NumberError> {
        let input = input.trim();
        if input.len() > INPUT_BYTES_MAX {
            return Err(NumberError::TooLong);
        }

        let is_usual = |character: char| {
            character.is_ascii_digit()
                || matches!(character, '+' | ' ' | '-' | '.' | '/' | '(' | ')')
        };
        if !input.chars().all(is_usual) {
            return Err(NumberError::Character);
        }

        let is_international = input.trim_start_matches('(').starts_with('+');
        let parsed = match default_region {
            _ if is_international => PhoneNumber::try_parse(input),
            Some(region) => PhoneNumber::try_parse_with_country(input, region),
            None => return Err(NumberError::NoCallingCode),
        };

        parsed
            .map(|number| Self::of(&number))
            .map_err(NumberError::of)
    }

    fn of(parsed: &PhoneNumber) -> Self {
        // The library counts the area code of a North American territory among its calling code.
        let code = parsed.country_code();
        let code_digits = match code {
            1000..2000 => 1,
            code => code.to_string().len(),
        };

        let (calling_code, national) = parsed.e164()[1..].split_at(code_digits);
        Self {
            kind: NumberKind::of(parsed.phone_type(), calling_code, national),
            e164: parsed.e164().to_owned(),
            code_digits,
            country: parsed.country().code,
        }
    }

    /// Whether a region may be a default one: it is the ISO 3166-1 code of a country, as "CN".
    pub fn is_region(region: &str) -> bool {
        phonelib::country_by_code(region).is_some_and(|country| country.code == region)
    }

    /// The number as `+8613800138000`.
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// The digits alone, as `8613800138000`.
    pub fn digits(&self) -> &str {
        &self.e164[1..]
    }

    /// The calling code, as `86`.
    pub fn calling_code(&self) -> &str {
        &self.e164[1..=self.code_digits]
    }

    /// The digits behind the calling code, as `13800138000`.
    pub fn national(&self) -> &str {
        &self.e164[1 + self.code_digits..]
    }

    /// The country as ISO 3166-1 writes it, as `CN`; `001` for numbers that belong to no country.
    pub fn country(&self) -> &'static str {
        self.country
    }

    /// What kind of number it is.
    pub fn kind(&self) -> NumberKind {
        self.kind
    }
}

impl fmt::Display for Number {
    /// Writes the number masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mask::write(f, self.calling_code(), self.national())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Number({self})")
    }
}

/// The reason that a text is not a phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberError {
    /// It has more bytes than any number takes.
    TooLong,
    /// It has a character that no number has.
    Character,
    /// It has no `+`, and there is no default region.
    NoCallingCode,
    /// No country has its calling code.
    UnknownCallingCode,
    /// Its country has no numbers of this length.
    Length,
    /// It is North American and its area code or exchange does not exist.
    AreaCode,
}

impl NumberError {
    fn of(error: ParseError) -> Self {
        match error {
            ParseError::TooLong => Self::TooLong,
            ParseError::MissingCallingCode => Self::NoCallingCode,
            ParseError::UnknownCountryCode | ParseError::UnknownCountry => Self::UnknownCallingCode,
            ParseError::InvalidAreaCode | ParseError::InvalidExchange => Self::AreaCode,
            ParseError::Empty | ParseError::TooShort | ParseError::InvalidLength => Self::Length,
            _ => Self::Character,
        }
    }
}

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it has more than 15 digits",
            Self::Character => {
                "it may have digits, a leading `+`, spaces, hyphens, dots, slashes and pairs of brackets"
            }
            Self::NoCallingCode => {
                "it has no calling code; write the number with one, for example +44, or set `default_region`"
            }
            Self::UnknownCallingCode => "no country has its calling code",
            Self::Length => "its country has no numbers of this length",
            Self::AreaCode => "its area code or exchange does not exist",
        })
    }
}

impl Error for NumberError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str) -> Number {
        Number::parse(input, None).unwrap()
    }

    #[test]
    fn a_number_knows_its_parts_however_it_is_written() {
        for written in [
            "+8613800138000",
            " +86 138-0013-8000 ",
            "(+86) 138.0013.8000",
        ] {
            let number = parse(written);
            assert_eq!(number.e164(), "+8613800138000", "{written}");
            assert_eq!(number.digits(), "8613800138000");
            assert_eq!(number.calling_code(), "86");
            assert_eq!(number.national(), "13800138000");
            assert_eq!(number.country(), "CN");
            assert_eq!(number.kind(), NumberKind::Mobile);
        }

        // Of a North American territory, the area code belongs to the national number.
        let antigua = parse("+1 268 464 1234");
        assert_eq!(
            (antigua.calling_code(), antigua.national()),
            ("1", "2684641234")
        );
        assert_eq!(antigua.country(), "AG");
    }

    #[test]
    fn numbers_whose_cost_is_shared_are_known_also_in_belgium_and_norway() {
        for shared in ["+32 78 79 12 34", "+47 810 21 234"] {
            assert_eq!(parse(shared).kind(), NumberKind::SharedCost, "{shared}");
        }
        for other in ["+32 450 00 12 34", "+47 406 12 345", "+47 800 12 345"] {
            assert_ne!(parse(other).kind(), NumberKind::SharedCost, "{other}");
        }
    }

    #[test]
    fn a_number_without_a_calling_code_is_of_the_default_region() {
        let number = |region| Number::parse("13800138000", region);
        assert_eq!(number(None), Err(NumberError::NoCallingCode));
        assert_eq!(number(Some("CN")).unwrap().e164(), "+8613800138000");

        // Its own calling code goes first.
        let german = Number::parse("+49 151 23456789", Some("CN")).unwrap();
        assert_eq!(german.country(), "DE");

        assert!(Number::is_region("CN"));
        assert!(!Number::is_region("cn") && !Number::is_region("ZZ") && !Number::is_region(""));
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_its_reason_and_not_repeated() {
        let check = |input: &str, expected: NumberError| {
            let error = Number::parse(input, None).unwrap_err();
            assert_eq!(error, expected, "{input:?}");
            let digits: String = input.chars().filter(char::is_ascii_digit).collect();
            assert!(
                digits.is_empty() || !error.to_string().contains(&digits),
                "{error}"
            );
        };

        check("13800138000", NumberError::NoCallingCode);
        check("2025550173", NumberError::NoCallingCode);
        check("+1202555", NumberError::Length);
        check("+", NumberError::Length);
        check("", NumberError::NoCallingCode);
        check("+999123456789", NumberError::UnknownCallingCode);
        check("+1 800 FLOWERS", NumberError::Character);
        check("+8613800138000;ext=7", NumberError::Character);
        check("+８６13800138000", NumberError::Character);
        check("+1 023 555 0173", NumberError::AreaCode);
        check(&"+86 138 ".repeat(9), NumberError::TooLong);
        check("+1234567890123456", NumberError::TooLong);
    }

    #[test]
    fn a_number_is_masked_wherever_it_is_shown() {
        let check = |input: &str, masked: &str| {
            let number = parse(input);
            assert_eq!(number.to_string(), masked);
            assert_eq!(format!("{number:?}"), format!("Number({masked})"));
        };

        check("+8613800138000", "+86138****8000");
        check("+1 202 555 0173", "+1202****0173");
        // Of a short number, three and four digits would be nearly all of it.
        check("+354 611 1234", "+354****34");
        check("+33 6 12 34 56 78", "+33****78");
    }
}
