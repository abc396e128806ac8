//! The collection of commands that a generated server wrapper fills.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::method::Method;
use crate::descriptor::Descriptor;
use crate::frame::{Body, Outcome, RawJson, Reply, Request};
use crate::scope::Context;
use crate::service::Service;
use crate::status::Status;

/// The commands of a typed service, each with its handler: the wrapper `OrdersServer(MyOrders)` that
/// [`#[service]`](macro@crate::service) makes for a trait `Orders`.
pub trait Serve {
    /// Adds each command to `routes`.
    ///
    /// # Errors
    /// What `routes` say against one of them.
    fn serve<R: Routes>(self, routes: R) -> Result<R, R::Error>;
}

/// Where typed commands are added: a server's router.
pub trait Routes: Sized {
    /// Why a command cannot be added.
    type Error;

    /// Decodes the params of a request.
    ///
    /// # Errors
    /// Code 3, which names the field.
    fn params<P: DeserializeOwned + Send + 'static>(request: &Request<'_>) -> Result<P, Status>;

    /// Checks the params of a request that nothing decodes.
    ///
    /// # Errors
    /// Code 3 where they are not valid JSON.
    fn no_params(request: &Request<'_>) -> Result<(), Status>;

    /// All that is known of the call besides its params.
    fn context(request: &Request<'_>) -> Context;

    /// Adds a command.
    ///
    /// # Errors
    /// Where its cmdid is taken or reserved.
    fn add(
        self,
        method: &Method,
        descriptor: Descriptor,
        handler: impl Service,
    ) -> Result<Self, Self::Error>;
}

/// A [`Service`] from a function that takes what it needs out of the borrowed request.
pub struct HandlerFn<F>(F);

/// Makes a [`HandlerFn`].
pub fn handler<F, Fut>(call: F) -> HandlerFn<F>
where
    F: Fn(Request<'_>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    HandlerFn(call)
}

impl<F, Fut> Service for HandlerFn<F>
where
    F: Fn(Request<'_>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        (self.0)(request)
    }
}

/// A streaming reply whose items borrow from their handler: `run` owns the handler, has it make the stream, and
/// gives the stream to the sink.
pub fn stream_reply<F, Fut>(run: F) -> Reply
where
    F: FnOnce(ItemSink) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let sink = ItemSink(Arc::default());
    let place = Arc::clone(&sink.0);
    let run = Box::pin(run(sink));

    let items = Forwarded {
        run: Some(run),
        place,
    };
    Body::Stream(items.boxed()).into()
}

/// Takes the items of a handler's stream.
pub struct ItemSink(ItemSlot);

/// One item on its way from the future that makes it to the stream around that future. Both belong to one
/// task, so that the lock never waits.
type ItemSlot = Arc<Mutex<Option<Result<RawJson<'static>, Status>>>>;

impl ItemSink {
    /// Sends every item, until the first failure.
    ///
    /// # Cancel safety
    /// Items that were sent before the future is dropped stay sent; the rest of the stream is dropped.
    pub async fn send_all<T, E>(self, items: impl Stream<Item = Result<T, E>> + Send)
    where
        T: Serialize,
        E: Into<Status>,
    {
        let mut items = pin!(items);
        while let Some(item) = items.next().await {
            let item = item.map_err(Into::into).and_then(|item| {
                RawJson::serialize(&item).map_err(|error| {
                    Status::internal("an item of the stream cannot be written as JSON")
                        .with_source(error)
                })
            });
            let is_last = item.is_err();

            self.put(item);
            if is_last {
                return;
            }
            // The stream takes the item before it polls this again.
            yield_once().await;
        }
    }

    fn put(&self, item: Result<RawJson<'static>, Status>) {
        *lock(&self.0) = Some(item);
    }
}

/// An item is whole before it is put there, so a panic leaves nothing half done.
fn lock(place: &ItemSlot) -> std::sync::MutexGuard<'_, Option<Result<RawJson<'static>, Status>>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives way once, without asking to be woken: the task that polls the stream comes back for its next item.
async fn yield_once() {
    let mut has_yielded = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut has_yielded, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// The items that a future puts into its place.
struct Forwarded {
    /// `None` once it has ended.
    run: Option<BoxFuture<'static, ()>>,
    place: ItemSlot,
}

impl Stream for Forwarded {
    type Item = Result<RawJson<'static>, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let Some(run) = &mut self.run else {
            return Poll::Ready(None);
        };

        let is_over = run.as_mut().poll(cx).is_ready();
        if is_over {
            self.run = None;
        }

        match lock(&self.place).take() {
            Some(item) => Poll::Ready(Some(item)),
            None if is_over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
