//! Following the log: what comes, as it comes.

use serde::{Deserialize, Serialize};

use super::read::level_of_bounded_name;
use super::{Entry, Fields, Level};

/// Largest [`Tail::last`].
pub const TAIL_LAST_MAX: u32 = 1000;

/// Which entries to follow, and where to begin: behind `after`, with the `last` entries, or else with what comes from now on.
///
/// The filters are those of [`Read`](super::Read), with the same maximum lengths.
/// [`log`](Self::log) and [`after`](Self::after) together are a cursor. One that does not fit the log is refused as by
/// [`Read`](super::Read).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tail {
    /// The log that `after` belongs to, as an item names it; where it is missing, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Begin behind this number; 0 for the first entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Number of last entries that pass the filters to begin with, 0 to 1000; ignored if there is an `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Only entries of this level or graver; the name has at most 16 bytes.
    #[serde(
        deserialize_with = "level_of_bounded_name",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Level>"))]
    pub level: Option<Level>,
    /// Only entries of exactly this service; at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only entries whose message contains this text; at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Only entries with this text in their message, service, trace, or a text of their fields; at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only entries of exactly this trace; at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Only entries whose fields have these values, as [`Read::fields`](super::Read::fields) has it; at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Only entries of this time or a later one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Only entries of an earlier time than this, in milliseconds since 1970. It is above `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// An item of the stream: entries that have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tailed {
    /// The identity of the log. With `next` it is the cursor to go on with, in another call.
    pub log: String,
    /// The entries in order, at most 100. There may be none: in the first item, which comes at once, and where `next` has
    /// moved over entries that do not pass the filters.
    pub entries: Vec<Entry>,
    /// What to pass as `after` to go on: nothing is missed, nothing comes twice.
    pub next: u64,
    /// Number of entries that retention deleted before they could be sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
