//! Rules of a gateway, as its settings have them.

use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A rule: an answer that has all that it names is of its class. One that names nothing matches every answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Statuses of HTTP, as numbers or as "4xx".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Pattern>,
    /// The code in the answer, one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
    /// The code in the answer begins with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code_prefix: Vec<String>,
    /// The body begins with this text. Where the answer has `parts`, this is the item of a part in their list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The body contains this text, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// What such an answer means.
    pub class: RuleClass,
    /// A word for people and metrics, as "number".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleClass {
    /// The gateway has the message.
    Sent,
    /// It does not, and may be asked again.
    Temporary,
    /// It does not, and is to be left alone for a while.
    Throttled,
    /// It does not and never will.
    Permanent,
    /// It takes no message at all: a wrong password, an empty account.
    GatewayDown,
    /// It may have the message.
    #[default]
    Unknown,
}

/// The class of answers of 500 to 599 that no rule matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On5xx {
    /// The gateway may have the message.
    #[default]
    Unknown,
    /// It does not, as its provider promises.
    Temporary,
}

/// Statuses of HTTP: one, or a hundred of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Pattern {
    /// This one.
    One(u16),
    /// All that begin with this digit.
    Hundred(u16),
}

impl Pattern {
    pub(super) fn matches(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            Self::Hundred(digit) => status / 100 == digit,
        }
    }
}

/// A pattern as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u16),
    Text(String),
}

const STATUSES: RangeInclusive<u16> = 100..=599;

impl TryFrom<Written> for Pattern {
    type Error = RuleError;

    fn try_from(written: Written) -> Result<Self, RuleError> {
        match &written {
            Written::Number(status) if STATUSES.contains(status) => return Ok(Self::One(*status)),
            Written::Number(_) => {}
            Written::Text(text) => {
                let digit = text.strip_suffix("xx").and_then(|digit| digit.parse().ok());
                if let Some(digit @ 1..=5) = digit {
                    return Ok(Self::Hundred(digit));
                }
            }
        }

        Err(RuleError(match written {
            Written::Number(status) => status.to_string(),
            Written::Text(text) => format!("\"{text}\""),
        }))
    }
}

impl From<Pattern> for Written {
    fn from(pattern: Pattern) -> Self {
        match pattern {
            Pattern::One(status) => Self::Number(status),
            Pattern::Hundred(digit) => Self::Text(format!("{digit}xx")),
        }
    }
}

/// A status in a rule that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError(String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not a status of HTTP; write a number from 100 to 599, or \"4xx\" for a hundred of them",
            self.0
        )
    }
}

impl Error for RuleError {}
