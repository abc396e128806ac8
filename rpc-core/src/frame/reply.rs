use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use serde::Serialize;

use super::ID_MAX;
use super::raw::RawJson;
use super::request::integer;
use super::scan::{RawStr, Scanner, SyntaxError};
use crate::status::{Code, Status};

/// What a call comes to.
pub type Outcome = Result<Reply, Status>;

/// One item of a stream; the first failure ends it.
pub type Item = Result<RawJson<'static>, Status>;

/// The items of a streaming call.
pub type ItemStream = BoxStream<'static, Item>;

/// The success of a call: nothing, one JSON value, or a stream of them.
pub struct Reply(Body);

/// What a [`Reply`] carries.
pub enum Body {
    /// No `data`.
    Empty,
    /// The `data` of a unary call.
    Data(RawJson<'static>),
    /// The items of a streaming call, in order.
    Stream(ItemStream),
}

impl Reply {
    /// A success without data.
    pub fn empty() -> Self {
        Self(Body::Empty)
    }

    /// A success with `data`, written as JSON now.
    ///
    /// # Errors
    /// Code 13 where the value has no JSON form.
    pub fn new(data: &(impl Serialize + ?Sized)) -> Outcome {
        let data = RawJson::serialize(data).map_err(not_writable)?;
        Ok(Self(Body::Data(data)))
    }

    /// A success with data that is JSON already.
    pub fn raw(data: RawJson<'static>) -> Self {
        Self(Body::Data(data))
    }

    /// A stream of items: each is sent as a line with `"more":true`, and the end or the first
    /// failure as the line that ends the call.
    pub fn stream<T: Serialize>(
        items: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Self {
        let raw = |item: Result<T, Status>| {
            item.and_then(|item| RawJson::serialize(&item).map_err(not_writable))
        };
        Self(Body::Stream(items.map(raw).boxed()))
    }

    /// What it carries.
    pub fn into_body(self) -> Body {
        self.0
    }

    /// The data of a unary success, where there is any.
    pub fn data(&self) -> Option<&RawJson<'static>> {
        match &self.0 {
            Body::Data(data) => Some(data),
            Body::Empty | Body::Stream(_) => None,
        }
    }
}

impl From<Body> for Reply {
    fn from(body: Body) -> Self {
        Self(body)
    }
}

fn not_writable(error: serde_json::Error) -> Status {
    Status::internal("the result of the command cannot be written as JSON").with_source(error)
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Body::Empty => f.write_str("Reply(empty)"),
            Body::Data(data) => write!(f, "Reply({data})"),
            Body::Stream(_) => f.write_str("Reply(stream)"),
        }
    }
}

/// What a handler may return.
///
/// `Result<T, E>` first of all, where `T` is anything that serde writes and `E` turns into a
/// [`Status`]; `()` and `Ok(())` are a success without data.
pub trait IntoReply {
    /// The outcome on the wire.
    fn into_outcome(self) -> Outcome;
}

impl IntoReply for () {
    fn into_outcome(self) -> Outcome {
        Ok(Reply::empty())
    }
}

impl IntoReply for Reply {
    fn into_outcome(self) -> Outcome {
        Ok(self)
    }
}

impl IntoReply for Status {
    fn into_outcome(self) -> Outcome {
        Err(self)
    }
}

impl<T: Serialize + 'static, E: Into<Status>> IntoReply for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        let value = self.map_err(Into::into)?;
        if (&value as &dyn std::any::Any).is::<()>() {
            Ok(Reply::empty())
        } else {
            Reply::new(&value)
        }
    }
}

impl<E: Into<Status>> IntoReply for Result<Reply, E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Into::into)
    }
}

/// One line from a server, as a client reads it.
#[derive(Debug)]
pub enum FromServer<'a> {
    /// The reply to a call, or one item of it.
    Reply(ReplyFrame<'a>),
    /// A line with `event` and no `code`: `goaway`, or one that this version does not know.
    Notice {
        /// What happened.
        event: Cow<'a, str>,
        /// A sentence for people.
        message: Cow<'a, str>,
    },
}

/// The fields of a reply line. Those that say nothing are empty.
#[derive(Debug)]
pub struct ReplyFrame<'a> {
    /// The call's id; none for an ordered call.
    pub id: Option<u64>,
    /// The outcome.
    pub code: Code,
    /// The result, or one item of a stream.
    pub data: Option<RawJson<'a>>,
    /// Whether this is an item and the call goes on.
    pub more: bool,
    message: Cow<'a, str>,
    details: Option<RawJson<'a>>,
    rejected: bool,
    retry_after_ms: Option<u64>,
}

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
    /// A line that is no JSON object in UTF-8, or has neither `code` nor `event`, or a field of the
    /// wrong type.
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
                message: format!("the reply is no JSON object: {what}, at byte {at}"),
            });
        }

        if let Some(field) = fields.wrong {
            return Err(BadReply {
                id: fields.id,
                message: format!("`{field}` of the reply has the wrong type"),
            });
        }

        let part = |(start, end): (usize, usize)| RawJson::checked(&text[start..end]);
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

impl ReplyFrame<'_> {
    /// The failure that this line carries; only meaningful where `code` is not 0.
    pub fn status(&self) -> Status {
        let mut status = Status::new(self.code, self.message.clone().into_owned());

        if let Some(details) = &self.details {
            status = status.with_details(details);
        }
        if self.rejected {
            status = status.with_rejected();
        }
        if let Some(milliseconds) = self.retry_after_ms {
            status = status.with_retry_after(Duration::from_millis(milliseconds));
        }

        status
    }
}

/// A lone surrogate is no reason to lose the rest of a message for people.
fn text_of(string: RawStr<'_>) -> Cow<'_, str> {
    string
        .decode()
        .unwrap_or_else(|| String::from_utf8_lossy(string.bytes))
}

#[derive(Default)]
struct Fields<'a> {
    id: Option<u64>,
    code: Option<u32>,
    data: Option<(usize, usize)>,
    more: bool,
    message: Option<RawStr<'a>>,
    details: Option<(usize, usize)>,
    rejected: bool,
    retry_after_ms: Option<u64>,
    event: Option<RawStr<'a>>,
    wrong: Option<&'static str>,
}

impl<'a> Fields<'a> {
    fn scan(&mut self, line: &'a [u8]) -> Result<(), SyntaxError> {
        let mut scanner = Scanner::new(line);
        scanner.skip_white_space();
        if !scanner.take(b'{') {
            return scanner.error("expected '{'");
        }

        scanner.skip_white_space();
        if !scanner.take(b'}') {
            loop {
                let key = scanner.key()?;
                let start = scanner.position();
                let value = scanner.value(1)?;

                // No server writes these keys with escapes; one that did is still read.
                let range = (start, scanner.position());
                if key.escaped {
                    self.field(key.decode().unwrap_or_default().as_bytes(), value, range);
                } else {
                    self.field(key.bytes, value, range);
                }

                scanner.skip_white_space();
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
        if scanner.peek().is_some() {
            scanner.error("something stands behind the object")
        } else {
            Ok(())
        }
    }

    fn field(&mut self, name: &[u8], value: &'a [u8], range: (usize, usize)) {
        let fits = match name {
            b"id" => {
                self.id = integer(value).filter(|id| *id <= ID_MAX);
                self.id.is_some() || self.mark("id")
            }
            b"code" => {
                self.code = integer(value).and_then(|code| u32::try_from(code).ok());
                self.code.is_some() || self.mark("code")
            }
            b"data" => {
                self.data = Some(range);
                true
            }
            b"more" => boolean(value).map(|more| self.more = more).is_some() || self.mark("more"),
            b"message" => {
                string(value)
                    .map(|message| self.message = Some(message))
                    .is_some()
                    || self.mark("message")
            }
            b"details" => {
                self.details = Some(range);
                true
            }
            b"rejected" => {
                boolean(value)
                    .map(|rejected| self.rejected = rejected)
                    .is_some()
                    || self.mark("rejected")
            }
            b"retry_after_ms" => {
                self.retry_after_ms = integer(value);
                self.retry_after_ms.is_some() || self.mark("retry_after_ms")
            }
            b"event" => {
                string(value)
                    .map(|event| self.event = Some(event))
                    .is_some()
                    || self.mark("event")
            }
            _ => true,
        };

        debug_assert!(fits || self.wrong.is_some());
    }

    fn mark(&mut self, field: &'static str) -> bool {
        self.wrong.get_or_insert(field);
        false
    }
}

fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn string(value: &[u8]) -> Option<RawStr<'_>> {
    let bytes = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(RawStr {
        bytes,
        escaped: bytes.contains(&b'\\'),
    })
}

#[cfg(test)]
mod tests {
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
    fn unit_is_a_success_without_data_and_none_is_null() {
        assert!(
            Ok::<(), Status>(())
                .into_outcome()
                .unwrap()
                .data()
                .is_none()
        );

        let none = Ok::<Option<u8>, Status>(None).into_outcome().unwrap();
        assert_eq!(none.data().unwrap().as_str(), "null");

        let failed = Err::<u8, Status>(Status::not_found("x"))
            .into_outcome()
            .unwrap_err();
        assert_eq!(failed.code(), Code::NOT_FOUND);
    }
}
