//! Entries: as callers send them, and as the log stores them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Fields, FieldsRef};
use crate::api::UnknownName;

/// Largest [`Append::ts`]: the last millisecond of the year 9999, which is the last year that RFC 3339 can write.
pub const TS_MAX: u64 = 253_402_300_799_999;

/// The severity of an entry, from `trace`, the lowest, to `fatal`, the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Each step of a program.
    Trace,
    /// Facts for developers who search for a fault.
    Debug,
    /// Normal events, for example a start.
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
    /// Every level, the lowest first.
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

    /// The level for a severity of syslog (RFC 5424, section 6.2.1), which is also the `PRIORITY` of systemd's journal:
    /// 0 to 2 are fatal, 3 error, 4 warn, 5 and 6 info, 7 debug. `None` for other numbers.
    ///
    /// ```
    /// use rpc_core::api::log::Level;
    ///
    /// assert_eq!(Level::of_severity(3), Some(Level::Error));
    /// assert_eq!(Level::of_severity(8), None);
    /// ```
    pub fn of_severity(severity: u8) -> Option<Self> {
        match severity {
            0..=2 => Some(Self::Fatal),
            3 => Some(Self::Error),
            4 => Some(Self::Warn),
            5 | 6 => Some(Self::Info),
            7 => Some(Self::Debug),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == name);
        let known = Self::ALL.map(Self::as_str);
        found.ok_or_else(|| UnknownName::new("Level", name, known))
    }
}

/// An entry to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// Severity of the event.
    pub level: Level,
    /// Name of the service that writes the entry, for example `"order"`.
    pub service: String,
    /// What happened, as a text.
    pub message: String,
    /// Time of the event, in milliseconds since 1970. If it is missing, the log uses the time of receipt.
    #[serde(
        default,
        deserialize_with = "possible_time",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    pub ts: Option<u64>,
    /// Id of the trace that the event belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Further data, as an object. The log stores it unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}

impl Append {
    /// An entry with only the required members.
    ///
    /// ```
    /// use rpc_core::api::log::{Append, Level};
    ///
    /// let mut entry = Append::new(Level::Warn, "order", "paid twice");
    /// entry.trace = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    /// assert_eq!(serde_json::to_value(&entry)?["level"], "warn");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
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

/// A borrowed [`Append`]: its texts are slices of the JSON from which it was deserialized. A server that writes each entry
/// at once saves the copies.
///
/// It accepts the same JSON as [`Append`], and refuses other JSON with the same errors.
///
/// ```
/// use rpc_core::api::log::AppendRef;
///
/// let entry: AppendRef<'_> = serde_json::from_str(r#"{"level":"warn","service":"order","message":"paid twice"}"#)?;
/// assert_eq!(entry.message, "paid twice");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "struct Append")]
pub struct AppendRef<'a> {
    /// [`Append::level`].
    pub level: Level,
    /// [`Append::service`].
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// [`Append::message`].
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// [`Append::ts`].
    #[serde(default, deserialize_with = "possible_time")]
    pub ts: Option<u64>,
    /// [`Append::trace`].
    #[serde(borrow, default, deserialize_with = "possible_text")]
    pub trace: Option<Cow<'a, str>>,
    /// [`Append::fields`].
    #[serde(borrow, default)]
    pub fields: Option<FieldsRef<'a>>,
}

impl<'a> From<&'a Append> for AppendRef<'a> {
    fn from(entry: &'a Append) -> Self {
        Self {
            level: entry.level,
            service: Cow::Borrowed(&entry.service),
            message: Cow::Borrowed(&entry.message),
            ts: entry.ts,
            trace: entry.trace.as_deref().map(Cow::Borrowed),
            fields: entry.fields.as_ref().map(FieldsRef::from),
        }
    }
}

/// Reads a text that may be missing, and borrows it; `Option<Cow<str>>` by itself would copy it.
fn possible_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    let text = Option::<Text<'a>>::deserialize(deserializer)?;
    Ok(text.map(|Text(text)| text))
}

/// Reads a time. A time after [`TS_MAX`] is refused, because it could not be written as a date.
pub(super) fn possible_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let ts = Option::<u64>::deserialize(deserializer)?;
    match ts {
        Some(ts) if ts > TS_MAX => Err(D::Error::custom(format_args!(
            "{ts} is after the year 9999: `ts` is in milliseconds since 1970{}",
            probable_unit(ts)
        ))),
        _ => Ok(ts),
    }
}

/// Names the unit in which a time would be one of this century.
fn probable_unit(ts: u64) -> &'static str {
    let this_century = 946_684_800_000..4_102_444_800_000;
    if this_century.contains(&(ts / 1000)) {
        ", and this seems to be in microseconds; divide it by 1000"
    } else if this_century.contains(&(ts / 1_000_000)) {
        ", and this seems to be in nanoseconds; divide it by 1000000"
    } else {
        ""
    }
}

/// The entry that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Appended {
    /// Number of the entry. Numbers begin at 1, and entries are stored in their order.
    pub seq: u64,
    /// True if the log already had the entry from an earlier call with the same `idempotency-key`, and has not written
    /// it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Whether the entry survives a loss of power. False means that the log works without `fsync`: the entry survives a
    /// crash of the server, but not a loss of power.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub synced: bool,
}

impl Appended {
    /// The reply for a new entry that is on disk.
    pub fn new(seq: u64) -> Self {
        Self {
            seq,
            duplicate: false,
            synced: true,
        }
    }
}

pub(super) fn yes() -> bool {
    true
}

/// An entry as it is stored: one line of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// Number of the entry.
    pub seq: u64,
    /// Time of the event, in milliseconds since 1970.
    pub ts: u64,
    /// Severity of the event.
    pub level: Level,
    /// Name of the service that wrote the entry.
    pub service: Cow<'static, str>,
    /// What happened, as a text.
    pub message: String,
    /// Id of the trace that the event belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Further data, as the service wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// Time at which the log received the entry, in milliseconds since 1970, if the caller has set `ts`. If it is
    /// missing, `ts` is the time of receipt. Entries that older versions have written never have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_borrowed_entry_takes_what_an_owned_one_takes_and_refuses_all_else_with_its_errors() {
        let entry = |members: &str| format!(r#"{{"level":"info","service":"s",{members}}}"#);
        let mut texts: Vec<String> = [
            r#""message":"m""#,
            r#""message":"a\u0062\n\"c\" é","trace":"t\\","ts":7"#,
            r#""message":"m","trace":null,"ts":null,"fields":null"#,
            r#""message":"m","fields":{"b":1.50, "a":[]}"#,
            "\"message\":\"m\",\"fields\":{\r\"b\":\n1}",
            r#""message":"m","fields":{"a":1,"a":2}"#,
            r#""message":"m","fields":{"a":"\ud800"}"#,
            r#""message":"m","fields":[]"#,
            r#""message":"\ud800""#,
            r#""message":1"#,
            r#""message":"m","trace":1"#,
            r#""message":"m","trace":["t"]"#,
            r#""message":"m","ts":-1"#,
            r#""message":"m","ts":1700000000000000"#,
            r#""message":"m","message":"m""#,
            r#""message":"m","extra":1"#,
            r#""trace":"t""#,
            r#""message":"m"#,
        ]
        .map(entry)
        .into();
        texts.extend(["{}", "1", r#"{"level":"INFO"}"#, r#"{"level":1}"#].map(String::from));

        let (mut taken, mut refused) = (0, 0);
        for text in &texts {
            let owned = serde_json::from_str::<Append>(text);
            let borrowed = serde_json::from_str::<AppendRef<'_>>(text);
            match (&owned, &borrowed) {
                (Ok(owned), Ok(borrowed)) => {
                    assert_eq!(AppendRef::from(owned), *borrowed, "{text}");
                    taken += 1;
                }
                (Err(owned), Err(borrowed)) => {
                    assert_eq!(owned.to_string(), borrowed.to_string(), "{text}");
                    refused += 1;
                }
                _ => panic!("{text}: {owned:?}, {borrowed:?}"),
            }
        }
        assert_eq!((taken, refused), (5, texts.len() - 5));
    }

    #[test]
    fn a_borrowed_entry_copies_only_what_is_escaped() {
        let text =
            r#"{"level":"info","service":"s","message":"a\tb","trace":"t","fields":{"a":1}}"#;
        let entry: AppendRef<'_> = serde_json::from_str(text).unwrap();
        assert!(matches!(entry.service, Cow::Borrowed("s")));
        assert!(matches!(entry.trace, Some(Cow::Borrowed("t"))));
        assert!(matches!(&entry.message, Cow::Owned(message) if message == "a\tb"));
        assert_eq!(entry.fields.unwrap().as_str(), r#"{"a":1}"#);
    }

    #[test]
    fn a_time_without_a_date_is_refused_with_the_unit_that_it_probably_has() {
        let read = |ts: &str| {
            let params = format!(r#"{{"level":"info","service":"s","message":"m","ts":{ts}}}"#);
            serde_json::from_str::<Append>(&params).map_err(|error| error.to_string())
        };

        for possible in ["0", "1700000000000", "253402300799999", "null"] {
            assert!(read(possible).is_ok(), "{possible}");
        }
        for (ts, unit) in [
            ("253402300800000", "after the year 9999"),
            (
                "1700000000000000",
                "seems to be in microseconds; divide it by 1000",
            ),
            (
                "1700000000000000000",
                "seems to be in nanoseconds; divide it by 1000000",
            ),
            ("18446744073709551615", "milliseconds since 1970"),
            ("-1", "expected u64"),
            ("1700000000.5", "expected u64"),
            ("1e12", "expected u64"),
        ] {
            let error = read(ts).unwrap_err();
            assert!(error.contains(unit), "{ts}: {error}");
        }
    }

    #[test]
    fn levels_are_ordered_from_trace_to_fatal() {
        let names = ["trace", "debug", "info", "warn", "error", "fatal"];
        let levels: Vec<Level> = names
            .iter()
            .map(|name| serde_json::from_str(&format!("\"{name}\"")).unwrap())
            .collect();
        assert!(levels.is_sorted_by(|a, b| a < b));
    }
}
