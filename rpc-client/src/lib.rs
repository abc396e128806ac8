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
//! # How it behaves
//!
//! **Connecting.** Making a [`Client`] opens nothing. The first call opens the connection, later ones share it, and one
//! that was lost is opened again by the next call, or at once where it was lost with calls under way: by one attempt
//! at a time, with back-off and full jitter. While a server cannot be reached, calls wait for
//! [`reconnect.fail_fast_after_ms`](crate::config::Reconnect::fail_fast_after_ms) (1 s), and then fail at once with the last reason.
//!
//! **Order.** Calls travel side by side and are answered in any order. Calls that are [`ordered`](Command::ordered)
//! run one after another; a call and a oneway call from one task leave in the order in which they were made.
//!
//! **Deadlines.** Every call has one,
//! [`timeouts.call_timeout_ms`](crate::config::Timeouts::call_timeout_ms) (5 s) unless you set
//! another. It covers connecting, waiting for room, the reply and all tries, and the server is
//! told: nothing waits past it. [`Client::within`] hands the deadline of a handler's call on to the
//! calls that it makes.
//!
//! **Giving up.** Dropping a call's future gives the call up: its place is free at once, the server is told to stop,
//! and a late reply is dropped.
//!
//! **Trying again.** What was not sent, or was rejected by the server, has not run and is tried again, within the deadline
//! and a budget of all calls. What may have run is tried again only where it is
//! [idempotent](Command::idempotent), or where the server recognises it by its [key](Command::idempotency_key).
//!
//! **Errors.** A call ends in exactly one way, and its [`Error`] says which: the server's own failure
//! ([`status`](Error::status)), not sent ([`is_unreachable`](Error::is_unreachable)), or without an answer, in which case it
//! [`may_have_run`](Error::may_have_run). [`is_retryable`](Error::is_retryable) promises that the call did not run.
//!
//! **Oneway calls** ([`Client::notify`]) have no answer. [`Client::flush`] waits until the servers have read them.
//!
//! # What is where
//!
//! | module | holds |
//! | --- | --- |
//! | [`Client`], [`Command`] | calls, oneway calls, streams; a call's own options |
//! | [`shared`] | one connection per service in a process |
//! | [`blocking`] | the client for code without a runtime |
//! | [`log`] | [`LogClient`](log::LogClient): the log service, typed; `log::Shipper`: entries in batches (feature `log`) |
//! | `sms` | `sms::SmsClient`: the SMS service, typed (feature `sms`) |
//! | [`layers`] | layers around a client, or around any other service |
//! | [`testing`] | replacements for a server in tests, with faults by a seed |
//! | [`config`] | every setting |
//! | [`discover`] | [`Target`]: where the endpoints of a service come from |
//! | [`error`] | how a call fails, and what may be done about it |
//! | [`events`] | what becomes of the connections |
//! | [`metrics`] | what a client counts, as a report and as Prometheus reads it |
//! | [`pipe`] | request lines in, reply lines out |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | brings |
//! | --- | --- |
//! | `tls` | TLS, and a certificate of the client's own |
//! | `srv` | endpoints in DNS by SRV records |
//! | `etcd` | endpoints in etcd |
//! | `log` | `log::Shipper` and `log::BlockingShipper` |
//! | `schema` | JSON Schemas of typed services |
//! | `sms` | `sms::SmsClient` |
//! | `otel` | traced calls as spans of OpenTelemetry |
//! | `tracing` | `log::layer`: events of `tracing` for the log service |
//! | `tower` | a client among the services of the crate `tower` |

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
pub mod metrics;
pub mod testing;
mod time;
#[cfg(feature = "tower")]
pub mod tower;

pub use balance::EndpointStats;
pub use call::{Command, Timed};
#[cfg(feature = "sms")]
pub use client::sms;
pub use client::{
    Client, ClientBuilder, OwnOptions, Registry, ServiceConfig, blocking, log, pipe, registry,
    shared, shared_with,
};
pub use config::{Balance, Config, Mode, TlsConfig};
pub use discover::Target;
pub use endpoint::connect::{BoxByteStream, ByteStream, Connect, open_tcp};
pub use error::Error;
pub use events::ConnectionEvent;
pub use layers::ServiceClient;
#[doc(hidden)]
pub use rpc_core::__private;
pub use rpc_core::frame::ServerTiming;
pub use rpc_core::typed::{CallOptions, Items};
pub use rpc_core::{
    BoxService, CmdId, Code, Context, LastTiming, Layer, Outcome, RawJson, Reply, Request, Service,
    Status, layer_fn, service_fn,
};
pub use rpc_macros::{rpc_error_of_client as rpc_error, service_of_client as service};
