//! The states of a message, and what leads from one to another.

mod table;
#[cfg(test)]
mod tests;

pub use rpc_core::api::sms::Status as State;
pub use table::{Step, next};

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
