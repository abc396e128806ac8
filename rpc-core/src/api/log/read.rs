//! Reading entries behind a cursor.

use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Entry, Fields, Level};
use crate::status::{Code, Status};

/// Maximum length of [`Read::contains`] in bytes.
pub const CONTAINS_BYTES_MAX: usize = 1024;

/// Maximum length of [`Read::text`] in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Maximum length of [`Read::trace`] in bytes.
pub const TRACE_BYTES_MAX: usize = 256;

/// Maximum length of [`Read::fields`] in bytes, as JSON.
pub const FIELDS_BYTES_MAX: usize = 1024;

/// Maximum length of [`Read::log`] in bytes.
pub const LOG_BYTES_MAX: usize = 64;

/// Maximum length of [`Read::service`] in bytes.
pub const SERVICE_BYTES_MAX: usize = 256;

/// Maximum length of the name in [`Read::level`] in bytes. No level has a name as long.
pub const LEVEL_BYTES_MAX: usize = 16;

/// Which entries to read.
///
/// The texts that filter have maximum lengths: [`CONTAINS_BYTES_MAX`], [`TEXT_BYTES_MAX`], [`TRACE_BYTES_MAX`],
/// [`FIELDS_BYTES_MAX`], [`SERVICE_BYTES_MAX`] and [`LEVEL_BYTES_MAX`]. A longer one is refused with code 3.
///
/// [`log`](Self::log) and [`after`](Self::after) together are a cursor. One that does not fit the log is refused, with
/// an [`Extent`] as the details: code 9 where the log is another one, code 11 where `after` is past its last entry.
///
/// The last 20 entries are read with [`Order::Desc`] and a [`limit`](Self::limit) of 20.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Read {
    /// The log that `after` belongs to, as a page names it; where it is missing, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Entries behind this number; 0 for the first.
    pub after: u64,
    /// The order of the entries; where it is missing, `asc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Entries below this number; where it is missing, all. Only with `desc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Maximum number of entries, 1 to 1000; default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How long to wait, in milliseconds, if there is no entry yet; 0 answers at once. Only with `asc`.
    pub wait_ms: u64,
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
    /// Only entries whose fields have these values: a text that text, or a number that is written so; a number, true, false
    /// or null what is written so. At most 1024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Only entries of this time or a later one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Only entries of an earlier time than this, in milliseconds since 1970. It is above `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// The order in which entries are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// From the first entry behind `after` on.
    #[default]
    Asc,
    /// From the last entry below `before` down to the first one behind `after`.
    Desc,
}

/// Reads the name of a level, unless it is too long: the error would repeat it.
pub(super) fn level_of_bounded_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Level>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };

    let bytes = name.len();
    if bytes > LEVEL_BYTES_MAX {
        return Err(D::Error::custom(format!(
            "the name of the level has {bytes} bytes and may have at most {LEVEL_BYTES_MAX}"
        )));
    }

    Level::deserialize(name.into_deserializer()).map(Some)
}

/// Entries that were read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page {
    /// The identity of the log: that of its data directory.
    #[serde(default)]
    pub log: String,
    /// The entries, in the order that was asked for. There may be none though `next` moved: none of what was looked at
    /// passed the filters.
    pub entries: Vec<Entry>,
    /// What to pass as `after` to read on, or with [`Order::Desc`] as `before`: nothing is missed, nothing comes twice.
    pub next: u64,
    /// The first number that may still be read. Above `after + 1`, entries between were deleted by retention.
    #[serde(default)]
    pub oldest: u64,
    /// The last number that was written.
    #[serde(default)]
    pub last: u64,
    /// Whether the log has entries behind `next`, in the order that was asked for, which were not looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// What a log holds: the details of the errors of a [`Read`] whose cursor does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The identity of the log.
    pub log: String,
    /// The first number that may still be read.
    pub oldest: u64,
    /// The last number that was written.
    pub last: u64,
}

impl Extent {
    /// The extent in the details of a status; `None` if the status is not about a cursor.
    pub fn of(status: &Status) -> Option<Self> {
        let is_of_cursor = matches!(
            status.code(),
            Code::FAILED_PRECONDITION | Code::OUT_OF_RANGE
        );
        let details = status.details().filter(|_| is_of_cursor)?;
        serde_json::from_str(details.get()).ok()
    }
}
