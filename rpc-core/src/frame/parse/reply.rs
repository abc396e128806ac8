//! Replies and notices out of lines.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use super::object::{Member, scan_object};
use super::values::{boolean, integer, string};
use crate::frame::json::scan::{RawStr, SyntaxError};
use crate::frame::json::{RawJson, by_name};
use crate::frame::message::{FromServer, ID_MAX, ReplyFrame, ServerTiming};
use crate::status::Code;

/// A line that is neither a reply nor a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadReply {
    /// The call that it was for, where that could be read.
    pub id: Option<u64>,
    /// What is wrong with it.
    pub message: String,
}

impl<'a> FromServer<'a> {
    /// Reads one line, without its line break, in any order of its fields. Unknown fields are
    /// ignored.
    ///
    /// # Errors
    /// A line that is not a JSON object in UTF-8, or has neither `code` nor `event`, or a field that is
    /// repeated or of the wrong type. A repeated `id` counts as one that cannot be read.
    pub fn decode(line: &'a [u8]) -> Result<Self, BadReply> {
        let mut fields = Fields::default();

        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                // For the id alone.
                let _ = fields.scan(line);
                return Err(BadReply {
                    id: fields.id,
                    message: format!("invalid UTF-8 at byte {} of the reply", error.valid_up_to()),
                });
            }
        };

        if let Err(SyntaxError { what, at }) = fields.scan(line) {
            return Err(BadReply {
                id: fields.id,
                message: format!("the reply is not a JSON object: {what}, at byte {at}"),
            });
        }

        if let Some((field, fault)) = fields.wrong {
            return Err(BadReply {
                id: fields.id,
                message: match fault {
                    Fault::Type => format!("`{field}` of the reply has the wrong type"),
                    Fault::Repeated => {
                        format!("`{field}` appears twice in the reply; send it once")
                    }
                },
            });
        }

        let part = |range: Range<usize>| RawJson::checked(&text[range]);
        match (fields.code, fields.event) {
            (Some(code), _) => Ok(Self::Reply(ReplyFrame {
                id: fields.id,
                code: Code::new(code),
                data: fields.data.map(part),
                more: fields.more,
                message: fields.message.map_or(Cow::Borrowed(""), text_of),
                details: fields.details.map(part),
                rejected: fields.rejected,
                retry_after_ms: fields.retry_after_ms,
                timing: fields.timing,
            })),
            (None, Some(event)) => Ok(Self::Notice {
                event: text_of(event),
                message: fields.message.map_or(Cow::Borrowed(""), text_of),
            }),
            (None, None) => Err(BadReply {
                id: fields.id,
                message: "the reply has no `code`".into(),
            }),
        }
    }
}

/// A lone surrogate is no reason to lose the rest of a message for people.
fn text_of(string: RawStr<'_>) -> Cow<'_, str> {
    string
        .decode()
        .unwrap_or_else(|| String::from_utf8_lossy(string.bytes))
}

/// The times of a call, where they are what they should be.
fn timing(value: &[u8]) -> Option<ServerTiming> {
    #[derive(Deserialize)]
    struct Times {
        queue_us: u64,
        run_us: u64,
    }

    let text = std::str::from_utf8(value).ok()?;
    let times: Times = by_name::decode(text).ok()?;
    Some(ServerTiming {
        queue: Duration::from_micros(times.queue_us),
        run: Duration::from_micros(times.run_us),
    })
}

const KNOWN: [&str; 9] = [
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

/// What is wrong with a field.
#[derive(Clone, Copy)]
enum Fault {
    Type,
    Repeated,
}

#[derive(Default)]
struct Fields<'a> {
    /// Bit n is set once `KNOWN[n]` was there.
    seen: u16,
    id: Option<u64>,
    code: Option<u32>,
    data: Option<Range<usize>>,
    more: bool,
    message: Option<RawStr<'a>>,
    details: Option<Range<usize>>,
    rejected: bool,
    retry_after_ms: Option<u64>,
    event: Option<RawStr<'a>>,
    timing: Option<ServerTiming>,
    /// The first field that is wrong.
    wrong: Option<(&'static str, Fault)>,
}

impl<'a> Fields<'a> {
    fn scan(&mut self, line: &'a [u8]) -> Result<(), SyntaxError> {
        scan_object(line, |member| self.take(member))
    }

    fn take(&mut self, Member { name, value, range }: Member<'a>) {
        let Some(index) = KNOWN.iter().position(|known| known.as_bytes() == &*name) else {
            // What cannot be read of it is ignored, as an unknown field is: no call fails for its times.
            if &*name == b"timing" {
                self.timing = timing(value);
            }
            return;
        };

        let (field, bit) = (KNOWN[index], 1 << index);
        if self.seen & bit != 0 {
            self.wrong.get_or_insert((field, Fault::Repeated));
            if field == "id" {
                // Either may be meant.
                self.id = None;
            }
            return;
        }

        self.seen |= bit;
        if self.set(field, value, range).is_none() {
            self.wrong.get_or_insert((field, Fault::Type));
        }
    }

    /// Takes a field that is there for the first time; `None` where its type is wrong.
    fn set(&mut self, field: &str, value: &'a [u8], range: Range<usize>) -> Option<()> {
        match field {
            "id" => self.id = Some(integer(value).filter(|id| *id <= ID_MAX)?),
            "code" => self.code = Some(u32::try_from(integer(value)?).ok()?),
            "data" => self.data = Some(range),
            "more" => self.more = boolean(value)?,
            "message" => self.message = Some(string(value)?),
            "details" => self.details = Some(range),
            "rejected" => self.rejected = boolean(value)?,
            "retry_after_ms" => self.retry_after_ms = Some(integer(value)?),
            "event" => self.event = Some(string(value)?),
            _ => unreachable!("it is one of KNOWN"),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reply(line: &str) -> ReplyFrame<'_> {
        match FromServer::decode(line.as_bytes()) {
            Ok(FromServer::Reply(reply)) => reply,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_reply_is_read_in_any_order_with_unknown_fields_ignored() {
        let success = reply(r#"{"data": {"a":1}, "new": [], "code":0,"id":7}"#);
        assert_eq!(
            (success.id, success.code, success.data.unwrap().as_str()),
            (Some(7), Code::OK, r#"{"a":1}"#)
        );

        let failure = reply(
            r#"{"code":8,"message":"a\nb","details":[1],"rejected":true,"retry_after_ms":20,"\u0069d":1}"#,
        );
        let status = failure.status();
        assert_eq!(
            (failure.id, status.message(), status.is_rejected()),
            (Some(1), "a\nb", true)
        );
        assert_eq!(status.retry_after(), Some(Duration::from_millis(20)));
        assert_eq!(status.details().unwrap().get(), "[1]");

        assert!(reply(r#"{"id":1,"code":0,"more":true,"data":1}"#).more);
    }

    #[test]
    fn the_times_of_a_call_are_read_and_what_cannot_be_read_of_them_is_ignored() {
        let timing = |timing: &str| reply(&format!(r#"{{"id":1,"code":0{timing}}}"#)).timing;
        let times = |queue, run| {
            Some(ServerTiming {
                queue: Duration::from_micros(queue),
                run: Duration::from_micros(run),
            })
        };

        for (fields, expected) in [
            ("", None),
            (r#","timing":{"queue_us":12,"run_us":340}"#, times(12, 340)),
            (
                r#","timing":{"new":1,"run_us":0,"queue_us":1},"data":2"#,
                times(1, 0),
            ),
            (r#","timing":{"queue_us":12}"#, None),
            (r#","timing":{"queue_us":-1,"run_us":340}"#, None),
            (r#","timing":{"queue_us":1.5,"run_us":340}"#, None),
            (r#","timing":[12,340]"#, None),
            (r#","timing":null"#, None),
        ] {
            assert_eq!(timing(fields), expected, "{fields}");
        }
    }

    #[test]
    fn a_line_with_event_and_no_code_is_a_notice() {
        let notice = FromServer::decode(br#"{"event":"goaway","message":"x"}"#).unwrap();
        assert!(
            matches!(notice, FromServer::Notice { event, message } if event == "goaway" && message == "x")
        );

        assert_eq!(
            reply(r#"{"event":"goaway","code":3}"#).code,
            Code::INVALID_ARGUMENT
        );
    }

    #[test]
    fn nonsense_names_the_call_where_it_can() {
        for (line, id) in [
            (&b"{}"[..], None),
            (br#"{"id":7}"#, Some(7)),
            (br#"{"id":7,"code":"0"}"#, Some(7)),
            (br#"{"id":7,"code":0,"more":1}"#, Some(7)),
            (br#"{"id":7,"code":0,"data":}"#, Some(7)),
            (b"{\"id\":7,\"code\":0,\"data\":\"\xff\"}", Some(7)),
            (br#"{"id":"7","code":0}"#, None),
            // It may have been 71.
            (br#"{"code":0,"id":7"#, None),
            (b"[]", None),
            (b"HTTP/1.1 400 Bad Request", None),
        ] {
            assert_eq!(
                FromServer::decode(line).unwrap_err().id,
                id,
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn a_repeated_field_is_refused_and_a_repeated_id_names_no_call() {
        let check = |fields: &str, id: Option<u64>, wrong: &str| {
            let line = format!("{{{fields}}}");
            let bad = FromServer::decode(line.as_bytes()).expect_err(&line);
            assert_eq!(bad.id, id, "{line}");
            let message = format!("`{wrong}` appears twice in the reply; send it once");
            assert_eq!(bad.message, message, "{line}");
        };

        let rest = r#""id":7,"code":8"#;
        for (field, values) in [
            ("data", ["1", "1"]),
            ("more", ["true", "false"]),
            ("message", ["\"a\"", "\"b\""]),
            ("details", ["1", "2"]),
            ("rejected", ["false", "true"]),
            ("retry_after_ms", ["1", "2"]),
            ("event", ["\"goaway\"", "\"x\""]),
        ] {
            let [one, other] = values;
            let fields = format!(r#"{rest},"{field}":{one},"new":1,"{field}":{other},"new":2"#);
            check(&fields, Some(7), field);
        }

        check(r#""id":7,"code":0,"code":8"#, Some(7), "code");
        check(r#""id":7,"code":0,"c\u006fde":8"#, Some(7), "code");
        check(r#""id":7,"code":0,"id":8"#, None, "id");
        check(r#""id":7,"code":0,"id":7"#, None, "id");
        check(r#""event":"goaway","event":"goaway""#, None, "event");
    }
}
