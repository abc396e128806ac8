use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use rpc_core::api::log::Level;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How many objects and arrays may be inside one another in [`Fields`]. JSON readers, `serde_json` with its
/// 128 among them, refuse what is deeper than their own limit; one such entry would make every page that
/// holds it unreadable.
const FIELDS_DEPTH_MAX: usize = 64;

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
    #[serde(default)]
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
            fields: self.fields.as_ref().map(|fields| fields.0.as_ref()),
        };

        let mut line = Vec::with_capacity(128 + self.message.len());

        // Only a map with keys that are no strings or a writer that fails can fail, and there is neither.
        serde_json::to_writer(&mut line, &rest).expect("numbers and strings always encode");
        line.push(b'\n');

        line
    }
}

/// A JSON object on one line, which every JSON reader can read.
///
/// It is kept as it was written: order of the members, digits of the numbers. Only newlines between its
/// tokens become spaces, because a newline ends an entry.
#[derive(Debug, Clone)]
pub(crate) struct Fields(Box<RawValue>);

impl TryFrom<Box<RawValue>> for Fields {
    type Error = serde_json::Error;

    /// # Errors
    ///
    /// What is not an object, more than 64 levels deep, or holds what a raw value may hold but no value can:
    /// half a surrogate pair, a number out of range.
    fn try_from(raw: Box<RawValue>) -> Result<Self, Self::Error> {
        let members: Map<String, Value> = serde_json::from_str(raw.get())?;
        if 1 + members.values().map(depth).max().unwrap_or(0) > FIELDS_DEPTH_MAX {
            return Err(Self::Error::custom(format_args!(
                "more than {FIELDS_DEPTH_MAX} levels deep"
            )));
        }

        if !raw.get().contains(['\n', '\r']) {
            return Ok(Self(raw));
        }

        // Inside a string a newline is always escaped, so these are all between tokens.
        RawValue::from_string(raw.get().replace(['\n', '\r'], " ")).map(Self)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::try_from(raw).map_err(D::Error::custom)
    }
}

/// What a line must hold to be an entry, and all that filters look at.
#[derive(Debug, Deserialize)]
pub(super) struct EntryRef<'a> {
    pub(super) seq: u64,
    pub(super) level: Level,
    #[serde(borrow)]
    pub(super) service: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
}

impl<'a> EntryRef<'a> {
    /// The entry of a line, or `None` if the line is damaged.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_str(str::from_utf8(line).ok()?).ok()
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
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
        let deep = |levels| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let entry = |fields: &str| {
            format!(r#"{{"level":"info","service":"s","message":"m","fields":{fields}}}"#)
        };
        let accepted = |params: &str| serde_json::from_str::<NewEntry>(params).is_ok();

        assert!(accepted(&entry("{}")));
        assert!(accepted(&entry("null")));
        assert!(accepted(&entry(&deep(FIELDS_DEPTH_MAX))));
        assert!(!accepted(&entry(&deep(FIELDS_DEPTH_MAX + 1))));
        assert!(!accepted(&entry(&deep(100_000))));

        for fields in ["1", "[]", "\"\"", r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#] {
            assert!(!accepted(&entry(fields)), "{fields}");
        }

        assert!(!accepted(
            r#"{"level":"info","service":"s","message":"m","extra":1}"#
        ));
        assert!(!accepted(r#"{"level":"INFO","service":"s","message":"m"}"#));
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
