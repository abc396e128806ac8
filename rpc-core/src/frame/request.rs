use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::ID_MAX;
use super::cmdid::CmdId;
use super::meta::Meta;
use super::raw::RawJson;
use super::scan::{RawStr, Scanner, SyntaxError};
use crate::scope::Scope;

/// One call as it reaches a service.
///
/// The fields up to `meta` are those of the line (docs/protocol.md, "Request"); `scope` is what
/// the connection knows besides.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Correlates the reply; without it the call is ordered.
    pub id: Option<u64>,
    /// The command.
    pub cmdid: CmdId,
    /// When the request was made, in Unix seconds by the caller's clock; diagnostic only.
    pub timestamp: Option<i64>,
    /// The arguments; `{}` where the line had none.
    pub params: RawJson<'a>,
    /// How long the caller still waits, counted from receipt.
    pub timeout: Option<Duration>,
    /// Whether no reply is sent, not even an error.
    pub oneway: bool,
    /// How many items a stream may send before it is given more; without it, any number.
    pub credit: Option<u64>,
    /// Metadata.
    pub meta: Meta<'a>,
    /// What the connection knows of the call: peer, deadline, cancellation.
    pub scope: Scope<'a>,
}

impl<'a> Request<'a> {
    /// A call of `cmdid` with these params and nothing else.
    pub fn new(cmdid: impl Into<CmdId>, params: RawJson<'a>) -> Self {
        Self {
            id: None,
            cmdid: cmdid.into(),
            timestamp: None,
            params,
            timeout: None,
            oneway: false,
            credit: None,
            meta: Meta::default(),
            scope: Scope::default(),
        }
    }

    /// Reads one line, without its line break. Everything but `params` and `meta` is decoded; the
    /// whole line is checked, so that a request that is returned can be executed.
    ///
    /// # Errors
    /// What is wrong with the frame, with its `id` where that could be read: before the point at
    /// which the line breaks off, or anywhere in a line that is whole JSON.
    pub fn decode(line: &'a [u8]) -> Result<Self, BadFrame> {
        let mut fields = Fields::default();
        let scanned = fields.scan(line);

        let bad = |fields: &Fields<'_>, kind, message: String| {
            Err(BadFrame {
                id: fields.id.filter(|_| !fields.id_repeated),
                kind,
                message,
            })
        };

        // UTF-8 first: the scanner looks at structure only, and a person is helped more by the
        // reason than by its consequence.
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();

                // The line breaks there, like one that ends there.
                fields = Fields::default();
                let _ = fields.scan(&line[..at]);

                return bad(
                    &fields,
                    BadFrameKind::Malformed,
                    format!("invalid UTF-8 at byte {at} of the line"),
                );
            }
        };

        if let Err(SyntaxError { what, at }) = scanned {
            return bad(
                &fields,
                BadFrameKind::Malformed,
                format!("not a JSON frame: {what}, at byte {at} of the line"),
            );
        }

        if let Some(message) = fields.wrong.take() {
            return bad(&fields, BadFrameKind::Malformed, message);
        }

        let part = |(start, end): (usize, usize)| RawJson::checked(&text[start..end]);
        let meta = match fields.meta.map(part).map(meta_of).transpose() {
            Ok(meta) => meta.unwrap_or_default(),
            Err(message) => return bad(&fields, BadFrameKind::Malformed, message.into()),
        };

        let Some(cmdid) = fields.cmdid else {
            let message = "`cmdid` is missing: a request is an object with at least {\"cmdid\":N}";
            return bad(&fields, BadFrameKind::Malformed, message.into());
        };

        // Last: only a line without another fault is let off.
        if let Some(message) = fields.wrong_id.take() {
            return bad(&fields, BadFrameKind::Id, message);
        }

        Ok(Self {
            id: fields.id,
            cmdid,
            timestamp: fields.timestamp,
            params: fields.params.map_or(RawJson::EMPTY_OBJECT, part),
            timeout: fields.timeout_ms.map(Duration::from_millis),
            oneway: fields.oneway,
            credit: fields.credit,
            meta,
            scope: Scope::default(),
        })
    }

    /// The same request with what a connection knows of it.
    #[must_use]
    pub fn with_scope<'b>(self, scope: Scope<'b>) -> Request<'b>
    where
        'a: 'b,
    {
        Request { scope, ..self }
    }

    /// The same request, free of the line and the connection's borrowed state, so that it may wait.
    pub fn into_owned(self) -> Request<'static> {
        Request {
            id: self.id,
            cmdid: self.cmdid,
            timestamp: self.timestamp,
            params: self.params.into_owned(),
            timeout: self.timeout,
            oneway: self.oneway,
            credit: self.credit,
            meta: self.meta.into_owned(),
            scope: self.scope.into_owned(),
        }
    }
}

/// A line that is no request, or no whole one. Nothing of it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    /// The call's id, where it could be read.
    pub id: Option<u64>,
    /// What sort of fault it is.
    pub kind: BadFrameKind,
    /// What was wrong and what would be right, for the peer.
    pub message: String,
}

/// How a connection takes a bad frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrameKind {
    /// No JSON object, invalid UTF-8, nested too deep, a field that is missing, repeated or of the
    /// wrong type: counts among the bad lines in a row.
    Malformed,
    /// A sound frame whose `id` is no integer from 0 to 2^53-1: answered, and the connection goes on.
    Id,
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadFrame {}

/// The `id` of a line that is not whole: of the beginning of one that is over the limit, or of
/// what came before the peer ended the stream.
pub fn id_of_part(part: &[u8]) -> Option<u64> {
    let mut fields = Fields::default();

    // That the part breaks off is why we are here.
    let _ = fields.scan(part);
    fields.id.filter(|_| !fields.id_repeated)
}

const KNOWN: [&str; 8] = [
    "id",
    "cmdid",
    "timestamp",
    "params",
    "timeout_ms",
    "oneway",
    "credit",
    "meta",
];

/// What a scan has found so far. A wrong field does not end it: the `id` may stand further on.
#[derive(Default)]
struct Fields<'a> {
    /// Bit n is set once `KNOWN[n]` was there.
    seen: u8,
    id: Option<u64>,
    id_repeated: bool,
    cmdid: Option<CmdId>,
    timestamp: Option<i64>,
    params: Option<(usize, usize)>,
    timeout_ms: Option<u64>,
    oneway: bool,
    credit: Option<u64>,
    meta: Option<(usize, usize)>,
    wrong: Option<String>,
    wrong_id: Option<String>,
    line: std::marker::PhantomData<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn scan(&mut self, line: &'a [u8]) -> Result<(), SyntaxError> {
        let mut scanner = Scanner::new(line);
        scanner.skip_white_space();
        if !scanner.take(b'{') {
            return scanner.error(match scanner.peek() {
                Some(0xef) if line[scanner.position()..].starts_with(b"\xef\xbb\xbf") => {
                    "it begins with a byte order mark, which must be left out"
                }
                Some(b'[') => "it begins with an array; send one object a line",
                _ => "it must be one JSON object",
            });
        }

        scanner.skip_white_space();
        if !scanner.take(b'}') {
            loop {
                let key = scanner.key()?;
                let start = scanner.position();
                let value = scanner.value(1)?;
                let end = scanner.position();

                scanner.skip_white_space();
                if scanner.peek().is_none() {
                    // Before the field is taken: a number that ends with the line may go on.
                    return scanner.error("the line ends inside the object");
                }

                self.field(key, value, (start, end));
                if scanner.take(b'}') {
                    break;
                }
                if !scanner.take(b',') {
                    return scanner.error("expected ',' or '}' after a field");
                }
                scanner.skip_white_space();
            }
        }

        scanner.skip_white_space();
        match scanner.peek() {
            None => Ok(()),
            Some(b'{') => scanner.error("a second object stands on the line; send one a line"),
            Some(_) => scanner.error("something stands behind the object"),
        }
    }

    fn field(&mut self, key: RawStr<'a>, value: &'a [u8], range: (usize, usize)) {
        if !key.escaped {
            return self.named(key.bytes, value, range);
        }

        // A key that is no Unicode text is none of ours.
        if let Some(name) = key.decode() {
            self.named(name.as_bytes(), value, range);
        }
    }

    fn named(&mut self, name: &[u8], value: &'a [u8], range: (usize, usize)) {
        let Some(index) = KNOWN.iter().position(|known| known.as_bytes() == name) else {
            return;
        };

        let bit = 1 << index;
        if self.seen & bit != 0 {
            self.id_repeated |= index == 0;
            self.wrong(KNOWN[index], "stands twice; once is right", None);
            return;
        }

        self.seen |= bit;
        match index {
            0 => {
                if let Some(id) = integer(value).filter(|id| *id <= ID_MAX) {
                    self.id = Some(id);
                } else {
                    let shown = shown(value);
                    self.wrong_id = Some(format!(
                        "`id` must be an integer from 0 to 2^53-1, and is {shown}"
                    ));
                }
            }
            1 => match lenient_integer(value).and_then(|n| u32::try_from(n).ok()) {
                Some(number) => self.cmdid = Some(CmdId::new(number)),
                None => self.wrong("cmdid", "must be an integer from 0 to 2^32-1", Some(value)),
            },
            2 => match lenient_integer(value).and_then(|n| i64::try_from(n).ok()) {
                Some(seconds) => self.timestamp = Some(seconds),
                None => self.wrong(
                    "timestamp",
                    "must be an integer, in Unix seconds",
                    Some(value),
                ),
            },
            3 => self.params = Some(range),
            4 => match integer(value) {
                Some(milliseconds) => self.timeout_ms = Some(milliseconds),
                None => {
                    self.wrong(
                        "timeout_ms",
                        "must be a non-negative integer, in milliseconds",
                        Some(value),
                    );
                }
            },
            5 => match value {
                b"true" => self.oneway = true,
                b"false" => {}
                _ => self.wrong("oneway", "must be true or false", Some(value)),
            },
            6 => match integer(value) {
                Some(items) => self.credit = Some(items),
                None => self.wrong(
                    "credit",
                    "must be a non-negative integer, in items",
                    Some(value),
                ),
            },
            _ => match is_object_of_strings(value) {
                true => self.meta = Some(range),
                false => self.wrong(
                    "meta",
                    "must be an object whose values are all strings",
                    Some(value),
                ),
            },
        }
    }

    /// Keeps the first fault only; one is enough to mend.
    fn wrong(&mut self, field: &str, rule: &str, value: Option<&[u8]>) {
        if self.wrong.is_none() {
            let mut message = format!("`{field}` {rule}");
            if let Some(value) = value {
                message = message + ", and is " + &shown(value);
            }
            self.wrong = Some(message);
        }
    }
}

/// A JSON integer without sign, fraction or exponent.
pub(super) fn integer(value: &[u8]) -> Option<u64> {
    if !value.first()?.is_ascii_digit() {
        return None;
    }

    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What Python's `int(...)` makes of a number or a string, as tornado-TCP takes `cmdid` and
/// `timestamp`: a float is truncated, a string may have a sign and white space around its digits.
fn lenient_integer(value: &[u8]) -> Option<i128> {
    let value = std::str::from_utf8(value).ok()?;
    if let Some(inner) = value.strip_prefix('"') {
        let inner = RawStr {
            bytes: inner.strip_suffix('"')?.as_bytes(),
            escaped: inner.contains('\\'),
        };
        let text = inner.decode()?;

        let digits = text.trim_ascii();
        let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
        let plain = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        return plain.then(|| digits.parse().ok()).flatten();
    }

    if !value.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }

    if let Ok(integer) = value.parse() {
        return Some(integer);
    }

    let float = value.parse::<f64>().ok()?.trunc();

    // Far outside of both fields' ranges, and exact in an i128.
    #[allow(clippy::cast_possible_truncation)]
    (float.abs() < 1e30).then_some(float as i128)
}

/// The metadata, whose JSON is checked already. A lone surrogate is valid JSON, and no string that could be handed on.
fn meta_of(meta: RawJson<'_>) -> Result<Meta<'_>, &'static str> {
    let is_text = || meta.decode::<BTreeMap<String, String>>().is_ok();
    if meta.as_str().contains("\\u") && !is_text() {
        return Err("`meta` holds a string that is no Unicode text");
    }

    Ok(Meta::checked(meta))
}

fn is_object_of_strings(value: &[u8]) -> bool {
    let mut scanner = Scanner::new(value);
    let mut strings = || -> Result<bool, SyntaxError> {
        if !scanner.take(b'{') {
            return Ok(false);
        }

        scanner.skip_white_space();
        while scanner.peek() == Some(b'"') {
            scanner.key()?;
            if scanner.peek() != Some(b'"') {
                return Ok(false);
            }

            scanner.string()?;
            scanner.skip_white_space();
            scanner.take(b',');
            scanner.skip_white_space();
        }

        Ok(true)
    };

    // The value was scanned before: it is valid JSON.
    strings().unwrap_or(false)
}

/// A wrong value in words that fit a message: the text of a short scalar, the kind of the rest.
fn shown(value: &[u8]) -> String {
    match value.first() {
        Some(b'{') => "an object".into(),
        Some(b'[') => "an array".into(),
        Some(b'"') if value.len() > 34 => "a long string".into(),
        Some(b'"') => format!("the string {}", String::from_utf8_lossy(value)),
        Some(_) if value.len() > 34 => "a long number".into(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(line: &str) -> Request<'_> {
        Request::decode(line.as_bytes()).unwrap_or_else(|bad| panic!("{line}: {bad}"))
    }

    #[track_caller]
    fn bad(line: impl AsRef<[u8]>, id: Option<u64>, part_of_message: &str) {
        let line = line.as_ref();
        let bad = Request::decode(line).expect_err(&line.escape_ascii().to_string());

        assert_eq!(bad.id, id, "{}: {bad}", line.escape_ascii());
        assert!(
            bad.message.contains(part_of_message),
            "{}: {bad}",
            line.escape_ascii()
        );
    }

    #[test]
    fn the_fields_come_in_any_order_and_have_their_defaults() {
        let request = good(r#"{"cmdid":10000}"#);
        assert_eq!(
            (request.id, request.cmdid.number(), request.params.as_str()),
            (None, 10000, "{}")
        );
        assert!(
            request.timeout.is_none()
                && !request.oneway
                && request.credit.is_none()
                && request.meta.is_empty()
        );

        let request = good(
            r#" { "x" : [1,{"cmdid":3}], "meta":{"a":"b"}, "params" : [ 1 ] ,"credit":2,"oneway":true,"timeout_ms":0,"timestamp":-5,"cmdid":0,"id":0 } "#,
        );
        assert_eq!(
            (request.id, request.cmdid, request.timestamp),
            (Some(0), CmdId::PING, Some(-5))
        );
        assert_eq!(
            (request.params.as_str(), request.credit, request.oneway),
            ("[ 1 ]", Some(2), true)
        );
        assert_eq!(request.timeout, Some(Duration::ZERO));
        assert_eq!(request.meta.get("a").as_deref(), Some("b"));
        assert_eq!(request.into_owned().params.as_str(), "[ 1 ]");
    }

    #[test]
    fn cmdid_and_timestamp_are_taken_as_python_int_takes_them() {
        for (value, cmdid) in [
            ("7", 7),
            ("7.9", 7),
            ("-0.5", 0),
            ("1e3", 1000),
            (r#""7""#, 7),
            (r#"" +07 ""#, 7),
            (r#""\u0037""#, 7),
        ] {
            assert_eq!(
                good(&format!(r#"{{"cmdid":{value}}}"#)).cmdid.number(),
                cmdid,
                "{value}"
            );
        }

        for value in [
            "-1",
            "4294967296",
            "1e400",
            "null",
            "true",
            "[]",
            "{}",
            r#""""#,
            r#""1.5""#,
            r#""0x7""#,
            r#""1_0""#,
            r#"" ""#,
        ] {
            bad(
                format!(r#"{{"id":3,"cmdid":{value}}}"#),
                Some(3),
                "`cmdid` must be an integer",
            );
        }

        assert_eq!(
            good(r#"{"cmdid":1,"timestamp":"1437000000"}"#).timestamp,
            Some(1_437_000_000)
        );
        assert_eq!(
            good(r#"{"cmdid":1,"timestamp":1437000000.75}"#).timestamp,
            Some(1_437_000_000)
        );

        bad(
            r#"{"cmdid":1,"timestamp":{}}"#,
            None,
            "`timestamp` must be an integer",
        );
    }

    #[test]
    fn the_id_is_found_wherever_it_can_be_read() {
        bad(
            r#"{"cmdid":"x","id":7}"#,
            Some(7),
            "`cmdid` must be an integer",
        );
        bad(r#"{"id":7}"#, Some(7), "`cmdid` is missing");
        bad(r#"{"id":7,"cmdid":1,"#, Some(7), "expected a key");
        bad(r#"{"cmdid":1,"params":{,"id":7}"#, None, "expected a key");

        bad(
            b"{\"cmdid\":1,\"x\":\"\xff\",\"id\":7}",
            None,
            "invalid UTF-8 at byte 16",
        );
        bad(
            b"{\"id\":7,\"cmdid\":1,\"x\":\"\xff\"}",
            Some(7),
            "invalid UTF-8 at byte 23",
        );

        bad(
            r#"{"id":7,"cmdid":0}{"id":8,"cmdid":0}"#,
            Some(7),
            "second object",
        );
        bad(r#"{"id":7,"id":7,"cmdid":0}"#, None, "`id` stands twice");
        bad(
            r#"{"id":7,"cmdid":0,"\u0063mdid":0}"#,
            Some(7),
            "`cmdid` stands twice",
        );

        assert_eq!(
            id_of_part(br#"{"id":7,"cmdid":1,"params":{"a":"xx"#),
            Some(7)
        );
        assert_eq!(id_of_part(br#"{"id":7"#), None, "it may have been 71");
        assert_eq!(id_of_part(br#"{"cmdid":1"#), None);
    }

    #[test]
    fn an_id_of_another_type_is_a_fault_of_its_own_kind() {
        for id in [
            "1.0",
            "1e2",
            "-1",
            "-0",
            r#""1""#,
            "null",
            "9007199254740992",
            "[1]",
            "99999999999999999999999999999999999999",
        ] {
            let line = format!(r#"{{"id":{id},"cmdid":0}}"#);
            bad(&line, None, "`id` must be an integer from 0 to 2^53-1");
            assert_eq!(
                Request::decode(line.as_bytes()).unwrap_err().kind,
                BadFrameKind::Id
            );
        }

        assert_eq!(
            good(r#"{"id":9007199254740991,"cmdid":0}"#).id,
            Some(ID_MAX)
        );

        let worse = Request::decode(br#"{"id":"1","cmdid":[]}"#).unwrap_err();
        assert_eq!(worse.kind, BadFrameKind::Malformed);
        let without_command = Request::decode(br#"{"id":"1"}"#).unwrap_err();
        assert_eq!(without_command.kind, BadFrameKind::Malformed);
    }

    #[test]
    fn what_is_no_object_is_named() {
        bad("[1]", None, "array");
        bad("\u{feff}{\"cmdid\":0}", None, "byte order mark");
        bad("   ", None, "must be one JSON object");
        bad("1", None, "must be one JSON object");
        bad(r#"{"cmdid":0} x"#, None, "behind the object");

        bad(
            r#"{"cmdid":0,"timeout_ms":1.5}"#,
            None,
            "`timeout_ms` must be",
        );
        bad(r#"{"cmdid":0,"timeout_ms":null}"#, None, "and is null");
        bad(
            r#"{"cmdid":0,"oneway":1}"#,
            None,
            "`oneway` must be true or false",
        );
        bad(r#"{"cmdid":0,"credit":-1}"#, None, "`credit` must be");

        for meta in [
            "[]",
            "1",
            r#"{"a":1}"#,
            r#"{"a":"b","c":{}}"#,
            r#"{"a":"\ud800"}"#,
        ] {
            bad(format!(r#"{{"cmdid":0,"meta":{meta}}}"#), None, "`meta`");
        }

        assert!(good(r#"{"cmdid":0,"meta":{ }}"#).meta.entries().is_empty());
    }

    #[test]
    fn the_frame_itself_is_one_of_its_128_levels() {
        let nested = |depth: usize| {
            format!(
                r#"{{"cmdid":0,"params":{}{}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };

        good(&nested(127));
        bad(nested(128), None, "nested deeper than 128");
    }
}
