//! Calls commands over newline-delimited JSON RPC: one shared connection per service, many calls at
//! once on it, each with a deadline.
//!
//! ```no_run
//! # async fn example() -> Result<(), rpc_client::Error> {
//! let log = rpc_client::shared("127.0.0.1:8889");
//! let seq: serde_json::Value = log
//!     .call(1001, &serde_json::json!({"level": "info", "service": "order", "message": "user 4211 logged in"}))
//!     .await?;
//! # let _ = seq;
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`Client`], [`Command`] | calls, oneway calls, streams; a call's own options |
//! | [`shared`] | one connection per service in a process |
//! | [`blocking`] | the client for code without a runtime |
//! | [`log`] | [`LogClient`](log::LogClient): the log service, typed |
//! | [`layers`] | what stands around a client, or around any other service |
//! | [`testing`] | what stands in for a server in tests, with faults by a seed |
//! | [`config`] | every setting |
//! | [`discover`] | [`Target`]: where the endpoints of a service come from |
//! | [`error`] | how a call fails, and what may be done about it |
//! | [`events`] | what becomes of the connections |
//! | [`pipe`] | request lines in, reply lines out |
//!
//! | feature | brings |
//! | --- | --- |
//! | `tls` | TLS, and a certificate of the client's own |
//! | `srv` | endpoints in DNS by SRV records |
//! | `etcd` | endpoints in etcd |
//! | `schema` | JSON Schemas of typed services |
//! | `otel` | traced calls as spans of OpenTelemetry |

mod balance;
mod call;
mod client;
pub mod config;
mod connection;
pub mod discover;
mod endpoint;
pub mod error;
pub mod events;
pub mod layers;
pub mod testing;
mod time;

pub use balance::EndpointStats;
pub use call::Command;
pub use client::{
    Client, ClientBuilder, Registry, ServiceConfig, blocking, log, pipe, registry, shared,
};
pub use config::{Balance, Config, Mode, TlsConfig};
pub use discover::Target;
pub use endpoint::connect::{BoxByteStream, ByteStream, Connect, open_tcp};
pub use error::Error;
pub use events::ConnectionEvent;
pub use layers::ServiceClient;
#[doc(hidden)]
pub use rpc_core::__private;
pub use rpc_core::typed::{CallOptions, Items};
pub use rpc_core::{
    BoxService, CmdId, Code, Context, Layer, Outcome, RawJson, Reply, Request, Service, Status,
    layer_fn, service_fn,
};
pub use rpc_macros::{rpc_error_of_client as rpc_error, service_of_client as service};
