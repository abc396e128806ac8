//! Lines that the connection in memory has written, as they are for an HTTP response.

use hyper::body::Bytes;
use rpc_core::Code;
use rpc_core::frame::FromServer;

/// A line that answers a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The end of a call that succeeded, with its data if it has any.
    Success(Option<Bytes>),
    /// A stream has begun, and its first item is not there yet. It is the connection in memory that says so; the protocol
    /// has no such line.
    Begun,
    /// An item of a stream that goes on.
    Item(Bytes),
    Failure(Failure),
}

/// A call that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) retry_after_ms: Option<u64>,
    /// The line as an object without `id`.
    pub(super) body: Bytes,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// This about the call at hand.
    Answer(Line),
    /// The connection takes no further calls.
    Goaway,
    /// Nothing that concerns the call.
    Nothing,
}

impl Said {
    /// Reads a line, without its line break. The server writes its lines in one form only, which is the one that is
    /// looked for here.
    pub(super) fn read(line: &Bytes, id: u64) -> Self {
        let rest = match line.strip_prefix(b"{\"id\":") {
            None => &line[..],
            Some(rest) => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (number, rest) = rest.split_at(digits);
                let number = std::str::from_utf8(number)
                    .ok()
                    .and_then(|n| n.parse().ok());
                if number != Some(id) {
                    return Self::Nothing;
                }
                rest
            }
        };

        let Some(success) = rest.strip_prefix(b",\"code\":0") else {
            return Self::otherwise(line, rest);
        };

        let data_of = |data: &[u8]| line.slice_ref(&data[..data.len() - 1]);
        if success == b"}" {
            Self::Answer(Line::Success(None))
        } else if success == b",\"more\":true}" {
            Self::Answer(Line::Begun)
        } else if let Some(data) = success.strip_prefix(b",\"data\":") {
            Self::Answer(Line::Success(Some(data_of(data))))
        } else if let Some(data) = success.strip_prefix(b",\"more\":true,\"data\":") {
            Self::Answer(Line::Item(data_of(data)))
        } else {
            Self::otherwise(line, rest)
        }
    }

    /// A failure, or a notice.
    fn otherwise(line: &Bytes, rest: &[u8]) -> Self {
        match FromServer::decode(line) {
            Ok(FromServer::Reply(reply)) => {
                let status = reply.status();
                let retry_after = status.retry_after();
                let body = match rest.strip_prefix(b",") {
                    Some(rest) => [b"{", rest].concat().into(),
                    None => line.clone(),
                };

                Self::Answer(Line::Failure(Failure {
                    code: reply.code,
                    retry_after_ms: retry_after
                        .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
                    body,
                }))
            }
            Ok(FromServer::Notice { .. }) => Self::Goaway,
            Err(_) => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rpc_core::frame::{encode_failure, encode_item, encode_notice, encode_reply};
    use rpc_core::{RawJson, Status};

    use super::*;

    fn said(encode: impl FnOnce(&mut Vec<u8>)) -> Said {
        let mut line = Vec::new();
        encode(&mut line);
        line.pop();
        Said::read(&line.into(), 7)
    }

    #[test]
    fn every_line_that_the_server_writes_is_read_as_what_it_is() {
        let data = RawJson::parse(r#"{"a":[1,"}"]}"#).unwrap();
        let text = Bytes::from(data.as_str().to_owned());

        assert_eq!(
            said(|out| encode_reply(out, Some(7), Some(&data))),
            Said::Answer(Line::Success(Some(text.clone())))
        );
        assert_eq!(
            said(|out| encode_reply(out, Some(7), None)),
            Said::Answer(Line::Success(None))
        );
        assert_eq!(
            said(|out| encode_item(out, Some(7), &data)),
            Said::Answer(Line::Item(text))
        );
        assert_eq!(said(|out| encode_reply(out, Some(8), None)), Said::Nothing);
        assert_eq!(said(|out| encode_notice(out, "goaway", "")), Said::Goaway);

        let status = Status::resource_exhausted("too much")
            .with_rejected()
            .with_retry_after(Duration::from_millis(1_500));
        for id in [Some(7), None] {
            let Said::Answer(Line::Failure(failure)) = said(|out| encode_failure(out, id, &status))
            else {
                panic!("a failure is read as another line");
            };
            assert_eq!(failure.code, Code::RESOURCE_EXHAUSTED);
            assert_eq!(failure.retry_after_ms, Some(1_500));
            assert_eq!(
                failure.body,
                r#"{"code":8,"message":"too much","rejected":true,"retry_after_ms":1500}"#
            );
        }
    }
}
