//! Entries as the files have them.

use std::borrow::Cow;

use rpc_core::api::log::{Append, Fields, Level};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::members;
use super::repeats::{BatchOf, KeyOf};

/// How an entry came, as far as its line tells of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// By itself.
    Plain,
    /// With a key.
    Key(&'a KeyOf<'a>),
    /// As the first one of a batch.
    Batch(&'a str),
}

/// The line of an entry with its newline, but without its first member: the sequence number is known only under the
/// lock of the queue, and the work should be done by then.
///
/// `received` is the time of receipt in milliseconds since 1970. An entry that has no time of its own has that one; the
/// others have it besides, as `rx`, since the clocks of their callers may be wrong.
pub(super) fn encode(entry: &Append, origin: Origin<'_>, received: u64) -> Vec<u8> {
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
        #[serde(skip_serializing_if = "Option::is_none")]
        rx: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a KeyOf<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<&'a str>,
    }

    let (key, batch) = match origin {
        Origin::Plain => (None, None),
        Origin::Key(key) => (Some(key), None),
        Origin::Batch(batch) => (None, Some(batch)),
    };
    let rest = Rest {
        ts: entry.ts.unwrap_or(received),
        level: entry.level,
        service: &entry.service,
        message: &entry.message,
        trace: entry.trace.as_deref(),
        fields: entry.fields.as_ref().map(Fields::as_raw),
        rx: entry.ts.map(|_| received),
        key,
        batch,
    };

    let mut line = Vec::with_capacity(128 + entry.message.len());

    // Only a map with keys that are no strings or a writer that fails can fail, and there is neither.
    serde_json::to_writer(&mut line, &rest).expect("numbers and strings always encode");
    line.push(b'\n');

    line
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
    #[serde(borrow, default)]
    pub(super) key: Option<KeyOf<'a>>,
    #[serde(borrow, default)]
    batch: Option<Cow<'a, str>>,
}

impl<'a> EntryRef<'a> {
    /// The entry of a line, or `None` if the line is damaged.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_str(str::from_utf8(line).ok()?).ok()
    }
}

impl EntryRef<'_> {
    /// The batch whose first entry this is. One that makes no sense counts as missing.
    pub(super) fn batch(&self) -> Option<BatchOf> {
        self.batch.as_ref()?.parse().ok()
    }

    /// Whether a text is part of the message, the service, the trace, or in a text of the fields at any depth.
    pub(super) fn has_text(&self, text: &str) -> bool {
        let in_trace = self
            .trace
            .as_ref()
            .is_some_and(|trace| trace.contains(text));
        if in_trace || self.message.contains(text) || self.service.contains(text) {
            return true;
        }

        let fields = self.fields;
        fields.is_some_and(|fields| members::have_text(fields, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(params: &str) -> String {
        let entry: Append = serde_json::from_str(params).expect(params);
        String::from_utf8(encode(&entry, Origin::Plain, 9)).unwrap()
    }

    #[test]
    fn the_members_of_a_line_come_in_a_fixed_order() {
        let params = r#"{"fields":{"b":1.50,"a":[]},"trace":"t","ts":7,"message":"m","service":"s","level":"fatal"}"#;
        let line = r#"{"ts":7,"level":"fatal","service":"s","message":"m","trace":"t","fields":{"b":1.50,"a":[]},"rx":9}"#;
        assert_eq!(encoded(params), format!("{line}\n"));
    }

    #[test]
    fn an_entry_without_a_time_has_that_of_its_receipt_and_not_twice() {
        let line = r#"{"ts":9,"level":"info","service":"s","message":"m"}"#;
        for params in [
            r#"{"level":"info","service":"s","message":"m"}"#,
            r#"{"level":"info","service":"s","message":"m","ts":null}"#,
        ] {
            assert_eq!(encoded(params), format!("{line}\n"));
        }
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
        let accepted = |params: &str| serde_json::from_str::<Append>(params).is_ok();

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
}
