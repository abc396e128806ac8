//! The kinds of numbers.

use phonelib::PhoneNumberType;
use serde::{Deserialize, Serialize};

/// The kind of a number, as far as its plan tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberKind {
    /// A mobile phone.
    Mobile,
    /// A landline.
    FixedLine,
    /// One of both, as in North America.
    FixedLineOrMobile,
    /// Paid by whom is called.
    TollFree,
    /// Dearer than usual: messages to it are how fraud earns.
    PremiumRate,
    /// Paid by both.
    SharedCost,
    /// Voice over IP.
    Voip,
    /// A number that follows a person.
    PersonalNumber,
    /// A pager.
    Pager,
    /// One number for all branches of a company.
    Uan,
    /// A range that the plan tells nothing of.
    Unknown,
}

/// Ranges whose callers and owners share the cost, and of which the library knows nothing: Belgium's and Norway's. Each is a
/// calling code and the first digits behind it.
const SHARED_COST_RANGES: [(&str, &str); 2] = [("32", "7879"), ("47", "810")];

impl NumberKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Mobile,
        Self::FixedLine,
        Self::FixedLineOrMobile,
        Self::TollFree,
        Self::PremiumRate,
        Self::SharedCost,
        Self::Voip,
        Self::PersonalNumber,
        Self::Pager,
        Self::Uan,
        Self::Unknown,
    ];

    /// The name on the wire and in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::FixedLine => "fixed_line",
            Self::FixedLineOrMobile => "fixed_line_or_mobile",
            Self::TollFree => "toll_free",
            Self::PremiumRate => "premium_rate",
            Self::SharedCost => "shared_cost",
            Self::Voip => "voip",
            Self::PersonalNumber => "personal_number",
            Self::Pager => "pager",
            Self::Uan => "uan",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of a number with this calling code and these digits behind it: what the library says, or what is known of
    /// a range that the library does not know.
    pub(super) fn of(kind: PhoneNumberType, calling_code: &str, national: &str) -> Self {
        let is_shared = SHARED_COST_RANGES
            .iter()
            .any(|(code, first)| calling_code == *code && national.starts_with(first));

        match Self::of_library(kind) {
            Self::Unknown if is_shared => Self::SharedCost,
            kind => kind,
        }
    }

    fn of_library(kind: PhoneNumberType) -> Self {
        match kind {
            PhoneNumberType::Mobile => Self::Mobile,
            PhoneNumberType::FixedLine => Self::FixedLine,
            PhoneNumberType::FixedLineOrMobile => Self::FixedLineOrMobile,
            PhoneNumberType::TollFree => Self::TollFree,
            PhoneNumberType::PremiumRate => Self::PremiumRate,
            PhoneNumberType::SharedCost => Self::SharedCost,
            PhoneNumberType::Voip => Self::Voip,
            PhoneNumberType::PersonalNumber => Self::PersonalNumber,
            PhoneNumberType::Pager => Self::Pager,
            PhoneNumberType::Uan => Self::Uan,
            // A kind that a later version knows is refused by nothing.
            _ => Self::Unknown,
        }
    }
}
