//! Following the log: entries as they are written.

use serde::{Deserialize, Serialize};

use super::read::level_of_bounded_name;
use super::{Entry, Fields, Level};

/// Largest [`Tail::last`].
pub const TAIL_LAST_MAX: u32 = 1000;

/// Selects the entries to follow, and where the stream begins: after `after`, or with the `last` entries, or otherwise
/// with the next entry that is written.
///
/// The filters are those of `log.read`, with the same maximum lengths. `log` and `after` together are a cursor. A
/// cursor that does not fit the log is refused with the codes of `log.read`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Tail {
    /// Identity of the log that `after` belongs to, from an earlier item. If it is missing, the log is not checked. At
    /// most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Number after which the stream begins; with 0, it begins with the first entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Number of earlier entries with which the stream begins, 0 to 1000: the last ones that pass the filters. Ignored
    /// if there is an `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Only entries of this level or a higher one. The name may have at most 16 bytes.
    #[serde(
        deserialize_with = "level_of_bounded_name",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Level>"))]
    pub level: Option<Level>,
    /// Only entries of the service with exactly this name; at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only entries whose message contains this text; at most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Only entries that contain this text in their message, service or trace, or in a string of their fields; at most
    /// 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only entries of the trace with exactly this id; at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Only entries whose fields have these values, compared as by `fields` of `log.read`; at most 1024 bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Only entries with this time or a later one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Only entries with an earlier time than this, in milliseconds since 1970. It must be above `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// An item of the stream: entries that were written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tailed {
    /// Identity of the log. `log` and `next` together are the cursor with which another call continues.
    pub log: String,
    /// The entries in their order, at most 100. The list may be empty in the first item, which comes at once, and in an
    /// item whose `next` has advanced past entries that do not pass the filters.
    pub entries: Vec<Entry>,
    /// Value of `after` with which another call continues. With it, no entry is missed or comes twice.
    pub next: u64,
    /// Number of entries that retention deleted before they could be sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
