//! What a generated client calls with.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::{Future, ready};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::Either;
use serde::Serialize;

use super::items::Items;
use super::method::{Method, TimeLimit};
use super::result::MethodResult;
use crate::descriptor::{Kind, RetryCategory};
use crate::frame::{Meta, RawJson, Request};
use crate::service::Service;
use crate::status::Status;

/// The metadata by which a server recognises the repetition of a call.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The metadata in which a repetition says how many milliseconds ago its call was sent first.
pub const IDEMPOTENCY_AGE_MS: &str = "idempotency-age-ms";

/// Items that a stream may send ahead of its reader. A client over a connection has a number of its own.
const STREAM_CREDIT: u64 = 64;

/// Any time: the longest that the wire can tell.
const NO_LIMIT: Duration = Duration::from_millis((1 << 53) - 1);

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
    timeout: Option<Duration>,
    meta: BTreeMap<String, String>,
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

    /// The key by which the server recognises a repetition of the call. Without it, a call of a command with
    /// `dedup` gets a key of its own.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.meta(IDEMPOTENCY_KEY, key)
    }

    /// These options, and for what they do not say, those.
    fn over(mut self, others: &Self) -> Self {
        self.timeout = self.timeout.or(others.timeout);
        for (key, value) in &others.meta {
            self.meta
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
        self
    }

    /// One call's request, or why its params cannot be sent.
    pub(super) fn request<P: Serialize + ?Sized>(
        &self,
        method: &Method,
        params: &P,
    ) -> Result<Request<'static>, Status> {
        let params = RawJson::serialize(params).map_err(|error| {
            Status::invalid_argument(format!("the params cannot be written as JSON: {error}"))
        })?;

        let mut request = Request::new(method.cmdid, params);
        // Any id: a connection has ids of its own.
        request.id = Some(0);
        request.timeout = self.timeout.or(match method.timeout {
            TimeLimit::Millis(limit) => Some(Duration::from_millis(limit)),
            TimeLimit::None if method.kind == Kind::Unary => Some(NO_LIMIT),
            TimeLimit::OfClient | TimeLimit::None => None,
        });
        request.oneway = method.kind == Kind::Oneway;
        // What tells a client that this is no unary call.
        request.credit = (method.kind == Kind::Stream).then_some(STREAM_CREDIT);

        let has_key = self.meta.contains_key(IDEMPOTENCY_KEY);
        request.scope.retry = match method.retry {
            RetryCategory::DedupByCaller if has_key => RetryCategory::Dedup,
            RetryCategory::DedupByCaller => RetryCategory::Neither,
            category => category,
        };

        request.meta = if method.retry == RetryCategory::Dedup && !has_key {
            Meta::from_entries(&self.meta).with([(IDEMPOTENCY_KEY, new_key().as_str())])
        } else {
            Meta::from_entries(&self.meta)
        };

        Ok(request)
    }
}

/// A key that no other call has: a random name for the process, and a number.
fn new_key() -> String {
    static PROCESS: OnceLock<(u64, u64)> = OnceLock::new();
    static CALLS: AtomicU64 = AtomicU64::new(0);

    // The state is random by the system's means, and secret; what it makes of two numbers is 128 random bits.
    let (high, low) = PROCESS.get_or_init(|| {
        let state = RandomState::new();
        (state.hash_one(0), state.hash_one(1))
    });
    // Relaxed: a number by itself.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);

    format!("{high:016x}{low:016x}-{call:x}")
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
        method: &Method,
        params: &P,
    ) -> Result<Request<'static>, Status> {
        self.options.request(method, params)
    }

    /// Sends a request, and decodes its data.
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up.
    pub fn unary<R: MethodResult>(
        &self,
        request: Result<Request<'static>, Status>,
    ) -> impl Future<Output = R> + Send + use<'_, S, R> {
        match request {
            Ok(request) => Either::Left(S::call_typed(&self.service, request)),
            Err(status) => Either::Right(ready(R::from_data(Err(status)))),
        }
    }

    /// Sends a request that is not answered.
    pub fn oneway(
        &self,
        request: Result<Request<'static>, Status>,
    ) -> impl Future<Output = Result<(), Status>> + Send + use<'_, S> {
        match request {
            Ok(request) => Either::Left(self.service.call(request).map(|sent| sent.map(drop))),
            Err(status) => Either::Right(ready(Err(status))),
        }
    }

    /// Sends a request that is answered by a stream.
    pub fn stream<R: MethodResult>(
        &self,
        request: Result<Request<'static>, Status>,
    ) -> impl Future<Output = Result<Items<R>, R::Error>> + Send + use<'_, S, R> {
        match request {
            Ok(request) => {
                let begun = self.service.call(request);
                Either::Left(begun.map(|reply| reply.map(Items::new).map_err(R::Error::from)))
            }
            Err(status) => Either::Right(ready(Err(R::Error::from(status)))),
        }
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
