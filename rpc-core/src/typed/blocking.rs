//! Calls of generated clients for plain threads.

use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;

use futures::StreamExt;
use serde::Serialize;

use super::client::{CallOptions, TypedClient};
use super::items::Items;
use super::method::Method;
use super::request::TypedRequest;
use super::result::MethodResult;
use crate::service::Service;
use crate::status::Status;

/// A client whose calls block their thread: `rpc_client::blocking::Client`.
pub trait Blocking: Clone {
    /// What its calls go to.
    type Service: Service;

    /// The service behind it.
    fn service(&self) -> Self::Service;

    /// Waits on this thread for what a call comes to.
    ///
    /// # Errors
    /// Where this thread must not wait, or nothing can drive the call.
    fn wait<F: Future>(&self, call: F) -> Result<F::Output, Status>;
}

/// Typed calls that block their thread; what a generated client for plain threads is made of.
pub struct TypedBlockingClient<B: Blocking> {
    blocking: B,
    client: TypedClient<B::Service>,
}

impl<B: Blocking> TypedBlockingClient<B> {
    /// A client of the service behind this one.
    pub fn new(blocking: B) -> Self {
        let client = TypedClient::new(blocking.service());
        Self { blocking, client }
    }

    /// The same client with options for its calls. What they do not say holds on.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Self {
        Self {
            blocking: self.blocking.clone(),
            client: self.client.with(options),
        }
    }

    /// The request of one call.
    ///
    /// # Errors
    /// Code 3 for params without a JSON form.
    pub fn request<P: Serialize + ?Sized>(
        &self,
        method: &'static Method,
        params: &P,
    ) -> Result<TypedRequest<'_>, Status> {
        self.client.request(method, params)
    }

    /// Sends a request, waits for its reply and decodes the data.
    pub fn unary<R: MethodResult>(&self, request: Result<TypedRequest<'_>, Status>) -> R {
        self.blocking
            .wait(self.client.unary::<R>(request))
            .unwrap_or_else(|status| R::from_data(Err(status)))
    }

    /// Sends a request that is not answered.
    ///
    /// # Errors
    /// Where it cannot be sent.
    pub fn oneway(&self, request: Result<TypedRequest<'_>, Status>) -> Result<(), Status> {
        self.blocking.wait(self.client.oneway(request))?
    }

    /// Sends a request that is answered by a stream.
    ///
    /// # Errors
    /// Where the stream does not begin.
    pub fn stream<R: MethodResult>(
        &self,
        request: Result<TypedRequest<'_>, Status>,
    ) -> Result<BlockingItems<B, R>, R::Error> {
        let items = self.blocking.wait(self.client.stream::<R>(request))??;
        Ok(BlockingItems {
            blocking: self.blocking.clone(),
            items: Some(items),
        })
    }
}

impl<B: Blocking> Clone for TypedBlockingClient<B> {
    fn clone(&self) -> Self {
        Self {
            blocking: self.blocking.clone(),
            client: self.client.clone(),
        }
    }
}

impl<B: Blocking> fmt::Debug for TypedBlockingClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedBlockingClient")
            .field(&self.client)
            .finish()
    }
}

/// The items of a streaming call, each of which is waited for. A failure is the last one. Dropping them gives
/// the call up.
pub struct BlockingItems<B, R> {
    blocking: B,
    items: Option<Items<R>>,
}

impl<B: Blocking, R: MethodResult> Iterator for BlockingItems<B, R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        let items = self.items.as_mut()?;
        let next = self.blocking.wait(items.next());

        if !matches!(next, Ok(Some(_))) {
            self.items = None;
        }
        next.unwrap_or_else(|status| Some(R::from_data(Err(status))))
    }
}

impl<B: Blocking, R: MethodResult> FusedIterator for BlockingItems<B, R> {}

impl<B, R> fmt::Debug for BlockingItems<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingItems").finish_non_exhaustive()
    }
}
