//! The verdict of docs/protocol.md on a line, written without a look at the server.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// What the document says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Code 3 with this `id` or none; `is_id_alone`: its only fault is its `id`.
    Bad {
        id: Option<u64>,
        is_id_alone: bool,
    },
}

/// The fields of an object in their order, with those that repeat.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `docs/protocol.md`, "The fine points". `id_before`: that of a line that breaks off, where it stands whole
/// before that point.
pub(super) fn judge(line: &[u8], id_before: Option<u64>) -> Verdict {
    let broken = Verdict::Bad {
        id: id_before,
        is_id_alone: false,
    };
    let Ok(text) = std::str::from_utf8(line) else {
        return broken;
    };
    if depth(text) > 128 {
        return broken;
    }
    let Ok(Fields(fields)) = serde_json::from_str(text) else {
        return broken;
    };
    let all = |name: &str| {
        fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, raw)| raw.get())
            .collect::<Vec<_>>()
    };
    let ids = all("id");
    let is_id_repeated = ids.len() > 1;
    let id = ids.first().map(|raw| {
        (raw.bytes().all(|b| b.is_ascii_digit()))
            .then(|| raw.parse().ok().filter(|id: &u64| *id < 1 << 53))
            .flatten()
    });
    let is_id_wrong = id == Some(None);
    let mut is_wrong = is_id_repeated || all("cmdid").is_empty();
    for (name, fits) in [
        ("cmdid", is_cmdid as fn(&str) -> bool),
        ("timestamp", is_timestamp),
        ("params", |_| true),
        ("timeout_ms", is_count),
        ("oneway", |raw| matches!(raw, "true" | "false")),
        ("credit", is_count),
        (
            "meta",
            |raw| matches!(serde_json::from_str(raw), Ok(Value::Object(map)) if map.values().all(Value::is_string)),
        ),
    ] {
        let values = all(name);
        is_wrong |= values.len() > 1 || values.iter().any(|raw| !fits(raw));
    }
    match (is_wrong, is_id_wrong) {
        (false, false) => Verdict::Good,
        (false, true) => Verdict::Bad {
            id: None,
            is_id_alone: true,
        },
        (true, _) => Verdict::Bad {
            id: id.flatten().filter(|_| !is_id_repeated),
            is_id_alone: false,
        },
    }
}

/// The deepest level; the text's own object is the first. Brackets in strings do not count.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// As `int(...)` takes it: an integer, a float that is truncated, a string of digits.
fn as_int(raw: &str) -> Option<f64> {
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(text) => {
            let text = text.trim();
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        }
        None if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            raw.parse().ok().map(f64::trunc)
        }
        None => None,
    }
}

fn is_cmdid(raw: &str) -> bool {
    as_int(raw).is_some_and(|number| (0.0..=f64::from(u32::MAX)).contains(&number))
}

fn is_timestamp(raw: &str) -> bool {
    as_int(raw).is_some_and(f64::is_finite)
}

fn is_count(raw: &str) -> bool {
    // The document promises 2^53-1 and leaves open what is beyond, which is not tried here.
    raw.bytes().all(|b| b.is_ascii_digit()) && raw.parse::<u64>().is_ok()
}

#[test]
fn the_judge_knows_good_lines_and_the_fine_points() {
    let good = [
        "{\"id\":7,\"cmdid\":\" +200 \",\"timestamp\":-1.5,\"params\":1e400,\"x\":1,\"x\":2}",
        " {\"cmdid\":200.9,\"params\":\"\\ud800\",\"meta\":{\"a\":\"b\"}} ",
    ];
    for line in good {
        assert_eq!(judge(line.as_bytes(), None), Verdict::Good, "{line}");
    }
    let of = |line: &str| judge(line.as_bytes(), None);
    let bad = |id, is_id_alone| Verdict::Bad { id, is_id_alone };
    assert_eq!(of("{\"cmdid\":true,\"id\":7}"), bad(Some(7), false));
    assert_eq!(of("{\"cmdid\":1,\"id\":7.0}"), bad(None, true));
    assert_eq!(of("{\"cmdid\":1,\"id\":7,\"id\":7}"), bad(None, false));
    assert_eq!(of("{\"\\u0063mdid\":1,\"cmdid\":1}"), bad(None, false));
}
