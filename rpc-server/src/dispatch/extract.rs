//! Extractors: typed handler arguments, made from the request before the handler starts.

use std::time::{SystemTime, UNIX_EPOCH};

use rpc_core::frame::{ByName, encode_request};
use rpc_core::{Context, RawJson, RawLine, Request, Status};
use serde::de::DeserializeOwned;

use crate::blocking::Caller;

/// An argument of a handler: an extractor.
///
/// It is made before the handler runs, so that what does not fit never starts one.
///
/// ```
/// use rpc_core::{Request, Status};
/// use rpc_server::{FromRequest, Params, Router};
///
/// /// The tenant that a call is for, of its metadata.
/// struct Tenant(String);
///
/// impl<S> FromRequest<S> for Tenant {
///     fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
///         let tenant = request.meta.get("tenant");
///         tenant.map(Self).ok_or_else(|| Status::invalid_argument("`meta.tenant` is missing; name the tenant"))
///     }
/// }
///
/// async fn greet(Tenant(tenant): Tenant, Params(name): Params<String>) -> Result<String, Status> {
///     Ok(format!("Hello {name} of {tenant}!"))
/// }
/// # let _ = Router::new().route(100, greet);
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot take the argument `{Self}`",
    label = "not an extractor of a router with the state `{S}`",
    note = "for the params of the call write `Params(name): Params<T>`, where `T` derives `serde::Deserialize`",
    note = "for the state of the router write `State(name): State<{S}>`; another state is given to `Router::with_state`",
    note = "other extractors are `Context`, `Caller`, `RawJson<'static>`, `RawLine` and types that implement \
            `FromRequest`"
)]
pub trait FromRequest<S>: Sized + Send + 'static {
    /// Whether it takes the line of the request, as [`RawLine`] does: the line then stays with a call
    /// that waits for its turn, or that a layer has made owned.
    const TAKES_LINE: bool = false;

    /// Takes what it needs out of the request.
    ///
    /// # Errors
    /// The reply where the request does not fit; code 3 where it is the caller's fault.
    fn from_request(request: &Request<'_>, state: &S) -> Result<Self, Status>;
}

/// The `params`, decoded into `T`.
///
/// Rejection: code 3, which names the field and what was expected. A struct is read from an object
/// only: unlike `serde_json`, this refuses an array with the fields in their order, at any depth
/// (docs/protocol.md, "The fine points"). Everything else is up to serde: unknown fields are ignored
/// unless the type has `#[serde(deny_unknown_fields)]`.
///
/// ```
/// use rpc_core::Status;
/// use rpc_server::Params;
///
/// #[derive(serde::Deserialize)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
///
/// async fn add(Params(Add { a, b }): Params<Add>) -> Result<i64, Status> {
///     a.checked_add(b).ok_or_else(|| Status::out_of_range("`a` + `b` is over 2^63-1"))
/// }
/// # let _ = rpc_server::Router::new().route(100, add);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params<T>(pub T);

/// What the params of a call can be decoded into: every type with serde's `Deserialize` that owns its parts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from the params of a call",
    label = "has no `serde::Deserialize` of its own parts",
    note = "write `#[derive(serde::Deserialize)]` at `{Self}` and at each type that it holds; strings in it are `String`, \
            not `&str`"
)]
pub trait FromParams: DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> FromParams for T {}

impl<S, T: FromParams> FromRequest<S> for Params<T> {
    fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
        request
            .params
            .decode()
            .map(Self)
            .map_err(|_| rejection::<T>(&request.params))
    }
}

/// Decodes once more, this time noting the path, which the usual case need not pay for.
fn rejection<T: DeserializeOwned>(params: &RawJson<'_>) -> Status {
    let mut deserializer = serde_json::Deserializer::from_str(params.as_str());
    let by_name = ByName(&mut deserializer);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(by_name) else {
        return Status::invalid_argument("`params` do not fit the command");
    };

    let path = error.path().to_string();
    let field = match path.as_str() {
        "." => "params".to_owned(),
        index if index.starts_with('[') => format!("params{index}"),
        field => format!("params.{field}"),
    };

    let reason = error.inner().to_string();
    // The position counts within params, which the caller does not see as a line of its own.
    let reason = reason
        .rsplit_once(" at line ")
        .map_or(reason.as_str(), |(reason, _)| reason);

    Status::invalid_argument(format!("`{field}`: {reason}"))
}

/// The router's state, cloned for the call; an `Arc` in most cases.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use rpc_core::Status;
/// use rpc_server::{Router, State};
///
/// async fn next(State(counter): State<Arc<AtomicU64>>) -> Result<u64, Status> {
///     Ok(counter.fetch_add(1, Ordering::Relaxed))
/// }
///
/// let router = Router::with_state(Arc::new(AtomicU64::new(0))).route(100, next).unwrap();
/// # let _ = router;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<S>(pub S);

#[diagnostic::do_not_recommend]
impl<S: Clone + Send + Sync + 'static> FromRequest<S> for State<S> {
    fn from_request(_request: &Request<'_>, state: &S) -> Result<Self, Status> {
        Ok(Self(state.clone()))
    }
}

/// The `params` as raw JSON.
#[diagnostic::do_not_recommend]
impl<S> FromRequest<S> for RawJson<'static> {
    fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
        Ok(request.params.clone().into_owned())
    }
}

/// The line of the request as it came, without its line break. It is copied for the handlers that take
/// it, and counts with the connection until it is dropped.
///
/// A call over HTTP has the line that the server makes of it, and a call without a connection, as of a
/// test, one that is written for it. Where something before the handler has made the request its own
/// and lost the line (a fallback, another router), the rejection is code 13;
/// [`Router::keep_lines`](crate::Router::keep_lines) keeps it.
///
/// ```
/// use rpc_server::{RawLine, Router};
///
/// async fn archive(line: RawLine) {
///     tracing::debug!(bytes = line.len(), "archived");
/// }
/// # let _ = Router::new().route(100, archive).unwrap();
/// ```
#[diagnostic::do_not_recommend]
impl<S> FromRequest<S> for RawLine {
    const TAKES_LINE: bool = true;

    fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
        if let Some(line) = request.scope.raw_line() {
            return Ok(line);
        }

        if request.scope.peer().is_some() {
            return Err(Status::internal(
                "the line of this call was not kept; the server has to add `Router::keep_lines` where its layers or \
                 its fallback are added",
            ));
        }

        let mut line = Vec::new();
        encode_request(&mut line, request.id, request);
        line.truncate(line.trim_ascii_end().len());
        Ok(Self::new(line))
    }
}

/// The connection that blocking work is done for.
#[diagnostic::do_not_recommend]
impl<S> FromRequest<S> for Caller {
    fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
        Ok(Self::of(request))
    }
}

/// All that is known of the call besides its params.
#[diagnostic::do_not_recommend]
impl<S> FromRequest<S> for Context {
    fn from_request(request: &Request<'_>, _state: &S) -> Result<Self, Status> {
        Ok(context_of(request))
    }
}

/// The context of a request, whose time is now where it does not say another one.
pub(super) fn context_of(request: &Request<'_>) -> Context {
    Context::of(request, || {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)] // only what decoding says of them is looked at
    struct Order {
        items: Vec<Item>,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Item {
        count: u32,
    }

    #[track_caller]
    fn check(params: &str, message: &str) {
        let request = Request::new(100, RawJson::parse(params).unwrap());
        let status = <Params<Order> as FromRequest<()>>::from_request(&request, &()).unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (rpc_core::Code::INVALID_ARGUMENT, message)
        );
    }

    #[test]
    fn a_rejection_names_the_field_and_what_was_expected() {
        check("{}", "`params`: missing field `items`");
        check(
            r#"{"items":[{"count":1},{"count":"x"}]}"#,
            "`params.items[1].count`: invalid type: string \"x\", expected u32",
        );
        check(
            r#"{"items":[{"count":-1}]}"#,
            "`params.items[0].count`: invalid value: integer `-1`, expected u32",
        );
        check(
            "[[]]",
            "`params`: invalid type: sequence, expected struct Order",
        );
        check(
            r#"{"items":[{"count":1},[2]]}"#,
            "`params.items[1]`: invalid type: sequence, expected struct Item",
        );
        check(
            "null",
            "`params`: invalid type: null, expected struct Order",
        );
        check(
            r#"{"items":[],"note":"\ud800"}"#,
            "`params.note`: unexpected end of hex escape",
        );
    }
}
