//! Placement of a handler: in its connection's task by default, or in one of its own.

use std::future::Future;

use rpc_core::{Outcome, Request, Service, Status};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::Instrument;

use crate::limit::{ResultBytes, Results};

/// The tasks of handlers that run outside of their connection's task.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    /// Those that go on though their callers are gone. A drain waits for them.
    pub(crate) detached: TaskTracker,
    /// Their results, which wait in the tasks until their connections take them.
    pub(crate) results: Results,
}

/// Runs each call in a task of its own, which ends with the call: for handlers that compute, so
/// that the other calls of the connection go on meanwhile, on another core where there is one.
pub(crate) struct Spawned<S> {
    pub(crate) inner: S,
    pub(crate) tasks: Tasks,
}

impl<S: Service> Service for Spawned<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let task = self.tasks.run(&self.inner, request);
        async move {
            let done = AbortOnDropHandle::new(tokio::spawn(task)).await;
            done.map_or_else(|_| Err(ended()), |(outcome, _held)| outcome)
        }
    }
}

/// Runs each call in a task that goes on to its end though the caller is gone: for side effects
/// that must not stop half-way.
pub(crate) struct Detached<S> {
    pub(crate) inner: S,
    pub(crate) tasks: Tasks,
}

impl<S: Service> Service for Detached<S> {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let task = self.tasks.run(&self.inner, request);
        let tracker = self.tasks.detached.clone();
        async move {
            let done = tracker.spawn(task).await;
            done.map_or_else(|_| Err(ended()), |(outcome, _held)| outcome)
        }
    }
}

impl Tasks {
    /// Runs a handler, and counts its result until it is taken or dropped.
    fn run(
        &self,
        service: &impl Service,
        request: Request<'_>,
    ) -> impl Future<Output = (Outcome, Option<ResultBytes>)> + Send + 'static {
        let (results, peer) = (self.results.clone(), request.scope.peer().cloned());
        let future = service.call(request).in_current_span();
        async move { results.count(peer.as_ref(), future.await) }
    }
}

/// A task that did not finish: panics are caught inside it, so the runtime is shutting down.
fn ended() -> Status {
    Status::unavailable("the server is shutting down")
}
