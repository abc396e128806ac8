//! Reading entries after a cursor.

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

/// Maximum length of the name in [`Read::level`] in bytes. No level has such a long name.
pub const LEVEL_BYTES_MAX: usize = 16;

/// Selects the entries to read.
///
/// Each filter has a maximum length. A call with a longer one is refused with code 3.
///
/// `log` and `after` together are a cursor. A cursor that does not fit the log is refused: with code 9 if it belongs to
/// another log, and with code 11 if `after` is past the last entry. The details of the error name the log, and its
/// first and last number.
///
/// To read the last 20 entries, set `order` to `desc` and `limit` to 20.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Read {
    /// Identity of the log that `after` belongs to, from an earlier page. If it is missing, the log is not checked. At
    /// most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Only entries with a higher number than this; 0 includes the first entry.
    pub after: u64,
    /// Order of the entries; `asc` if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Only entries with a lower number than this; without it, the last entry is included. Only with `desc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Maximum number of entries in the page, 1 to 1000; 100 if it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Time in milliseconds to wait if no entry exists yet; with 0 the reply comes at once. Only with `asc`.
    pub wait_ms: u64,
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
    /// Only entries whose fields have these values. A string matches an equal string, or a number that is written with
    /// the same characters. A number, `true`, `false` or `null` matches a value that is written the same way. At most
    /// 1024 bytes of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Only entries with this time or a later one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Only entries with an earlier time than this, in milliseconds since 1970. It must be above `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// The order in which entries are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Ascending: begins with the first entry after `after`.
    #[default]
    Asc,
    /// Descending: begins with the last entry before `before`, and ends with the first entry after `after`.
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

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page {
    /// Identity of the log, which is stored in its data directory.
    #[serde(default)]
    pub log: String,
    /// The entries, in the requested order. The list may be empty although `next` has advanced, if none of the entries
    /// that were examined passed the filters.
    pub entries: Vec<Entry>,
    /// Value of `after` for the next page, or of `before` with `desc`. With it, no entry is missed or comes twice.
    pub next: u64,
    /// Lowest number that can still be read. If it is above `after` + 1, retention has deleted the entries between the
    /// two.
    #[serde(default)]
    pub oldest: u64,
    /// Number of the last entry that was written.
    #[serde(default)]
    pub last: u64,
    /// True if the log has further entries after `next`, in the requested order, that were not examined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The first and last number of a log: details of the error for a [`Read`] whose cursor does not fit the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The identity of the log.
    pub log: String,
    /// Lowest number that can still be read.
    pub oldest: u64,
    /// Number of the last entry that was written.
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
