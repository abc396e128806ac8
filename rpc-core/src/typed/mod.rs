//! Typed services: what [`#[service]`](macro@crate::service) makes of a trait, and
//! [`#[rpc_error]`](crate::rpc_error) of an enum.
//!
//! The expansion names nothing but this crate (by way of `rpc-server` or `rpc-client`, where the attribute is
//! theirs), and this crate names neither side: a router is known here as [`Routes`], a blocking client as
//! [`Blocking`], anything else that answers calls as [`Service`](crate::Service). docs/services.md teaches it.

mod blocking;
mod client;
mod items;
mod method;
#[doc(hidden)]
pub mod private;
mod request;
mod result;
mod resume;
#[cfg(feature = "schema")]
mod schema;
mod serve;

pub use futures::stream::Stream;

pub use blocking::{Blocking, BlockingItems, TypedBlockingClient};
pub use client::{CallOptions, IDEMPOTENCY_AGE_MS, IDEMPOTENCY_KEY, TypedClient};
pub use items::Items;
pub use method::{Method, TimeLimit};
pub use request::{TypedRequest, new_idempotency_key};
pub use result::{MethodResult, ServiceError, decode_data, unary_data};
pub use serve::{HandlerFn, ItemSink, Routes, Serve};
