//! The log service: entries appended, numbered, on disk, and read back with a cursor.

mod fields;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::frame::CmdId;
use crate::status::{Code, Status};

pub use fields::{FIELDS_DEPTH_MAX, Fields};

/// Params [`Append`], data [`Appended`]: writes an entry and answers once it is on disk.
pub const APPEND: CmdId = CmdId::new(1001);

/// Params [`Read`], data [`Page`]: entries behind a cursor, waiting for them where there are none.
pub const READ: CmdId = CmdId::new(1002);

/// Largest [`Append::ts`]: the last millisecond of the year 9999, which is the last year that RFC 3339 can write.
pub const TS_MAX: u64 = 253_402_300_799_999;

/// Maximum length of [`Read::contains`] in bytes.
pub const CONTAINS_BYTES_MAX: usize = 1024;

/// Maximum length of [`Read::text`] in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Maximum length of [`Read::trace`] in bytes.
pub const TRACE_BYTES_MAX: usize = 256;

/// Maximum length of [`Read::log`] in bytes.
pub const LOG_BYTES_MAX: usize = 64;

/// Maximum length of [`Read::service`] in bytes.
pub const SERVICE_BYTES_MAX: usize = 256;

/// Maximum length of the name in [`Read::level`] in bytes. No level has a name as long.
pub const LEVEL_BYTES_MAX: usize = 16;

/// How grave an entry is, from `trace` up to `fatal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Life as usual.
    Info,
    /// An operator should look.
    #[serde(alias = "warning")]
    Warn,
    /// Something was lost.
    Error,
    /// The service ended.
    #[serde(alias = "critical")]
    Fatal,
}

impl Level {
    /// Every level, the least grave first.
    pub const ALL: [Self; 6] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Fatal,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == name);
        found.ok_or_else(|| {
            format!(
                "unknown level `{name}`, expected one of trace, debug, info, warn, error, fatal"
            )
        })
    }
}

/// An entry to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// How grave it is.
    pub level: Level,
    /// Who says it, as `"order"`.
    pub service: String,
    /// What happened.
    pub message: String,
    /// When, in milliseconds since 1970; where it is missing, the time of receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<u64>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// More, as an object. It is stored as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}

impl Append {
    /// An entry with no more than it must have.
    pub fn new(level: Level, service: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level,
            service: service.into(),
            message: message.into(),
            ts: None,
            trace: None,
            fields: None,
        }
    }
}

/// The entry that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Appended {
    /// The entry's number: from 1, in the order of the file.
    pub seq: u64,
}

/// Which entries to read.
///
/// The texts that filter have maximum lengths: [`CONTAINS_BYTES_MAX`], [`TEXT_BYTES_MAX`], [`TRACE_BYTES_MAX`],
/// [`SERVICE_BYTES_MAX`] and [`LEVEL_BYTES_MAX`]. A longer one is refused with code 3.
///
/// [`log`](Self::log) and [`after`](Self::after) together are a cursor. One that does not fit the log is refused, with
/// an [`Extent`] as the details: code 9 where the log is another one, code 11 where `after` is past its last entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Read {
    /// The log that `after` belongs to, as a page names it; where it is missing, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Entries behind this number; 0 for the first.
    pub after: u64,
    /// At most so many entries, 1 to 1000; 100 where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How long to wait, in milliseconds, where there is none yet; 0 answers at once.
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
    /// Only entries of this time or a later one, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Only entries of an earlier time than this, in milliseconds since 1970. It is above `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// Reads the name of a level, unless it is too long: the error would repeat it.
fn level_of_bounded_name<'de, D: Deserializer<'de>>(
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
    /// The entries, in order. There may be none though `next` moved: none of what was looked at
    /// passed the filters.
    pub entries: Vec<Entry>,
    /// What to pass as `after` to read on: nothing is missed, nothing comes twice.
    pub next: u64,
    /// The first number that may still be read. Above `after + 1`, entries between were deleted by retention.
    #[serde(default)]
    pub oldest: u64,
    /// The last number that was written.
    #[serde(default)]
    pub last: u64,
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

/// One entry as it is stored: one line of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub ts: u64,
    /// How grave it is.
    pub level: Level,
    /// Who said it.
    pub service: Cow<'static, str>,
    /// What happened.
    pub message: String,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// More, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}
