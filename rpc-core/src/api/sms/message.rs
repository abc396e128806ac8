//! Messages: sent, followed, listed.

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
            /// Every one.
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
        /// It waits for its time.
        Scheduled = "scheduled",
        /// It waits for a gateway.
        Queued = "queued",
        /// A gateway has it, or is about to.
        Sending = "sending",
        /// The gateway has accepted it.
        Sent = "sent",
        /// The phone has it.
        Delivered = "delivered",
        /// The network could not deliver it.
        Undelivered = "undelivered",
        /// It may have been submitted, and no answer says so. A receipt, a rule or a person decides.
        Unknown = "unknown",
        /// A gateway has refused it for good.
        Failed = "failed",
        /// Its time was up before a gateway had it.
        Expired = "expired",
        /// Its sender has taken it back.
        Cancelled = "cancelled",
    }
}

impl Status {
    /// Whether nothing but a new attempt, which a person asks for, or better news leads out of it.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Delivered | Self::Undelivered | Self::Failed | Self::Expired | Self::Cancelled
        )
    }
}

names! {
    /// What a message is for. Limits, quiet hours and expiry depend on it.
    #[derive(Default)]
    Class {
        /// A code that someone waits for. Its text is never shown.
        Otp = "otp",
        /// An answer to what someone did.
        #[default]
        Transactional = "transactional",
        /// Advertising.
        Marketing = "marketing",
    }
}

names! {
    /// The encoding of a text on its way to a phone.
    Encoding {
        /// The GSM default alphabet: 160 characters in a segment.
        Gsm7 = "gsm7",
        /// UTF-16: 70 characters in a segment.
        Ucs2 = "ucs2",
    }
}

/// A message to be sent: to a number, with a `text`, or a `template` and its `vars`.
///
/// The metadata `idempotency-key` (at most 128 bytes) makes a repetition safe: it is answered by the first message.
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
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The number, as "+8613800138000".
    #[serde(deserialize_with = "private::text")]
    pub to: String,
    /// What it says.
    #[serde(
        default,
        deserialize_with = "private::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub text: Option<String>,
    /// The template that the provider fills in, in place of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The variables of the template.
    #[serde(
        default,
        deserialize_with = "private::values",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub vars: BTreeMap<String, String>,
    /// Who it seems to come from; the gateway's own sender where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// What it is for; `transactional` where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The gateway, in place of those of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Higher ones go first, 0 to 9; that of the class where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// When it may go, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// When it must not go any more, in milliseconds since 1970; that of the class where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Names and values of the sender's own, at most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

impl Send {
    /// A message with no more than it must have.
    pub fn new(to: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            text: Some(text.into()),
            ..Self::default()
        }
    }
}

/// Neither number nor text get into a log.
impl fmt::Debug for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Send")
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

/// A message that is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sent {
    /// Its id: 26 characters, which sort by time.
    pub id: String,
    /// `queued` or `scheduled`.
    pub status: Status,
    /// The encoding of its text.
    pub encoding: Encoding,
    /// The segments of its text, each of which costs.
    pub segments: u32,
    /// The country of its number.
    pub country: String,
    /// Whether the key had it accepted before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Whether its gateway sends nothing, and only writes it to a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MessageId {
    /// Its id.
    pub id: String,
}

/// Which messages to tell the status of: give one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct MessageQuery {
    /// The message with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Those with these ids, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// The caller's own that was sent with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Messages {
    /// Those that exist and that the caller may see.
    pub messages: Vec<Message>,
}

/// A message, as its sender may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Message {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: Status,
    /// Its number, masked.
    pub to: String,
    /// What it is for.
    pub class: Class,
    /// The gateway that has it, or that it waits for.
    pub gateway: String,
    /// Attempts so far.
    pub attempt: u32,
    /// The segments of its text.
    pub segments: u32,
    /// Number of parts that the gateway made of it in the last attempt; missing where its answer was about the whole
    /// message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
    /// Number of these parts that the gateway accepted. A message of which it accepted only some is `failed` or
    /// `unknown`, and sending it again needs `may_double`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts_sent: Option<u32>,
    /// The encoding of its text.
    pub encoding: Encoding,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the receipt said; "none" where it is waited for no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Names and values of the sender's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was accepted, in milliseconds since 1970.
    pub created_at: u64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: u64,
}

/// A message that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cancelled {
    /// Its id.
    pub id: String,
    /// `cancelled`.
    pub status: Status,
}

/// Which messages to list, the newest first.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// Those of one of these; of all where it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    /// Those to this number.
    #[serde(
        deserialize_with = "private::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub to: Option<String>,
    /// Those of this gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Those of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Those with this tag, as "name=value".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Those that were accepted then or later, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Those that were accepted before, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Those behind this one: what `next` said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most as many, 1 to 500; 100 where it is missing.
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
    /// The messages, the newest first. There may be none although there is a `next`: none of those that were looked at
    /// passed the filters.
    pub messages: Vec<Message>,
    /// What to pass as `after` to read on; missing at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which changes to watch.
///
/// [`outbox`](Self::outbox) and [`after`](Self::after) together are a cursor. One that does not fit the outbox is refused,
/// with an [`Extent`] as the details: code 9 where the outbox is another one, code 11 where `after` is past its last change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// Those of this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Those that lead to one of these; all where it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    /// The outbox that `after` belongs to, as an item names it; any where it is missing. At most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<String>,
    /// Those behind this number, so that a watch goes on without loss; from now on where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Changes, in their order. Without an `after`, the first item comes at once and has none: its `outbox` and `next` are the
/// place that the watch begins at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Events {
    /// The name of the outbox, which no other one has. With `next` it is the cursor to go on with, in another call.
    pub outbox: String,
    /// The changes.
    pub events: Vec<Event>,
    /// What to pass as `after` to go on.
    pub next: u64,
}

/// What an outbox holds: the details of the errors of a [`Watch`] whose cursor does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The name of the outbox.
    pub outbox: String,
    /// The number of its last change.
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
    /// Its number.
    pub event: u64,
    /// The message.
    pub id: String,
    /// The status before; missing for a message that was just accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Status>,
    /// The status behind it.
    pub to: Status,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A new attempt for a message that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resend {
    /// The message.
    pub id: String,
    /// Whether it may arrive twice: needed for `unknown` and `undelivered` ones, and where a gateway has parts of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_double: bool,
    /// The gateway, if not the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// A message that is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resent {
    /// Its id.
    pub id: String,
    /// `queued`.
    pub status: Status,
    /// The attempt to come.
    pub attempt: u32,
}

/// What would become of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Checked {
    /// Its number, masked.
    pub to: String,
    /// The country of its number.
    pub country: String,
    /// The kind of its number, as "mobile".
    #[serde(rename = "type")]
    pub kind: String,
    /// The encoding of its text.
    pub encoding: Encoding,
    /// The segments of its text.
    pub segments: u32,
    /// Whether it would be accepted.
    pub allowed: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// The gateway that it would wait for first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// The number and text of a message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revealed {
    /// The number; missing once it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The text; missing for codes, for templates, and once it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The variables of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<BTreeMap<String, String>>,
}

/// Shows neither.
impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revealed").finish_non_exhaustive()
    }
}
