//! The meaning of a gateway's answer: what may be done with the message next.

mod code;
mod judge;
mod parts;
mod rules;

pub use code::is_code;
pub use judge::{Answer, Outcome, Verdict, judge};
pub use parts::deciding;
pub use rules::{On5xx, Pattern, Rule, RuleClass, RuleError};
