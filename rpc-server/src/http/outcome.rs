//! Responses: the status that a code becomes, the headers that all have, refusals.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, CONNECTION,
    CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use rpc_core::frame::encode_failure;
use rpc_core::{Code, Status};

use super::body::Body;
use super::line::Failure;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The code of the call.
const RPC_CODE: HeaderName = HeaderName::from_static("rpc-code");

/// What a page of another origin may read of a response.
const EXPOSED: HeaderValue = HeaderValue::from_static("rpc-code, retry-after");

/// The status that a code becomes. Services' own codes are 422: the request was understood, and the service says no.
pub(super) fn status_of(code: Code) -> StatusCode {
    match code {
        Code::OK => StatusCode::OK,
        Code::CANCELLED => StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        Code::INVALID_ARGUMENT | Code::FAILED_PRECONDITION | Code::OUT_OF_RANGE => {
            StatusCode::BAD_REQUEST
        }
        Code::DEADLINE_EXCEEDED => StatusCode::GATEWAY_TIMEOUT,
        Code::NOT_FOUND => StatusCode::NOT_FOUND,
        Code::ALREADY_EXISTS | Code::ABORTED => StatusCode::CONFLICT,
        Code::PERMISSION_DENIED => StatusCode::FORBIDDEN,
        Code::RESOURCE_EXHAUSTED => StatusCode::TOO_MANY_REQUESTS,
        Code::UNIMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        Code::UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        Code::UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
        code if code.number() >= Code::FIRST_OF_SERVICES => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A request that does not become a call.
#[derive(Debug)]
pub(super) struct HttpRefusal {
    pub(super) status: StatusCode,
    pub(super) failure: Status,
}

impl HttpRefusal {
    pub(super) fn new(status: StatusCode, failure: Status) -> Self {
        Self { status, failure }
    }

    /// One that has the status of its code.
    pub(super) fn of(failure: Status) -> Self {
        Self::new(status_of(failure.code()), failure)
    }

    /// The response, after which the connection ends: what follows is not read.
    pub(super) fn response(&self) -> Response<Body> {
        let mut line = Vec::new();
        encode_failure(&mut line, None, &self.failure);
        line.pop();

        let retry_after = self.failure.retry_after();
        let mut response = failed(
            self.status,
            &Failure {
                code: self.failure.code(),
                retry_after_ms: retry_after.map(milliseconds),
                body: line.into(),
            },
        );
        end_connection(&mut response);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("POST");
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A response with the headers that all have.
pub(super) fn response(
    status: StatusCode,
    code: Code,
    kind: HeaderValue,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;

    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    let code = match code {
        Code::OK => HeaderValue::from_static("0"),
        code => HeaderValue::from(code.number()),
    };
    headers.insert(RPC_CODE, code);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The response to a call that succeeded.
pub(super) fn succeeded(data: Option<Bytes>) -> Response<Body> {
    let Some(data) = data else {
        let empty = Body::whole(Bytes::new());
        let mut response = response(StatusCode::NO_CONTENT, Code::OK, JSON, empty);
        response.headers_mut().remove(CONTENT_TYPE);
        return response;
    };
    response(StatusCode::OK, Code::OK, JSON, Body::whole(data))
}

/// The response to a call that failed.
pub(super) fn failed(status: StatusCode, failure: &Failure) -> Response<Body> {
    let body = Body::whole(failure.body.clone());
    let mut response = response(status, failure.code, JSON, body);

    let headers = response.headers_mut();
    if let Some(milliseconds) = failure.retry_after_ms {
        headers.insert(RETRY_AFTER, milliseconds.div_ceil(1_000).into());
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Makes this the last response of its connection.
pub(super) fn end_connection<B>(response: &mut Response<B>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

/// Lets a page of this origin read the response.
pub(super) fn allow_origin<B>(response: &mut Response<B>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_only_success_is_one_of_success() {
        for code in Code::CANONICAL
            .iter()
            .copied()
            .chain([Code::new(17), Code::new(1042)])
        {
            let status = status_of(code);
            assert_eq!(status.is_success(), code.is_ok(), "{code:?}: {status}");
            assert!(status.is_success() || status.as_u16() >= 400, "{code:?}");
        }
        assert_eq!(status_of(Code::new(1042)), 422);
        assert_eq!(status_of(Code::new(17)), 500);
    }
}
