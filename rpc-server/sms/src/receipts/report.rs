//! Reports about messages, as a request has them.

use serde_json::{Map, Value as Json};

use crate::config::{ReceiptFormat, ReceiptMeaning, ReceiptSettings};
use crate::mapping::text_at;
use crate::message::AttemptId;
use crate::outcome::is_code;
use crate::store::{Receipt, ReceiptScope, ReceiptState};

/// Longest names of messages and codes, in bytes.
const TEXT_BYTES_MAX: usize = 128;

/// What a request says of one message.
#[derive(Debug, Clone)]
pub(super) enum Report {
    /// What became of it.
    Receipt(Receipt),
    /// Nothing new.
    Ignored,
    /// A state that the settings do not know.
    UnknownState,
}

/// The gateway whose receipts are read.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) gateway: &'s str,
    pub(super) settings: &'s ReceiptSettings,
    pub(super) scope: ReceiptScope,
}

/// Reads the reports of a request; `None` if it has none that can be read.
pub(super) fn read(source: Source<'_>, query: &str, body: &[u8]) -> Option<Vec<Report>> {
    let settings = source.settings;
    let whole = match settings.format {
        ReceiptFormat::Json => serde_json::from_slice(body).ok()?,
        ReceiptFormat::Form => object(pairs(std::str::from_utf8(body).ok()?)),
        ReceiptFormat::Query => object(pairs(query)),
    };
    let items = match &settings.list {
        Some(list) => whole.pointer(list)?.as_array()?.as_slice(),
        None => std::slice::from_ref(&whole),
    };

    // A list may have some that cannot be read; to refuse all would only bring them again.
    let reports: Vec<Report> = items
        .iter()
        .filter_map(|item| read_one(source, item))
        .collect();
    (!reports.is_empty() || items.is_empty()).then_some(reports)
}

fn read_one(source: Source<'_>, item: &Json) -> Option<Report> {
    let settings = source.settings;
    let bounded = |pointer: &str| {
        text_at(item, pointer).filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()))
    };

    let state = match settings.map.get(&text_at(item, &settings.state)?) {
        Some(ReceiptMeaning::Sent) => ReceiptState::Sent,
        Some(ReceiptMeaning::Delivered) => ReceiptState::Delivered,
        Some(ReceiptMeaning::Undelivered) => ReceiptState::Undelivered,
        Some(ReceiptMeaning::Ignore) => return Some(Report::Ignored),
        None => return Some(Report::UnknownState),
    };

    let id: Option<AttemptId> = bounded(&settings.id).and_then(|id| id.parse().ok());
    let reference = bounded(&settings.reference);
    if id.is_none() && reference.is_none() {
        return None;
    }

    Some(Report::Receipt(Receipt {
        gateway: source.gateway.to_owned(),
        reference,
        id,
        scope: source.scope,
        state,
        error: bounded(&settings.code).filter(|code| is_code(code)),
    }))
}

fn object(pairs: Vec<(String, String)>) -> Json {
    let fields = pairs
        .into_iter()
        .map(|(name, value)| (name, Json::String(value)));
    Json::Object(fields.collect::<Map<_, _>>())
}

/// The names and values of a form or query.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    };
    parts.map(pair).collect()
}

/// A name or value as it was before it was encoded for a form or query.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match (byte, hex.map(|hex| u8::from_str_radix(hex, 16))) {
            (_, Some(Ok(byte))) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_what_is_no_code_stays() {
        let decoded = pairs("a=%2B86+1&b=%e4%bd%a0&c&=d&e=%zz%+%4&&f=1=2");
        let expected = [
            ("a", "+86 1"),
            ("b", "你"),
            ("c", ""),
            ("", "d"),
            ("e", "%zz% %4"),
            ("f", "1=2"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(decoded, expected);
    }
}
