//! One call of a typed client.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;

use super::client::{CallOptions, IDEMPOTENCY_KEY};
use super::method::{Method, TimeLimit};
use crate::descriptor::{Kind, RetryCategory};
use crate::frame::{CmdId, Meta, RawJson, Request};
use crate::resume::Resume;
use crate::scope::Series;
use crate::status::Status;

/// Items that a stream may send ahead of its reader. A client over a connection has a number of its own.
const STREAM_CREDIT: u64 = 64;

/// Any time: the longest that the wire can tell.
const NO_LIMIT: Duration = Duration::from_millis((1 << 53) - 1);

/// One call of a typed client: its method, its options and its params. Most calls have nothing that has to be
/// written into a [`Request`], which is larger than all that they need.
#[derive(Debug)]
pub struct TypedRequest<'c> {
    method: &'static Method,
    options: &'c CallOptions,
    params: RawJson<'static>,
}

impl<'c> TypedRequest<'c> {
    pub(super) fn new<P: Serialize + ?Sized>(
        method: &'static Method,
        options: &'c CallOptions,
        params: &P,
    ) -> Result<Self, Status> {
        let params = RawJson::serialize(params).map_err(|error| {
            Status::invalid_argument(format!("the params cannot be written as JSON: {error}"))
        })?;

        Ok(Self {
            method,
            options,
            params,
        })
    }

    /// The command.
    pub fn cmdid(&self) -> CmdId {
        self.method.cmdid
    }

    /// Time that the call may take, where its options or its method say so.
    #[inline]
    pub fn timeout(&self) -> Option<Duration> {
        self.options.timeout.or(match self.method.timeout {
            TimeLimit::Millis(limit) => Some(Duration::from_millis(limit)),
            TimeLimit::None if self.method.kind == Kind::Unary => Some(NO_LIMIT),
            TimeLimit::OfClient | TimeLimit::None => None,
        })
    }

    /// Whether the call may be sent again where it may have run.
    #[inline]
    pub fn retry(&self) -> RetryCategory {
        match self.method.retry {
            RetryCategory::DedupByCaller if self.has_key() => RetryCategory::Dedup,
            RetryCategory::DedupByCaller => RetryCategory::Neither,
            category => category,
        }
    }

    /// The members of the cursor of its stream; none where that does not go on in a further call.
    pub(super) fn resumable(&self) -> &'static [Resume] {
        self.method.resumable
    }

    /// Whether it is a unary call without metadata.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.method.kind == Kind::Unary
            && self.method.retry != RetryCategory::Dedup
            && self.options.meta.is_empty()
    }

    /// The params alone.
    pub fn into_params(self) -> RawJson<'static> {
        self.params
    }

    /// All of it. A call with `dedup` has a key: the caller's, or one of its own.
    pub fn into_request(self) -> Request<'static> {
        let (timeout, retry) = (self.timeout(), self.retry());
        let Self {
            method,
            options,
            params,
        } = self;

        let mut meta = Meta::from_entries(&options.meta);
        if retry == RetryCategory::Dedup && !options.meta.contains_key(IDEMPOTENCY_KEY) {
            meta = meta.with([(IDEMPOTENCY_KEY, new_idempotency_key().as_str())]);
        }

        let mut request = Request::new(method.cmdid, params);
        // Any id: a connection has ids of its own.
        request.id = Some(0);
        request.timeout = timeout;
        request.oneway = method.kind == Kind::Oneway;
        // What tells a client that this is no unary call.
        request.credit = (method.kind == Kind::Stream).then_some(STREAM_CREDIT);
        request.meta = meta;
        request.scope.retry = retry;
        let series = options.timing.clone().map(Series::with_timing);
        request.scope.series = series.map(Arc::new);

        request
    }

    fn has_key(&self) -> bool {
        self.options.meta.contains_key(IDEMPOTENCY_KEY)
    }
}

/// A new [`IDEMPOTENCY_KEY`](super::IDEMPOTENCY_KEY), which no other call has: a random name for the process, and a number.
pub fn new_idempotency_key() -> String {
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
