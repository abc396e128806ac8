use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use rpc_core::api::log::{Fields, Level, TS_MAX};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// An entry as a caller gives it, before it has a sequence number.
///
/// JSON: `{"level":"info","service":"order","message":"…","ts":1735689600000,"trace":"…","fields":{}}`, the
/// last three optional, and nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEntry {
    /// How much it matters.
    pub(crate) level: Level,
    /// The program it comes from.
    pub(crate) service: String,
    /// The text for people.
    pub(crate) message: String,
    /// When it happened, in milliseconds since 1970; the time of the append if absent.
    #[serde(default, deserialize_with = "possible_time")]
    pub(crate) ts: Option<u64>,
    /// The trace it belongs to.
    #[serde(default)]
    pub(crate) trace: Option<String>,
    /// Whatever else is known, for programs.
    #[serde(default)]
    pub(crate) fields: Option<Fields>,
}

impl NewEntry {
    /// The line of this entry with its newline, but without its first member: the sequence number is known
    /// only under the lock of the queue, and the work should be done by then.
    pub(super) fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Rest<'a> {
            ts: u64,
            level: Level,
            service: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            trace: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            fields: Option<&'a RawValue>,
        }

        let rest = Rest {
            ts: self.ts.unwrap_or_else(now_ms),
            level: self.level,
            service: &self.service,
            message: &self.message,
            trace: self.trace.as_deref(),
            fields: self.fields.as_ref().map(Fields::as_raw),
        };

        let mut line = Vec::with_capacity(128 + self.message.len());

        // Only a map with keys that are no strings or a writer that fails can fail, and there is neither.
        serde_json::to_writer(&mut line, &rest).expect("numbers and strings always encode");
        line.push(b'\n');

        line
    }
}

/// Reads a time. One past the last date that can be written is refused: whoever formats it would fail.
fn possible_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
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

/// What a line must hold to be an entry, and all that filters look at.
#[derive(Debug, Deserialize)]
pub(super) struct EntryRef<'a> {
    pub(super) seq: u64,
    pub(super) ts: u64,
    pub(super) level: Level,
    #[serde(borrow)]
    pub(super) service: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) trace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) fields: Option<&'a RawValue>,
}

impl<'a> EntryRef<'a> {
    /// The entry of a line, or `None` if the line is damaged.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_str(str::from_utf8(line).ok()?).ok()
    }
}

impl EntryRef<'_> {
    /// Whether a text stands in the message, the service, the trace, or in a text of the fields at any depth.
    pub(super) fn has_text(&self, text: &str) -> bool {
        let in_trace = self
            .trace
            .as_ref()
            .is_some_and(|trace| trace.contains(text));
        if in_trace || self.message.contains(text) || self.service.contains(text) {
            return true;
        }

        let fields = self
            .fields
            .and_then(|fields| serde_json::from_str(fields.get()).ok());
        fields.is_some_and(|fields: Value| value_has_text(&fields, text))
    }
}

/// Whether a text stands in a string of a value. Fields are nested 64 deep at most.
fn value_has_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| value_has_text(item, text)),
        Value::Object(members) => members.values().any(|member| value_has_text(member, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(params: &str) -> String {
        let entry: NewEntry = serde_json::from_str(params).expect(params);
        String::from_utf8(entry.encode()).unwrap()
    }

    #[test]
    fn the_members_of_a_line_come_in_a_fixed_order() {
        let params = r#"{"fields":{"b":1.50,"a":[]},"trace":"t","ts":7,"message":"m","service":"s","level":"fatal"}"#;
        let line = r#"{"ts":7,"level":"fatal","service":"s","message":"m","trace":"t","fields":{"b":1.50,"a":[]}}"#;
        assert_eq!(encoded(params), format!("{line}\n"));
    }

    #[test]
    fn no_newline_of_the_caller_reaches_the_line() {
        let params = "{\"level\":\"info\",\"service\":\"a\\nb\",\"message\":\"c\\r\\nd\",\"trace\":\"e\\nf\",\
                      \"fields\":{\n\"k\"\r\n:\t[1,\n2, \"\\n\"]}}";
        let line = encoded(params);

        assert_eq!(line.matches(['\n', '\r']).count(), 1, "{line}");
        assert!(
            line.ends_with("\"fields\":{ \"k\"  :\t[1, 2, \"\\n\"]}}\n"),
            "{line}"
        );
    }

    #[test]
    fn params_that_would_spoil_a_page_are_refused() {
        let entry = |fields: &str| {
            format!(r#"{{"level":"info","service":"s","message":"m","fields":{fields}}}"#)
        };
        let accepted = |params: &str| serde_json::from_str::<NewEntry>(params).is_ok();

        assert!(accepted(&entry("{}")));
        assert!(accepted(&entry("null")));
        for fields in [
            "1",
            "[]",
            "\"\"",
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1,"a":2}"#,
        ] {
            assert!(!accepted(&entry(fields)), "{fields}");
        }

        assert!(!accepted(
            r#"{"level":"info","service":"s","message":"m","extra":1}"#
        ));
        assert!(!accepted(r#"{"level":"INFO","service":"s","message":"m"}"#));
    }

    #[test]
    fn a_time_without_a_date_is_refused_with_the_unit_that_it_probably_has() {
        let read = |ts: &str| {
            let params = format!(r#"{{"level":"info","service":"s","message":"m","ts":{ts}}}"#);
            serde_json::from_str::<NewEntry>(&params).map_err(|error| error.to_string())
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
