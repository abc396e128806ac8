//! Gateways, receipts, opt-outs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::message::names;
use super::private;

names! {
    /// What a receipt says of a message.
    ReceiptState {
        /// The network has it.
        Sent = "sent",
        /// The phone has it.
        Delivered = "delivered",
        /// The network gave up.
        Undelivered = "undelivered",
    }
}

names! {
    /// What becomes of an opt-out.
    OptOutAction {
        /// The number opts out.
        Add = "add",
        /// It is taken back.
        Remove = "remove",
        /// It is looked up.
        Get = "get",
    }
}

names! {
    /// What a number opts out of.
    OptOutScope {
        /// All messages.
        All = "all",
        /// Advertising.
        Marketing = "marketing",
    }
}

names! {
    /// The state of a gateway.
    GatewayState {
        /// It takes messages.
        Up = "up",
        /// It cannot be reached, or takes none; it is tried again from time to time.
        Down = "down",
        /// An operator has paused it.
        Paused = "paused",
        /// It has asked to be left alone for a while.
        Throttled = "throttled",
    }
}

/// A receipt that another program has taken from the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The gateway that sent the message.
    pub gateway: String,
    /// The provider's name for the message, or for one of its parts; `ref` or `id` is needed.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The message's id, as `{id}` of the gateway's settings was sent: with `-2` after it for the second attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the receipt says.
    pub state: ReceiptState,
    /// When, in milliseconds since 1970. It is not kept: a change has the time at which it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The provider's code that says why it was not delivered: a word without a long number, of at most 64 bytes. Anything
    /// else is left out, since it might be the number or the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether a receipt matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptMatch {
    /// Whether there is such a message. Otherwise the receipt is kept for a while: it may have overtaken the gateway's answer.
    pub matched: bool,
}

/// An opt-out to be added, removed or looked up.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptOut {
    /// The number.
    #[serde(deserialize_with = "private::text")]
    pub to: String,
    /// What to do.
    pub action: OptOutAction,
    /// Of what it opts out; of all where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<OptOutScope>,
}

/// Shows no number.
impl fmt::Debug for OptOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptOut")
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

/// Whether a number has opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OptOutState {
    /// Whether it has.
    pub opted_out: bool,
    /// Of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<OptOutScope>,
    /// Since when, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// All gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GatewayList {
    /// The gateways, in the order of the settings.
    pub gateways: Vec<Gateway>,
}

/// A gateway, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its kind, as "http".
    pub kind: String,
    /// Its state.
    pub state: GatewayState,
    /// Messages that wait for it.
    pub queued: u64,
    /// Messages that it is being given.
    pub sending: u64,
    /// Messages that it may have or not.
    pub unknown: u64,
    /// Age of the oldest message that waits for it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// Messages in a second that it may be given; missing where it is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
    /// Messages that it has accepted since the start.
    pub accepted: u64,
    /// Attempts that ended otherwise since the start.
    pub errors: u64,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A gateway to be paused, or not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Its name.
    pub gateway: String,
    /// Whether it is to be paused. It stays so over restarts.
    pub paused: bool,
}

/// Nothing: it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Paused {}
