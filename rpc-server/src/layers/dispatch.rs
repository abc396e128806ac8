//! Where a handler runs: in its connection's task by default, or in one of its own.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use rpc_core::{Outcome, Request, Service, Status};
use tokio::sync::Semaphore;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{Instrument, Span};

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

/// The threads of one command whose handler blocks.
pub(crate) struct Threads {
    places: Arc<Semaphore>,
    /// What runs in them, so that a drain can wait for it.
    pub(crate) tasks: TaskTracker,
}

impl Threads {
    pub(crate) fn new(max: usize) -> Self {
        let places = Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            places,
            tasks: TaskTracker::new(),
        }
    }

    /// Does the work in a thread, once there is a place. Dropped before, it is not begun; after, it goes on to its
    /// end, and keeps its place until then.
    pub(crate) fn run(
        &self,
        work: impl FnOnce() -> Outcome + Send + 'static,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let (places, tasks, span) = (
            Arc::clone(&self.places),
            self.tasks.clone(),
            Span::current(),
        );

        async move {
            let place = places.acquire_owned().await.expect("it is never closed");
            let work = move || {
                let _place = place;
                span.in_scope(work)
            };

            // Where no thread is free either, an abort keeps it from beginning.
            match AbortOnDropHandle::new(tasks.spawn_blocking(work)).await {
                Ok(outcome) => outcome,
                // Where panics of handlers are caught.
                Err(error) => error
                    .try_into_panic()
                    .map_or_else(|_| Err(ended()), |panic| resume_unwind(panic)),
            }
        }
    }
}

/// A task that did not finish: panics are caught inside it, so the runtime is shutting down.
fn ended() -> Status {
    Status::unavailable("the server is shutting down")
}
