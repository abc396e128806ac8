//! Messages: sending, following and listing them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::private;
use crate::status::{Code, Status as RpcStatus};

/// Longest [`Watch::outbox`] in bytes.
pub const OUTBOX_BYTES_MAX: usize = 64;

/// Declares an enum whose names on the wire are its variants in lower case.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$doc])+ #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All variants.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::api::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|one| one.as_str() == name);
                let unknown = || $crate::api::UnknownName::new(stringify!($name), name, [$($text),+]);
                found.copied().ok_or_else(unknown)
            }
        }
    };
}
pub(super) use names;

names! {
    /// The status of a message.
    Status {
        /// The message waits for its time, `not_before`.
        Scheduled = "scheduled",
        /// The message waits for a gateway.
        Queued = "queued",
        /// The message is being submitted to a gateway.
        Sending = "sending",
        /// The gateway has accepted the message.
        Sent = "sent",
        /// The phone has received the message.
        Delivered = "delivered",
        /// The network could not deliver the message.
        Undelivered = "undelivered",
        /// The message may have been submitted, but no answer of the gateway says so. A receipt, a rule or a person
        /// decides what becomes of it.
        Unknown = "unknown",
        /// A gateway has refused the message for good, or the last attempt has failed.
        Failed = "failed",
        /// The message's time was up before a gateway accepted it.
        Expired = "expired",
        /// The sender has cancelled the message.
        Cancelled = "cancelled",
    }
}

impl Status {
    /// Whether a message with this status has ended. Its status changes only if a person asks for a new attempt, or if
    /// a receipt brings better news.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Delivered | Self::Undelivered | Self::Failed | Self::Expired | Self::Cancelled
        )
    }
}

names! {
    /// The purpose of a message. Limits, quiet hours and expiry depend on it.
    #[derive(Default)]
    Class {
        /// A one-time code that a person waits for. Its text is never shown.
        Otp = "otp",
        /// A message about something that its receiver has done, for example an order.
        #[default]
        Transactional = "transactional",
        /// Advertising.
        Marketing = "marketing",
    }
}

names! {
    /// The encoding in which a text is sent to the phone.
    Encoding {
        /// The GSM default alphabet: 160 characters in a segment.
        Gsm7 = "gsm7",
        /// UTF-16: 70 characters in a segment.
        Ucs2 = "ucs2",
    }
}

/// A message to send to a number. It has either a `text`, or a `template` and its `vars`.
///
/// The metadata `idempotency-key` (at most 128 bytes) makes a repetition safe: no second message is sent, and the reply
/// names the first one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Phone number, for example "+8613800138000".
    #[serde(deserialize_with = "private::text")]
    pub to: String,
    /// Text of the message.
    #[serde(
        default,
        deserialize_with = "private::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub text: Option<String>,
    /// Name of the template that the provider fills in; instead of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Variables of the template, by name.
    #[serde(
        default,
        deserialize_with = "private::values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub vars: BTreeMap<String, String>,
    /// Sender that the phone shows; the gateway's own sender if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Purpose of the message; `transactional` if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Name of the gateway to use, instead of those of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Priority, 0 to 9: messages with a higher one are sent first. If it is missing, the class decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Time before which the message must not be sent, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Time after which the message must not be sent, in milliseconds since 1970. If it is missing, `expires_s` of the
    /// class decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Names and values that the sender has chosen, at most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Send {
    /// A message with only the required members.
    ///
    /// ```
    /// use rpc_core::api::sms::{Class, Send};
    ///
    /// let code = Send {
    ///     class: Some(Class::Otp),
    ///     ..Send::new("+8613800138000", "Your code is 4711.")
    /// };
    /// assert_eq!(code.text.as_deref(), Some("Your code is 4711."));
    /// ```
    pub fn new(to: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            text: Some(text.into()),
            ..Self::default()
        }
    }
}

/// Shows neither number nor text, so that they do not get into a log.
impl fmt::Debug for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Send")
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

/// A message that was accepted, and is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sent {
    /// Id of the message: 26 characters. Ids sort by time.
    pub id: String,
    /// `queued` or `scheduled`.
    pub status: Status,
    /// Encoding of the text.
    pub encoding: Encoding,
    /// Number of segments of the text. The provider charges for each of them.
    pub segments: u32,
    /// Country of the phone number.
    pub country: String,
    /// True if an earlier call with the same key has sent this message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// True if the gateway sends nothing, and only writes the message to a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Names one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MessageId {
    /// Id of the message.
    pub id: String,
}

/// Selects messages by exactly one of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MessageQuery {
    /// The message with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The messages with these ids, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// The caller's own message that was sent with this `idempotency-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The messages that were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Messages {
    /// The messages that exist, and that the caller may see.
    pub messages: Vec<Message>,
}

/// A message, as its sender may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Message {
    /// Id of the message.
    pub id: String,
    /// Status of the message.
    pub status: Status,
    /// Phone number, masked.
    pub to: String,
    /// Purpose of the message.
    pub class: Class,
    /// Gateway that has the message, or for which the message waits.
    pub gateway: String,
    /// Number of attempts so far.
    pub attempt: u32,
    /// Number of segments of the text.
    pub segments: u32,
    /// Number of parts into which the gateway split the message in the last attempt; missing if the gateway's answer
    /// was about the whole message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
    /// Number of these parts that the gateway accepted. If it accepted only some of them, the message is `failed` or
    /// `unknown`, and can be sent again only with `may_double`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_sent: Option<u32>,
    /// Encoding of the text.
    pub encoding: Encoding,
    /// Description of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// State that the receipt named; "none" if the service no longer waits for a receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Names and values that the sender has chosen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Time at which the message was accepted, in milliseconds since 1970.
    pub created_at: u64,
    /// Time of the last change, in milliseconds since 1970.
    pub updated_at: u64,
}

/// A message that was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cancelled {
    /// Id of the message.
    pub id: String,
    /// `cancelled`.
    pub status: Status,
}

/// Selects the messages to list, the newest first.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// Only messages with one of these statuses; with an empty list, all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    /// Only messages to this phone number.
    #[serde(
        deserialize_with = "private::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub to: Option<String>,
    /// Only messages of this gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Only messages of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Only messages with this tag, which is written "name=value".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only messages that were accepted at this time or later, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Only messages that were accepted before this time, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Where the page begins: `next` of the previous page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Maximum number of messages in the page, 1 to 500; 100 if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Shows no number.
impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageList {
    /// The messages, the newest first. The list may be empty although there is a `next`, if none of the messages that
    /// were examined passed the filters.
    pub messages: Vec<Message>,
    /// Value of `after` for the next page; missing on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Selects the changes to watch, and where the stream begins.
///
/// `outbox` and `after` together are a cursor. A cursor that does not fit the outbox is refused: with code 9 if it
/// belongs to another outbox, and with code 11 if `after` is past the last change. The details of the error name the
/// outbox and its last change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// Only changes of this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only changes to one of these statuses; with an empty list, all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    /// Name of the outbox that `after` belongs to, from an earlier item; at most 64 bytes. If it is missing, the outbox
    /// is not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<String>,
    /// Only changes with a higher number than this, so that a watch continues without loss. If it is missing, the
    /// stream begins with the next change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Changes, in their order. Without `after`, the first item comes at once and has no changes: its `outbox` and `next`
/// are the cursor at which the watch begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Events {
    /// Name of the outbox, which no other outbox has. `outbox` and `next` together are the cursor with which another
    /// call continues.
    pub outbox: String,
    /// The changes.
    pub events: Vec<Event>,
    /// Value of `after` with which another call continues.
    pub next: u64,
}

/// The name and last change of an outbox: details of the error for a [`Watch`] whose cursor does not fit the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Name of the outbox.
    pub outbox: String,
    /// Number of the last change.
    pub last: u64,
}

impl Extent {
    /// The extent in the details of a status; `None` if the status is not about a cursor.
    pub fn of(status: &RpcStatus) -> Option<Self> {
        let is_of_cursor = matches!(
            status.code(),
            Code::FAILED_PRECONDITION | Code::OUT_OF_RANGE
        );
        let details = status.details().filter(|_| is_of_cursor)?;
        serde_json::from_str(details.get()).ok()
    }
}

/// A change of a message's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Number of the change.
    pub event: u64,
    /// Id of the message.
    pub id: String,
    /// Status before the change; missing for a message that was just accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Status>,
    /// Status after the change.
    pub to: Status,
    /// Time of the change, in milliseconds since 1970.
    pub at: u64,
    /// Gateway of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Number of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Description of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Asks for a new attempt to send a message that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resend {
    /// Id of the message.
    pub id: String,
    /// Whether the message may arrive twice. Required for messages that are `unknown` or `undelivered`, and for
    /// messages of which a gateway has accepted parts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_double: bool,
    /// Name of the gateway to use, instead of the previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// A message that will be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resent {
    /// Id of the message.
    pub id: String,
    /// `queued`.
    pub status: Status,
    /// Number of the next attempt.
    pub attempt: u32,
}

/// Whether a message would be accepted, and how it would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Checked {
    /// Phone number, masked.
    pub to: String,
    /// Country of the phone number.
    pub country: String,
    /// Kind of the phone number, for example "mobile".
    #[serde(rename = "type")]
    pub kind: String,
    /// Encoding of the text.
    pub encoding: Encoding,
    /// Number of segments of the text.
    pub segments: u32,
    /// Whether the message would be accepted.
    pub allowed: bool,
    /// Reasons for which the message would be refused.
    pub reasons: Vec<String>,
    /// Gateway for which the message would wait first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// The number and text of a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revealed {
    /// Phone number; missing if it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Text of the message; missing for one-time codes, for templates, and if it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Name of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Variables of the template, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<BTreeMap<String, String>>,
}

/// Shows neither number nor text.
impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revealed").finish_non_exhaustive()
    }
}
