//! The header fields of a call, as what they mean to the protocol.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use rpc_core::frame::ID_MAX;
use rpc_core::{Meta, Status};

use super::outcome::HttpRefusal;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const RPC_TIMEOUT_MS: &str = "rpc-timeout-ms";
const LAST_EVENT_ID: &str = "last-event-id";
const TRACEPARENT: &str = "traceparent";

/// What the head of a request says of its call.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) token: Option<String>,
    pub(super) meta: Meta<'static>,
    pub(super) timeout: Option<Duration>,
    /// A stream is wanted as server-sent events.
    pub(super) wants_events: bool,
    /// The `id` of the last event that the caller has seen.
    pub(super) last_event: Option<String>,
}

impl Fields {
    /// # Errors
    /// A field that is not what it should be; the message names it.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, HttpRefusal> {
        require_json(headers)?;

        let entries = [TRACEPARENT, IDEMPOTENCY_KEY].map(|name| {
            let value = one(headers, &HeaderName::from_static(name))?;
            Ok::<_, HttpRefusal>(value.map(|value| (name, value)))
        });
        let [trace, key] = entries;
        let entries = [trace?, key?];
        let meta = match entries {
            [None, None] => Meta::default(),
            _ => Meta::default().with(entries.into_iter().flatten()),
        };

        Ok(Self {
            token: token(headers)?,
            meta,
            timeout: timeout(headers)?,
            last_event: one(headers, &HeaderName::from_static(LAST_EVENT_ID))?
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            wants_events: headers
                .get_all(ACCEPT)
                .iter()
                .any(|kinds| kinds.to_str().is_ok_and(accepts_events)),
        })
    }
}

/// The value of a field that may stand once.
///
/// # Errors
/// It stands more than once, or is no text.
pub(super) fn one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, HttpRefusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };

    if values.next().is_some() {
        return Err(wrong(format!(
            "the header `{name}` appears more than once; send it once"
        )));
    }
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| wrong(format!("the header `{name}` must be visible ASCII")))
}

fn wrong(message: String) -> HttpRefusal {
    HttpRefusal::of(Status::invalid_argument(message))
}

/// Only JSON makes a call: what a page of another origin can send without being asked is of other types.
fn require_json(headers: &HeaderMap) -> Result<(), HttpRefusal> {
    let kind = one(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let (essence, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let is_utf8 = parameters.trim().is_empty()
        || parameters
            .trim()
            .split_once('=')
            .is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset")
                    && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            });

    if !essence.trim().eq_ignore_ascii_case("application/json") || !is_utf8 {
        return Err(HttpRefusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Status::invalid_argument(
                "a call needs the header `content-type: application/json`, and the params as its body",
            ),
        ));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(HttpRefusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Status::invalid_argument(
                "the body must not be encoded; send it without `content-encoding`",
            ),
        ));
    }
    Ok(())
}

/// The token of `Authorization: Bearer TOKEN`.
///
/// # Errors
/// It is something else.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<String>, HttpRefusal> {
    let Some(value) = one(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };

    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Some(token.trim().to_owned()))
        }
        // Without the value, which may be a secret.
        _ => Err(HttpRefusal::of(Status::unauthenticated(
            "the header `authorization` must be `Bearer TOKEN`",
        ))),
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, HttpRefusal> {
    let name = HeaderName::from_static(RPC_TIMEOUT_MS);
    let Some(value) = one(headers, &name)? else {
        return Ok(None);
    };

    let is_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let milliseconds = value.parse().ok().filter(|ms| is_digits && *ms <= ID_MAX);
    match milliseconds {
        Some(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        None => Err(wrong(format!(
            "`{RPC_TIMEOUT_MS}: {value}` is not a number of milliseconds from 0 to {ID_MAX}"
        ))),
    }
}

fn accepts_events(kinds: &str) -> bool {
    kinds
        .split(',')
        .filter_map(|kind| kind.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn fields(entries: &[(&'static str, &'static str)]) -> Result<Fields, HttpRefusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-type", "application/json")].iter().chain(entries) {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Fields::of(&headers)
    }

    #[test]
    fn fields_become_what_the_protocol_has_for_them() {
        let bare = fields(&[]).unwrap();
        assert!(bare.last_event.is_none());
        assert!(bare.meta.is_empty() && bare.token.is_none() && bare.timeout.is_none());
        assert!(!bare.wants_events);

        let all = fields(&[
            ("authorization", "bearer abc"),
            ("traceparent", "00-1-2-01"),
            ("idempotency-key", "k\"1"),
            ("rpc-timeout-ms", "250"),
            ("accept", "application/json, text/event-stream;q=0.9"),
            ("cookie", "session=1"),
        ])
        .unwrap();
        assert_eq!(all.token.as_deref(), Some("abc"));
        assert_eq!(all.meta.get("traceparent").as_deref(), Some("00-1-2-01"));
        assert_eq!(all.meta.get("idempotency-key").as_deref(), Some("k\"1"));
        assert_eq!(all.meta.entries().len(), 2, "a cookie is no metadata");
        assert_eq!(all.timeout, Some(Duration::from_millis(250)));
        assert!(all.wants_events);
    }

    #[test]
    fn a_field_that_is_wrong_or_stands_twice_is_refused_by_name() {
        for (name, value, status) in [
            ("rpc-timeout-ms", "-1", 400),
            ("rpc-timeout-ms", "+1", 400),
            ("rpc-timeout-ms", "1.5", 400),
            ("rpc-timeout-ms", "", 400),
            ("rpc-timeout-ms", "9007199254740992", 400),
            ("authorization", "Basic YTpi", 401),
            ("authorization", "abc", 401),
            ("content-encoding", "gzip", 415),
            ("content-type", "application/json", 400),
        ] {
            let refusal = fields(&[(name, value)]).unwrap_err();
            assert_eq!(refusal.status, status, "{name}: {value}");
            assert!(refusal.failure.message().contains(name), "{refusal:?}");
        }

        let twice = fields(&[("idempotency-key", "a"), ("idempotency-key", "b")]).unwrap_err();
        assert!(twice.failure.message().contains("more than once"));
    }

    #[test]
    fn only_json_in_utf_8_is_taken() {
        let check = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            require_json(&headers)
        };
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            check(kind).unwrap();
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "text/plain; application/json",
            "application/json; charset=utf-16",
            "application/json5",
            "",
        ] {
            assert_eq!(check(kind).unwrap_err().status, 415, "{kind}");
        }
        assert_eq!(require_json(&HeaderMap::new()).unwrap_err().status, 415);
    }
}
