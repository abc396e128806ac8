//! Tests of the adapters.

use std::io;

use futures::FutureExt;

use super::*;
use crate::status::Code;
use crate::{RawJson, service_fn};

/// When a service fails.
#[derive(Clone, Copy)]
enum When {
    Readying,
    Calling,
}

/// A tower service that fails, before its calls or in them.
#[derive(Clone)]
struct Failing {
    when: When,
    error: fn() -> BoxError,
}

impl ::tower::Service<Request<'static>> for Failing {
    type Response = Reply;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.when {
            When::Readying => Poll::Ready(Err((self.error)())),
            When::Calling => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Request<'static>) -> Self::Future {
        std::future::ready(Err((self.error)()))
    }
}

fn call(service: &impl Service) -> Outcome {
    service
        .call(Request::new(100, RawJson::NULL))
        .now_or_never()
        .unwrap()
}

fn failure(when: When, error: fn() -> BoxError) -> Status {
    call(&FromTower::new(Failing { when, error })).unwrap_err()
}

/// An error of a middleware around another one.
#[derive(Debug)]
struct Around(Status);

impl std::fmt::Display for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("around")
    }
}

impl StdError for Around {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_status_stays_what_it_is_through_the_middleware_around_it() {
    let detailed = || -> BoxError {
        let status = Status::not_found("no such").with_details(&[1]);
        Box::new(Around(status.with_rejected()))
    };

    let status = failure(When::Calling, detailed);
    assert_eq!(
        (status.code(), status.message()),
        (Code::NOT_FOUND, "no such")
    );
    assert_eq!(status.details().unwrap().get(), "[1]");
    assert!(status.is_rejected());
}

#[test]
fn what_was_shed_or_not_ready_did_not_run_and_anything_else_may_have() {
    let shed = failure(When::Calling, || Box::new(Overloaded::new()));
    assert_eq!(shed.code(), Code::RESOURCE_EXHAUSTED);
    assert!(shed.is_rejected());

    let broken = || -> BoxError { Box::new(io::Error::other("broken pipe")) };
    let unready = failure(When::Readying, broken);
    assert_eq!(unready.code(), Code::UNAVAILABLE);
    assert!(unready.is_rejected() && unready.message().contains("broken pipe"));

    let failed = failure(When::Calling, broken);
    assert_eq!(failed.code(), Code::UNKNOWN);
    assert!(!failed.is_rejected() && failed.message().contains("broken pipe"));
}

#[test]
fn what_an_error_means_can_be_said() {
    let service = Failing {
        when: When::Calling,
        error: || Box::new(io::Error::from(io::ErrorKind::TimedOut)),
    };
    let status_of = |error: BoxError| match error.is::<io::Error>() {
        true => Ok(Status::deadline_exceeded("too slow")),
        false => Err(error),
    };
    let status = call(&FromTower::with_status(service, status_of)).unwrap_err();
    assert_eq!(status.code(), Code::DEADLINE_EXCEEDED);
}

#[test]
fn layers_go_around_services_both_ways() {
    let echo = service_fn(|request| async move { Ok(Reply::raw(request.params)) });
    // A layer of this crate in tower's terms, around a service of this crate in tower's terms, and back.
    let same = LayerOfTower::new(crate::layer_fn(|inner: FromTower<IntoTower<_>>| inner));
    let service = TowerLayer::new(same).layer(echo);
    assert_eq!(call(&service).unwrap().data().unwrap().as_str(), "null");
    assert_eq!(call(&service.clone()).unwrap().data(), Some(&RawJson::NULL));
}
