//! A layer that ends calls at their deadline.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use pin_project_lite::pin_project;
use rpc_core::{Outcome, Request, Service, Status};
use tokio::time::{Sleep, sleep_until};

use super::Fault;

/// Ends a call at its deadline with code 4 and drops the handler.
///
/// The timer is only made for a handler that is not ready at once.
pub(crate) struct Timeout<S>(pub(crate) S);

impl<S: Service> Service for Timeout<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let deadline = request.scope.deadline;
        TimeoutFuture {
            inner: self.0.call(request),
            deadline,
            timer: None,
        }
    }
}

pin_project! {
    /// Written by hand, as the other layers are put together without `async`: that would hold what it
    /// captures and what it awaits side by side, and each layer would double the size of a call.
    struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        deadline: Option<Instant>,
        // In place: most calls that are not ready at once wait for a short time, and a box of its own would cost each of
        // them an allocation.
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F: Future<Output = Outcome>> Future for TimeoutFuture<F> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if let Poll::Ready(outcome) = this.inner.poll(cx) {
            return Poll::Ready(outcome);
        }

        let Some(deadline) = *this.deadline else {
            return Poll::Pending;
        };

        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline.into())));
        }
        if let Some(timer) = this.timer.as_pin_mut() {
            ready!(timer.poll(cx));
        }

        let status = Status::deadline_exceeded(
            "the deadline of the call passed before its result: its `timeout_ms`, or the server's \
             `timeouts.handler_timeout_ms`",
        );
        Poll::Ready(Err(status.with_source(Fault::TimeUp)))
    }
}
