//! Layers: limits for a command or a router, and, of this crate's own, the layers around every handler, a
//! deadline and the catching of panics.

mod catch_panic;
mod concurrency_limit;
mod deduplicate;
mod dispatch;
mod fault;
mod rate_limit;
mod timeout;
mod trace;

pub(crate) use catch_panic::{CatchPanic, report_panic};
pub use concurrency_limit::{ConcurrencyLimit, ConcurrencyLimited};
pub use deduplicate::{
    Deduplicate, DeduplicateConfig, DeduplicateStats, Deduplicated, IDEMPOTENCY_AGE_MS,
    IDEMPOTENCY_KEY, KEY_BYTES_MAX, KeptOutcome, KeyStore, KeyedCall, Known,
};
pub(crate) use dispatch::{Detached, Spawned, Tasks};
pub(crate) use fault::Fault;
pub use rate_limit::{RateLimit, RateLimited};
pub(crate) use timeout::Timeout;
pub(crate) use trace::Traced;
