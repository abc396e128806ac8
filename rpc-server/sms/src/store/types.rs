//! Types that go into the outbox and come out of it.

use std::collections::BTreeMap;
use std::fmt;

use crate::message::{AttemptId, Class, MessageId, Parts};
use crate::number::Number;
use crate::states::State;
use crate::text::Layout;

/// A message to be accepted. Its number was read, and its contents were checked.
#[derive(Clone)]
pub struct NewMessage {
    /// The identity of its sender; empty for a sender without one.
    pub owner: String,
    /// The key by which a repetition is recognised, among those of the owner.
    pub key: Option<String>,
    /// When a repetition says that it was sent first, in milliseconds since 1970.
    pub first_sent_at: Option<u64>,
    /// A digest of its contents: a repetition has the same.
    pub digest: [u8; 32],
    /// Where it goes.
    pub to: Number,
    /// What it says.
    pub content: Content,
    /// Who it seems to come from.
    pub sender: Option<String>,
    /// What it is for.
    pub class: Class,
    /// Higher ones go first, 0 to 9.
    pub priority: u8,
    /// When it may go, in milliseconds since 1970.
    pub not_before: Option<u64>,
    /// When it must not go any more, in milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// Names and values of the sender's own.
    pub tags: BTreeMap<String, String>,
    /// Its encoding and segments.
    pub layout: Layout,
    /// The gateway that it waits for first.
    pub gateway: String,
}

/// The contents of a message. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A text.
    Text(String),
    /// A template that the provider knows.
    Template {
        /// The name that our settings give it.
        name: String,
        /// The variables, as a JSON object.
        vars: String,
    },
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Template { .. } => "Template(…)",
        })
    }
}

/// A message that was accepted, now or under the same key before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: MessageId,
    /// The state that it was accepted in.
    pub state: State,
    /// Whether the same key had it accepted before.
    pub is_duplicate: bool,
}

/// Who looks at messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Someone who sees the messages of this owner.
    Owner(String),
    /// Someone who sees all.
    All,
}

impl Viewer {
    pub(super) fn sees(&self, owner: &str) -> bool {
        match self {
            Self::Owner(own) => own == owner,
            Self::All => true,
        }
    }
}

/// A message as its owner may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its state.
    pub state: State,
    /// Its number, masked.
    pub to: String,
    /// What it is for.
    pub class: Class,
    /// The gateway that has it, or that it waits for.
    pub gateway: String,
    /// Attempts so far.
    pub attempt: u32,
    /// Its encoding and segments.
    pub layout: Layout,
    /// What went wrong last.
    pub error: Option<String>,
    /// What the receipt said; "none" once it is waited for no longer.
    pub receipt: Option<String>,
    /// Names and values of the sender's own.
    pub tags: BTreeMap<String, String>,
    /// When it was accepted, in milliseconds since 1970.
    pub created_at: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: u64,
    /// Number of parts that the gateway made of it in the last attempt; 0 where its answer was about the whole message.
    pub parts: u32,
    /// Number of these parts that the gateway accepted.
    pub parts_sent: u32,
}

/// What is due at the time of a claim, beside what the outbox knows itself.
#[derive(Debug, Clone, Default)]
pub struct ClaimRules {
    /// Marketing waits until then, in milliseconds since 1970; none outside of quiet hours.
    pub marketing_not_before: Option<u64>,
}

/// A message whose attempt is recorded: it may be submitted once.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its id.
    pub id: MessageId,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Attempts since it was accepted or sent again: what limits of retries count.
    pub tries: u32,
    /// Where it goes.
    pub to: Number,
    /// What it says.
    pub content: Content,
    /// Who it seems to come from.
    pub sender: Option<String>,
    /// What it is for.
    pub class: Class,
    /// Its encoding and segments.
    pub layout: Layout,
    /// When it must not go any more, in milliseconds since 1970.
    pub expires_at: Option<u64>,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// The message.
    pub id: MessageId,
    /// The attempt.
    pub attempt: u32,
    /// What became of it.
    pub event: AttemptEvent,
}

/// What became of an attempt.
#[derive(Debug, Clone)]
pub enum AttemptEvent {
    /// The gateway has accepted it.
    Accepted {
        /// Its parts, all of which were accepted.
        parts: Parts,
    },
    /// The gateway definitely does not have it; it is tried again.
    Refused {
        /// Why.
        error: String,
        /// When, in milliseconds since 1970.
        retry_at: u64,
        /// By which gateway.
        gateway: String,
    },
    /// It is refused for good.
    RefusedForGood {
        /// Why.
        error: String,
        /// Its parts, some of which may have been accepted before another one was refused.
        parts: Parts,
    },
    /// It was written, and no answer says what became of it.
    NoAnswer {
        /// Why.
        error: String,
        /// Whether it is queued again at once, although it may arrive twice.
        resend: bool,
        /// Its parts, some of which may certainly have been accepted.
        parts: Parts,
    },
}

/// A new attempt that someone asks for.
#[derive(Debug, Clone)]
pub struct Resend {
    /// The message.
    pub id: MessageId,
    /// Whether it may arrive twice.
    pub may_double: bool,
    /// By which gateway, if not by the one before.
    pub gateway: Option<String>,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
}

/// Whether a gateway is given messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewaySwitch {
    /// It is.
    On,
    /// Its messages wait.
    Paused,
}

/// A receipt, as a gateway or the command gives it.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The gateway, or the group whose names of messages are common.
    pub gateway: String,
    /// The gateway's name for the message.
    pub reference: Option<String>,
    /// Our name, with the attempt.
    pub id: Option<AttemptId>,
    /// What the receipts of this gateway are about.
    pub scope: ReceiptScope,
    /// What it says.
    pub state: ReceiptState,
    /// Why it was not delivered.
    pub error: Option<String>,
}

/// What the receipts of a gateway are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptScope {
    /// A whole message.
    Message,
    /// A part of a message: the gateway's answers tell of parts.
    Part,
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptState {
    /// The network has it.
    Sent,
    /// The phone has it.
    Delivered,
    /// The network gave up.
    Undelivered,
}

impl ReceiptState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
        }
    }
}

/// A change of a message's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number, from 1. Numbers are never given twice.
    pub number: u64,
    /// The message.
    pub id: MessageId,
    /// The state before; none for a message that was just accepted.
    pub from: Option<State>,
    /// The state behind it.
    pub to: State,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The gateway.
    pub gateway: String,
    /// The attempt.
    pub attempt: u32,
    /// What went wrong.
    pub error: Option<String>,
}

/// The number and text of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed {
    /// The number; none once it was erased.
    pub to: Option<String>,
    /// The contents; none once they were erased, and for codes.
    pub content: Option<Content>,
}

/// What a number has opted out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOutScope {
    /// All messages.
    All,
    /// Advertising.
    Marketing,
}

/// A number that has opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptOut {
    /// Of what.
    pub scope: OptOutScope,
    /// When, in milliseconds since 1970.
    pub since: u64,
}

/// Messages of one gateway that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Waiting for their time.
    pub scheduled: u64,
    /// Waiting for the gateway.
    pub queued: u64,
    /// Being sent.
    pub sending: u64,
    /// Submitted or not: a receipt or a person decides.
    pub unknown: u64,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Messages whose time had come.
    pub due: u64,
    /// Messages that expired.
    pub expired: u64,
    /// Texts, numbers and messages that were erased.
    pub erased: u64,
    /// Sent messages that wait for a receipt no longer.
    pub without_receipt: u64,
    /// Whether there may be more to do at once.
    pub is_full: bool,
}
