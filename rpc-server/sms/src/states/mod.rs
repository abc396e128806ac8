//! The states of a message, and what leads from one to another.

mod table;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use table::{Step, next};

/// The state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its time.
    Scheduled,
    /// Waits for a gateway.
    Queued,
    /// A gateway has it, or is about to: recorded before the first byte leaves.
    Sending,
    /// The gateway has accepted it.
    Sent,
    /// The phone has it.
    Delivered,
    /// The network could not deliver it.
    Undelivered,
    /// It may have been submitted, and no answer says so. A receipt, a rule or a person decides.
    Unknown,
    /// A gateway has refused it for good.
    Failed,
    /// Its time was up before a gateway had it.
    Expired,
    /// Its sender has taken it back.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Scheduled,
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Unknown,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing but a new attempt, which a person asks for, leads out of it.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Delivered | Self::Undelivered | Self::Failed | Self::Expired | Self::Cancelled
        )
    }
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// Its time has come.
    Due,
    /// A gateway takes it. This is recorded before the first byte leaves.
    Claim,
    /// The gateway definitely does not have it, and it may be tried again: not written, a temporary answer, throttled,
    /// the gateway is down.
    Refused,
    /// The gateway, or the rules of the service, refuse it for good.
    RefusedForGood,
    /// The gateway has accepted it.
    Accepted,
    /// It was written and no complete answer came, the answer says nothing, or the process ended in between.
    NoAnswer,
    /// Its time is up.
    Expire,
    /// Its sender takes it back.
    Cancel,
    /// A receipt of the current attempt: a gateway or network has it.
    ReceiptSent,
    /// A receipt of the current attempt: the phone has it.
    ReceiptDelivered,
    /// A receipt of the current attempt: the network gave up.
    ReceiptUndelivered,
    /// A receipt of an attempt before the current one: the phone has it.
    EarlierDelivered,
    /// A person asks for a new attempt.
    Resend,
    /// A person, or the rule `on_unknown`, asks for a new attempt although the message may arrive twice.
    ResendMayDouble,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 14] = [
        Self::Due,
        Self::Claim,
        Self::Refused,
        Self::RefusedForGood,
        Self::Accepted,
        Self::NoAnswer,
        Self::Expire,
        Self::Cancel,
        Self::ReceiptSent,
        Self::ReceiptDelivered,
        Self::ReceiptUndelivered,
        Self::EarlierDelivered,
        Self::Resend,
        Self::ResendMayDouble,
    ];
}
