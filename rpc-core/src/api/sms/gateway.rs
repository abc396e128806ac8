//! Gateways, receipts, opt-outs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::message::names;
use super::private;

names! {
    /// The state of a message that a receipt names.
    ReceiptState {
        /// The network has the message.
        Sent = "sent",
        /// The phone has received the message.
        Delivered = "delivered",
        /// The network could not deliver the message.
        Undelivered = "undelivered",
    }
}

names! {
    /// What to do with an opt-out.
    OptOutAction {
        /// Add the opt-out.
        Add = "add",
        /// Remove the opt-out.
        Remove = "remove",
        /// Show the opt-out.
        Get = "get",
    }
}

names! {
    /// The messages that a number opts out of.
    OptOutScope {
        /// All messages.
        All = "all",
        /// Messages of the class `marketing`.
        Marketing = "marketing",
    }
}

names! {
    /// The state of a gateway.
    GatewayState {
        /// The gateway accepts messages.
        Up = "up",
        /// The gateway cannot be reached, or does not accept messages. It is tried again from time to time.
        Down = "down",
        /// An operator has paused the gateway.
        Paused = "paused",
        /// The gateway has asked for a pause, because it has too much to do.
        Throttled = "throttled",
    }
}

/// A receipt that another program has received from the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Name of the gateway that sent the message.
    pub gateway: String,
    /// The provider's name for the message, or for one of its parts. Either `ref` or `id` is required.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Id of the message, in the form in which `{id}` of the gateway's settings was sent: from the second attempt on, the
    /// number of the attempt follows, for example `-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// State that the receipt names.
    pub state: ReceiptState,
    /// Time that the receipt names, in milliseconds since 1970. It is not stored: a change has the time at which it was
    /// recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The provider's code for the reason that the message was not delivered: one word of at most 64 bytes, without a
    /// long number. Any other text is discarded, because it might contain the phone number or the text of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether a receipt belongs to a known message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReceiptMatch {
    /// Whether the message is known. If not, the receipt is kept for some time, because it may have arrived before the
    /// gateway's answer.
    pub matched: bool,
}

/// An opt-out to add, remove or show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptOut {
    /// Phone number.
    #[serde(deserialize_with = "private::text")]
    pub to: String,
    /// What to do with the opt-out.
    pub action: OptOutAction,
    /// Messages that the number opts out of; all if it is missing.
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
    /// Whether the number has opted out.
    pub opted_out: bool,
    /// Messages that the number has opted out of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<OptOutScope>,
    /// Time of the opt-out, in milliseconds since 1970.
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

/// A gateway and its current state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gateway {
    /// Name of the gateway.
    pub name: String,
    /// Kind of the gateway, for example "http".
    pub kind: String,
    /// State of the gateway.
    pub state: GatewayState,
    /// Number of messages that wait for the gateway.
    pub queued: u64,
    /// Number of messages that are being submitted to the gateway.
    pub sending: u64,
    /// Number of messages of which it is not known whether the gateway has accepted them.
    pub unknown: u64,
    /// Age of the oldest message that waits for the gateway, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// Maximum number of messages per second; missing if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
    /// Number of messages that the gateway has accepted since the start of the server.
    pub accepted: u64,
    /// Number of attempts since the start of the server that the gateway has not accepted.
    pub errors: u64,
    /// Description of the last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Pauses a gateway, or ends its pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Name of the gateway.
    pub gateway: String,
    /// True to pause the gateway, also after a restart of the server; false to end the pause.
    pub paused: bool,
}

/// The reply to a pause, which has no members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Paused {}
