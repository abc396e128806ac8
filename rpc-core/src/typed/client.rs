//! Calls of generated clients.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use futures::{FutureExt, StreamExt};
use serde::Serialize;

use super::items::Items;
use super::method::Method;
use super::request::TypedRequest;
use super::result::MethodResult;
use super::resume::{Resuming, items_of};
use crate::frame::TIMING;
use crate::scope::LastTiming;
use crate::service::Service;
use crate::status::Status;

/// The metadata by which a server recognises the repetition of a call.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The metadata in which a repetition says how many milliseconds ago its call was sent first.
pub const IDEMPOTENCY_AGE_MS: &str = "idempotency-age-ms";

/// Options of single calls, for the `with` of a generated client.
///
/// ```
/// use std::time::Duration;
///
/// use rpc_core::typed::CallOptions;
///
/// let options = CallOptions::new()
///     .timeout(Duration::from_millis(200))
///     .idempotency_key("order-4211");
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    pub(super) timeout: Option<Duration>,
    pub(super) meta: BTreeMap<String, String>,
    pub(super) timing: Option<LastTiming>,
}

impl CallOptions {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a call may take, in place of what its method or the client says. Of a stream it is the time
    /// until its end.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds metadata.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Asks the server where the time of a call goes, which is told there when the call has ended, or the stream. It
    /// makes calls a little dearer: it is for looking, not for every call.
    #[must_use]
    pub fn timing(self, timing: &LastTiming) -> Self {
        Self {
            timing: Some(timing.clone()),
            ..self.meta(TIMING, "1")
        }
    }

    /// The key by which the server recognises a repetition of the call. Without it, a call of a command with
    /// `dedup` gets a key of its own.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.meta(IDEMPOTENCY_KEY, key)
    }

    /// These options, and for what they do not say, those.
    fn over(mut self, others: &Self) -> Self {
        self.timeout = self.timeout.or(others.timeout);
        self.timing = self.timing.or_else(|| others.timing.clone());
        for (key, value) in &others.meta {
            self.meta
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
        self
    }
}

/// Typed calls of any [`Service`]; what a generated client is made of.
pub struct TypedClient<S> {
    service: Arc<S>,
    options: CallOptions,
}

impl<S: Service> TypedClient<S> {
    /// A client of this service.
    pub fn new(service: S) -> Self {
        Self {
            service: Arc::new(service),
            options: CallOptions::new(),
        }
    }

    /// The same client with options for its calls. What they do not say holds on.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Self {
        Self {
            service: Arc::clone(&self.service),
            options: options.over(&self.options),
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
        TypedRequest::new(method, &self.options, params)
    }

    /// Sends a request, and decodes its data.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up.
    pub fn unary<'c, R: MethodResult>(
        &'c self,
        request: Result<TypedRequest<'c>, Status>,
    ) -> impl Future<Output = R> + Send + use<'c, S, R> {
        S::call_typed(&self.service, request)
    }

    /// Sends a request that is not answered.
    pub fn oneway<'c>(
        &'c self,
        request: Result<TypedRequest<'c>, Status>,
    ) -> impl Future<Output = Result<(), Status>> + Send + use<'c, S> {
        match request {
            Ok(request) => Either::Left(
                self.service
                    .call(request.into_request())
                    .map(|sent| sent.map(drop)),
            ),
            Err(status) => Either::Right(ready(Err(status))),
        }
    }

    /// Sends a request that is answered by a stream. A resumable one is called again, from the last cursor, where a
    /// call is lost or cannot be begun.
    pub fn stream<'c, R: MethodResult>(
        &'c self,
        request: Result<TypedRequest<'c>, Status>,
    ) -> impl Future<Output = Result<Items<R>, R::Error>> + Send + use<'c, S, R> {
        let request = match request {
            Ok(request) => request,
            Err(status) => return Either::Right(ready(Err(R::Error::from(status)))),
        };

        let members = request.resumable();
        let mut request = request.into_request();
        let begun = if members.is_empty() {
            let call = self.service.call(request);
            Either::Left(call.map(|reply| reply.map(items_of)))
        } else {
            let series = Arc::clone(request.scope.series.get_or_insert_default());
            let service = Arc::clone(&self.service);
            let resuming = Resuming::new(service, request.into_owned(), series, members);
            let begun = resuming.begin();
            Either::Right(begun.map(|begun| begun.map(StreamExt::boxed)))
        };
        Either::Left(begun.map(|items| items.map(Items::new).map_err(R::Error::from)))
    }
}

impl<S> Clone for TypedClient<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            options: self.options.clone(),
        }
    }
}

impl<S> fmt::Debug for TypedClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedClient")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
