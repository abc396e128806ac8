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

    pub(super) fn of(kind: PhoneNumberType) -> Self {
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
