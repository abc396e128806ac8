use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use rpc_core::{Outcome, Request, Service, Status};

/// Ends a call at its deadline with code 4 and drops the handler.
///
/// The timer is only started for a handler that is not ready at once.
pub(crate) struct Timeout<S>(pub(crate) S);

impl<S: Service> Service for Timeout<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let deadline = request.scope.deadline;
        let future = self.0.call(request);
        async move {
            let mut future = pin!(future);
            let Some(deadline) = deadline else {
                return future.await;
            };
            if let Poll::Ready(outcome) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
                return outcome;
            }
            match tokio::time::timeout_at(deadline.into(), future).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Status::deadline_exceeded(
                    "the time of the call was up before its result: its `timeout_ms`, or the server's `handler_timeout_ms`",
                )),
            }
        }
    }
}
