//! Placement of a handler: in its connection's task by default, or in one of its own.

use std::future::Future;

use rpc_core::{Outcome, Request, Service, Status};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument;

/// Runs each call in a task of its own, which ends with the call: for handlers that compute, so
/// that the other calls of the connection go on meanwhile, on another core where there is one.
pub(crate) struct Spawned<S>(pub(crate) S);

impl<S: Service> Service for Spawned<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let future = self.0.call(request).in_current_span();
        async move {
            AbortOnDropHandle::new(tokio::spawn(future))
                .await
                .unwrap_or_else(|_| Err(ended()))
        }
    }
}

/// Runs each call in a task that goes on to its end though the caller is gone: for side effects
/// that must not stop half-way. The tracker lets a drain wait for it.
pub(crate) struct Detached<S> {
    pub(crate) inner: S,
    pub(crate) tasks: TaskTracker,
}

impl<S: Service> Service for Detached<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let future = self.inner.call(request).in_current_span();
        let tasks = self.tasks.clone();
        async move { tasks.spawn(future).await.unwrap_or_else(|_| Err(ended())) }
    }
}

/// A task that did not finish: panics are caught inside it, so the runtime is shutting down.
fn ended() -> Status {
    Status::unavailable("the server is shutting down")
}
