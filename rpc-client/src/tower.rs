//! A client among the services of `tower` (feature `tower`).
//!
//! A [`Client`] is a tower service of [`Request`]s, whose error is the client's own [`Error`]: a
//! policy of `tower::retry` asks it whether the call may be sent again, and what is around it passes it on.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rpc_client::{Client, RawJson, Request};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! // A bounded queue in front of at most 64 calls; what finds the queue full is shed.
//! let service = ServiceBuilder::new()
//!     .load_shed()
//!     .buffer(1_000)
//!     .concurrency_limit(64)
//!     .service(client);
//!
//! let mut request = Request::new(1001, RawJson::serialize(&"params")?);
//! // Which one does not matter; without an id it would be an ordered call.
//! request.id = Some(0);
//! match service.oneshot(request).await {
//!     Ok(reply) => println!("{reply:?}"),
//!     Err(error) => match error.downcast_ref::<rpc_client::Error>() {
//!         Some(error) if error.may_have_run() => println!("look before trying again: {error}"),
//!         _ => println!("{error}"),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`service`] makes a client with tower's middleware around it a [`Service`](crate::Service) of this crate again, for
//! [`ServiceClient`](crate::ServiceClient)s and typed clients. [`TowerLayer`], [`IntoTower`] and the others are those of
//! rpc-core, for any other service.

use std::error::Error as StdError;
use std::task::{Context, Poll};

use ::tower::Service as TowerService;
use futures::future::BoxFuture;
pub use rpc_core::tower::{BoxError, FromTower, IntoTower, LayerOfTower, TowerLayer};
use rpc_core::{Reply, Request, Status};

use crate::client::Client;
use crate::error::Error;

/// A request that says `oneway` is sent without waiting for an answer, and one with `credit` is answered with a stream.
/// The client is always ready: what it cannot send waits within the call's deadline.
impl TowerService<Request<'static>> for Client {
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<'static>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.reply_to(request).await })
    }
}

/// A client with tower's middleware around it, as a [`Service`](crate::Service). An [`Error`] of the client becomes the
/// status that it is without the middleware ([`Error::into_status`]): a call that was not sent, or was rejected, is
/// rejected, and says so to whatever tries it again. Other errors are those of [`FromTower`].
pub fn service<T>(service: T) -> FromTower<T>
where
    T: TowerService<Request<'static>, Response = Reply> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    FromTower::with_status(service, status_of)
}

/// The status of a client's error, itself or among the sources of a middleware's.
fn status_of(error: BoxError) -> Result<Status, BoxError> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<Error>() {
            return Ok(error.clone().into_status());
        }
        next = cause.source();
    }
    Err(error)
}
