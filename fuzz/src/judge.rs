//! A judge of lines by docs/protocol.md, read with serde_json: written without a look at rpc-core.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Levels of nesting, the frame's own object among them.
const DEPTH_MAX: usize = 128;
const ID_MAX: u64 = (1 << 53) - 1;

/// A request line.
#[derive(Debug, PartialEq)]
pub enum Verdict<'a> {
    Good(Fields<'a>),
    /// The only fault is the `id`.
    BadId,
    /// The `id` that is given back.
    Malformed(Option<u64>),
    /// A case that the document leaves open: a number of milliseconds or items past 2^53-1.
    Open,
}

#[derive(Debug, PartialEq, Default)]
pub struct Fields<'a> {
    pub id: Option<u64>,
    pub cmdid: u32,
    pub timestamp: Option<i64>,
    pub params: Option<&'a str>,
    pub timeout_ms: Option<u64>,
    pub oneway: bool,
    pub credit: Option<u64>,
    pub meta: BTreeMap<String, String>,
}

/// A line from a server.
#[derive(Debug, PartialEq)]
pub enum FromServer<'a> {
    Reply(Reply<'a>),
    Notice(String),
    Bad,
}

#[derive(Debug, PartialEq, Default)]
pub struct Reply<'a> {
    pub id: Option<u64>,
    pub code: u32,
    pub data: Option<&'a str>,
    pub more: bool,
    pub message: Option<String>,
    pub details: Option<&'a str>,
    pub rejected: bool,
    pub retry_after_ms: Option<u64>,
}

/// Judges a request line, without its line break.
pub fn request(line: &[u8]) -> Verdict<'_> {
    let (entries, is_whole) = entries(line);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut fields, mut wrong, mut wrong_id, mut open) =
        (Fields::default(), !is_whole, false, false);
    let mut has_cmdid = false;

    for Entry { key, value } in &entries {
        let times = seen.entry(key.clone()).or_default();
        *times += 1;
        if *times > 1 {
            let known = [
                "id",
                "cmdid",
                "timestamp",
                "params",
                "timeout_ms",
                "oneway",
                "credit",
                "meta",
            ];

            wrong |= known.contains(&key.as_str());
            continue;
        }

        match key.as_str() {
            "id" => match integer(value).filter(|id| *id <= ID_MAX) {
                Some(id) => fields.id = Some(id),
                None => wrong_id = true,
            },
            "cmdid" => match lenient(value).and_then(|number| u32::try_from(number).ok()) {
                Some(number) => (fields.cmdid, has_cmdid) = (number, true),
                None => wrong = true,
            },
            "timestamp" => match lenient(value).and_then(|seconds| i64::try_from(seconds).ok()) {
                Some(seconds) => fields.timestamp = Some(seconds),
                None => wrong = true,
            },
            "params" => fields.params = Some(value),
            "timeout_ms" | "credit" => {
                let number = integer(value);
                wrong |= !is_integer(value);
                open |= is_integer(value) && number.is_none_or(|number| number > ID_MAX);
                *(if key == "credit" {
                    &mut fields.credit
                } else {
                    &mut fields.timeout_ms
                }) = number;
            }
            "oneway" => match *value {
                "true" => fields.oneway = true,
                "false" => {}
                _ => wrong = true,
            },
            "meta" => match serde_json::from_str::<BTreeMap<String, String>>(value) {
                Ok(meta) if value.starts_with('{') => fields.meta = meta,
                _ => wrong = true,
            },
            _ => {}
        }
    }

    let id = fields.id.filter(|_| seen.get("id") == Some(&1));
    match (wrong || !has_cmdid, wrong_id) {
        _ if open => Verdict::Open,
        (true, _) => Verdict::Malformed(id),
        (false, true) => Verdict::BadId,
        (false, false) => Verdict::Good(fields),
    }
}

const REPLY_FIELDS: [&str; 9] = [
    "id",
    "code",
    "data",
    "more",
    "message",
    "details",
    "rejected",
    "retry_after_ms",
    "event",
];

/// Judges a line from a server, without its line break. Of a repeated field the last one counts: a
/// server that repeats one is wrong, and what becomes of it is not said.
pub fn reply(line: &[u8]) -> FromServer<'_> {
    let (entries, is_whole) = entries(line);
    if !is_whole {
        return FromServer::Bad;
    }

    let (mut reply, mut code, mut event, mut wrong) = (Reply::default(), None, None, false);
    let mut seen = BTreeSet::new();
    for Entry { key, value } in entries {
        // A field that is known stands once.
        wrong |= REPLY_FIELDS.contains(&key.as_str()) && !seen.insert(key.clone());

        let fits = match key.as_str() {
            "id" => set(&mut reply.id, integer(value).filter(|id| *id <= ID_MAX)),
            "code" => set(
                &mut code,
                integer(value).and_then(|code| u32::try_from(code).ok()),
            ),
            "data" => set(&mut reply.data, Some(value)),
            "more" => serde_json::from_str(value)
                .map(|more| reply.more = more)
                .is_ok(),
            "message" => set(&mut reply.message, text(value)),
            "details" => set(&mut reply.details, Some(value)),
            "rejected" => serde_json::from_str(value)
                .map(|rejected| reply.rejected = rejected)
                .is_ok(),
            "retry_after_ms" => set(&mut reply.retry_after_ms, integer(value)),
            "event" => set(&mut event, text(value)),
            _ => true,
        };
        wrong |= !fits;
    }

    match (wrong, code, event) {
        (false, Some(code), _) => FromServer::Reply(Reply { code, ..reply }),
        (false, None, Some(event)) => FromServer::Notice(event),
        _ => FromServer::Bad,
    }
}

fn set<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    *field = value;
    field.is_some()
}

struct Entry<'a> {
    /// Unescaped; empty for one that is no Unicode text, which is no known name.
    key: String,
    value: &'a str,
}

/// The fields of the object up to where the line breaks off, and whether it is whole JSON. The last field
/// of a line that breaks off right behind it does not count: its number might go on.
fn entries(line: &[u8]) -> (Vec<Entry<'_>>, bool) {
    let valid = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&line[..error.valid_up_to()]).expect("valid up to there"),
    };
    let text = &valid[..too_deep_at(valid).unwrap_or(valid.len())];

    let found = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = reader.deserialize_map(Entries(&found)).is_ok() && reader.end().is_ok();
    let is_whole = parsed && text.len() == line.len();

    let mut found = found.into_inner();
    if let Some(last) = found.last()
        && !is_whole
    {
        let behind = last.1.as_ptr() as usize + last.1.len() - text.as_ptr() as usize;
        if text[behind..]
            .trim_matches([' ', '\t', '\r', '\n'])
            .is_empty()
        {
            found.pop();
        }
    }

    let entry = |(key, value): (&str, _)| Entry {
        key: serde_json::from_str(key).unwrap_or_default(),
        value,
    };
    (found.into_iter().map(entry).collect(), is_whole)
}

struct Entries<'c, 'a>(&'c RefCell<Vec<(&'a str, &'a str)>>);

impl<'a> Visitor<'a> for Entries<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<&RawValue>()? {
            let value = map.next_value::<&RawValue>()?;
            self.0.borrow_mut().push((key.get(), value.get()));
        }
        Ok(())
    }
}

/// Where a bracket opens one level too many. Right up to the first fault of the syntax, behind which
/// nothing matters.
fn too_deep_at(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);

    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' if depth == DEPTH_MAX => return Some(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }

    None
}

fn is_integer(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_digit())
}

fn integer(value: &str) -> Option<u64> {
    is_integer(value).then(|| value.parse().ok()).flatten()
}

fn text(value: &str) -> Option<String> {
    if !value.starts_with('"') {
        return None;
    }

    // A lone surrogate makes a message for people no worse than its characters are.
    Some(serde_json::from_str(value).unwrap_or_else(|_| value[1..value.len() - 1].to_owned()))
}

/// As Python's `int(...)`.
fn lenient(value: &str) -> Option<i128> {
    match value.as_bytes().first()? {
        b'"' => {
            let text: String = serde_json::from_str(value).ok()?;
            let text = text.trim_ascii();
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            (!digits.is_empty() && is_integer(digits))
                .then(|| text.parse().ok())
                .flatten()
        }
        b'-' | b'0'..=b'9' if !value.contains(['.', 'e', 'E']) => value.parse().ok(),
        b'-' | b'0'..=b'9' => {
            let float = value.parse::<f64>().ok()?.trunc();

            // Every float below 2^126 is exact there.
            (float.abs() < 2f64.powi(126)).then_some(float as i128)
        }
        _ => None,
    }
}
