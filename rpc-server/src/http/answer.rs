//! Answers requests: with a page, or with the outcome of a call.

use std::future::poll_fn;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use rpc_core::{CmdId, Code, Cursor, RawJson, Status};

use super::body::{self, Body, Form, StreamBody};
use super::catalog::Target;
use super::desk::Desk;
use super::fields::{self, Fields};
use super::line::Line;
use super::openapi;
use super::outcome::{
    self, HttpRefusal, allow_origin, end_connection, failed, status_of, succeeded,
};
use super::rules::{self, Source};
use crate::metrics::add;

/// Headers that a page of another origin may send.
const SENT_BY_PAGES: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, rpc-timeout-ms, traceparent",
);
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Answers one request of a connection.
pub(super) async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Response<Body> {
    desk.watch.begin_answer();
    let response = match page(&desk, &request) {
        Some(page) => page,
        None => answer_call(&desk, request).await,
    };
    desk.watch.end_answer();
    response
}

/// The page that is asked for, where there are pages: their paths go before those of commands.
fn page(desk: &Desk, request: &Request<Incoming>) -> Option<Response<Body>> {
    #[cfg(feature = "admin")]
    if let Some(pages) = &desk.http.pages
        && pages.are_shown(&desk.policy, &desk.peer)
    {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_page = is_read && pages.has(request.uri().path());
        let is_call = desk.policy.http_calls || request.method() == Method::POST;
        if is_page || !is_call {
            let page = pages.answer(request, &desk.policy, &desk.peer);
            return Some(page.map(Body::whole));
        }
    }

    let _ = (desk, request);
    None
}

async fn answer_call(desk: &Arc<Desk>, request: Request<Incoming>) -> Response<Body> {
    let source = match rules::check(&request, desk) {
        Ok(source) => source,
        Err(refusal) => return refuse(desk, &refusal),
    };
    let origin = match &source {
        Source::Listed(origin) => Some(origin.clone()),
        Source::Program | Source::OwnPage => None,
    };

    #[cfg(feature = "admin")]
    if let Some(pages) = &desk.http.pages
        && !desk.policy.http_calls
        && pages.has(request.uri().path())
    {
        let page = pages.answer(&request, &desk.policy, &desk.peer);
        return page.map(Body::whole);
    }

    let mut response = match (request.method(), &origin) {
        (&Method::OPTIONS, Some(_)) => preflight(),
        _ => match call(desk, &source, request).await {
            Ok(response) => response,
            Err(refusal) => refuse(desk, &refusal),
        },
    };
    if let Some(origin) = origin {
        allow_origin(&mut response, origin);
    }
    response
}

/// Refuses a request, and ends its connection.
fn refuse(desk: &Desk, refusal: &HttpRefusal) -> Response<Body> {
    add(&desk.http.reporter.metrics.bad_frames, 1);
    desk.http.reporter.log.http_details.write(|| {
        tracing::debug!(
            peer = %desk.peer,
            status = refusal.status.as_u16(),
            reason = refusal.failure.message(),
            "an HTTP request was refused"
        );
    });
    refusal.response()
}

/// What a browser asks before it lets a page of a listed origin make a call.
fn preflight() -> Response<Body> {
    let mut response = outcome::succeeded(None);
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("POST");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT_BY_PAGES);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    end_connection(&mut response);
    response
}

/// Makes the call that a request asks for.
async fn call(
    desk: &Arc<Desk>,
    source: &Source,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpRefusal> {
    if desk.policy.http_calls && is_for_openapi(&request) {
        return openapi(desk, &request).await;
    }

    let target = target(desk, &request)?;
    let (head, incoming) = request.into_parts();
    let fields = Fields::of(&head.headers)?;
    if !desk.policy.http_calls {
        rules::check_page_call(&desk.http, source, target.cmdid, fields.token.as_deref())?;
    }
    let params = params(&body::read(incoming, desk).await?)?;

    let params = match &fields.last_event {
        Some(id) => behind(&target, id, &params)?,
        None => params,
    };

    let mut call = rpc_core::Request::new(target.cmdid, params);
    call.timeout = fields.timeout;
    call.meta = fields.meta;

    let first = match start(desk, fields.token.as_deref(), &call).await {
        Ok(first) => first,
        Err(failure) => return Ok(failure),
    };
    drop(call);

    let form = match fields.wants_events {
        true => Form::Events(target.resumable.clone()),
        false => Form::Lines,
    };
    let mut response = respond(desk, &target, form, first);
    if desk.is_leaving() {
        end_connection(&mut response);
    }
    Ok(response)
}

/// Begins a call, and waits for the first line about it.
///
/// # Errors
/// The token does not let it begin: the response that says so.
async fn start(
    desk: &Desk,
    token: Option<&str>,
    call: &rpc_core::Request<'_>,
) -> Result<Option<Line>, Response<Body>> {
    if desk.prepare(token) {
        authenticate(desk).await?;
    }
    desk.begin(call);
    Ok(poll_fn(|cx| desk.poll_answer(cx)).await)
}

fn is_for_openapi(request: &Request<Incoming>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path() == "/openapi.json"
}

/// The document of the commands that the caller may call.
async fn openapi(desk: &Desk, request: &Request<Incoming>) -> Result<Response<Body>, HttpRefusal> {
    let token = fields::token(request.headers())?;
    let describe = rpc_core::Request::new(CmdId::DESCRIBE, RawJson::NULL);
    let described = match start(desk, token.as_deref(), &describe).await {
        Ok(described) => described,
        Err(failure) => return Ok(failure),
    };

    Ok(match described {
        Some(Line::Success(Some(data))) => {
            let description = serde_json::from_slice(&data).unwrap_or_default();
            let document = openapi::document(&description).to_string();
            succeeded(Some(document.into()))
        }
        Some(Line::Failure(failure)) => failed(status_of(failure.code), &failure),
        Some(_) | None => gone(),
    })
}

/// The command that a request names.
fn target(desk: &Desk, request: &Request<Incoming>) -> Result<Target, HttpRefusal> {
    if request.method() != Method::POST {
        return Err(HttpRefusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Status::invalid_argument(
                "a call is a POST of its params as application/json to /SERVICE.METHOD or /CMDID; nothing was executed",
            ),
        ));
    }

    let path = request.uri().path();
    desk.http.catalog.find(path).ok_or_else(|| {
        let failure = Status::unimplemented(format!(
            "no command has the path \"{}\"; POST application/json to /SERVICE.METHOD or /CMDID, as `describe` \
             (/1) lists them",
            path.escape_debug()
        ));
        HttpRefusal::new(StatusCode::NOT_FOUND, failure)
    })
}

/// The params that a body holds; `{}` where it is empty.
fn params(body: &[u8]) -> Result<RawJson<'static>, HttpRefusal> {
    let wrong = |message: String| HttpRefusal::of(Status::invalid_argument(message));
    let text = std::str::from_utf8(body)
        .map_err(|error| wrong(format!("the body is not valid UTF-8: {error}")))?;
    let text = match text.trim_ascii().is_empty() {
        true => "{}",
        false => text,
    };
    RawJson::parse(text).map_err(|error| wrong(format!("the body must be one JSON value: {error}")))
}

/// The params of a call that goes on behind the event with this id.
fn behind(
    target: &Target,
    id: &str,
    params: &RawJson<'_>,
) -> Result<RawJson<'static>, HttpRefusal> {
    let members = target.resumable.as_deref().unwrap_or_default();
    let cursor = Cursor::parse(members, id).filter(|_| !members.is_empty());
    cursor.map(|cursor| cursor.params(params)).ok_or_else(|| {
        let message = match members {
            [] => "this command has no `last-event-id`: it is not resumable".to_owned(),
            _ => format!(
                "`last-event-id: {}` is not the id of an event of this command",
                id.escape_debug()
            ),
        };
        HttpRefusal::of(Status::invalid_argument(message))
    })
}

/// Shows the token. A wrong one has a session of its own, which is over with the answer.
async fn authenticate(desk: &Desk) -> Result<(), Response<Body>> {
    desk.authenticate();
    let failure = match poll_fn(|cx| desk.poll_answer(cx)).await {
        Some(Line::Success(_) | Line::Item(_) | Line::Begun) => return Ok(()),
        Some(Line::Failure(failure)) => failed(status_of(failure.code), &failure),
        None => gone(),
    };

    desk.end_session();
    let mut response = failure;
    end_connection(&mut response);
    Err(response)
}

/// The response that begins with this line.
fn respond(desk: &Arc<Desk>, target: &Target, form: Form, first: Option<Line>) -> Response<Body> {
    match first {
        Some(Line::Success(data)) if !target.is_stream => succeeded(data),
        Some(Line::Failure(failure)) => failed(status_of(failure.code), &failure),
        Some(first) => {
            let kind = match &form {
                Form::Lines => LINES,
                Form::Events(_) => EVENTS,
            };
            let stream = StreamBody::new(Arc::clone(desk), form, first);
            outcome::response(
                StatusCode::OK,
                Code::OK,
                kind,
                Body::Stream(Box::new(stream)),
            )
        }
        None => gone(),
    }
}

/// What is said of a call whose session has ended without an answer.
fn gone() -> Response<Body> {
    let failure = Status::unavailable("the server has ended the connection; the call may have run");
    HttpRefusal::of(failure).response()
}
