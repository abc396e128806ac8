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
//! | [`client`], [`command`] | [`Client`]: calls, oneway calls, streams; a call's own options |
//! | [`builder`], [`connect`] | [`ClientBuilder`]; byte streams of your own |
//! | [`events`] | what becomes of the connections |
//! | [`log`] | [`LogClient`](log::LogClient): the log service, typed |
//! | [`mod@registry`] | [`shared`]: one connection per service in a process |
//! | [`blocking`] | the client for code without a runtime |
//! | [`service_client`], [`layers`] | typed calls of any service; what stands around one |
//! | [`mock`] | what stands in for a server in tests, with faults by a seed |
//! | [`config`] | every setting |
//! | [`discover`] | [`Target`]: where the endpoints of a service come from |
//! | [`error`] | how a call fails, and what may be done about it |
//! | [`pipe`] | request lines in, reply lines out |

mod attempt;
mod authenticate;
mod balance;
pub mod blocking;
pub mod builder;
pub mod client;
pub mod command;
pub mod config;
pub mod connect;
mod connection;
mod deadline;
mod directory;
pub mod discover;
mod eject;
pub mod error;
pub mod events;
mod group;
mod hedge;
mod latency;
pub mod layers;
mod liveness;
pub mod log;
mod member;
pub mod mock;
pub mod pipe;
mod pool;
mod progress;
mod reconnect;
pub mod registry;
mod retry;
mod route;
pub mod service_client;
#[cfg(feature = "tls")]
mod tls;

pub use builder::ClientBuilder;
pub use client::Client;
pub use command::Command;
pub use config::{Balance, Config, Mode, TlsConfig};
pub use connect::Connect;
pub use discover::Target;
pub use error::Error;
pub use events::ConnectionEvent;
pub use member::EndpointStats;
pub use registry::{Registry, ServiceConfig, registry, shared};
pub use rpc_core::{
    BoxService, CmdId, Code, Layer, Outcome, RawJson, Reply, Request, Service, Status, layer_fn,
    service_fn,
};
pub use service_client::ServiceClient;
