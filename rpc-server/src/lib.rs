//! Serves commands over newline-delimited JSON RPC: persistent connections, one JSON object a line,
//! readable with `nc` and `jq`.
//!
//! A [`Router`] maps each cmdid to an async function with typed arguments; a [`Server`] binds
//! addresses and serves it. The wire is docs/protocol.md; the way of a request through this crate
//! is in ARCHITECTURE.md.
//!
//! ```no_run
//! use rpc_core::Status;
//! use rpc_server::{Params, Router, Server};
//!
//! #[derive(serde::Deserialize)]
//! struct Hello {
//!     name: String,
//! }
//!
//! async fn hello(Params(Hello { name }): Params<Hello>) -> Result<String, Status> {
//!     Ok(format!("Hello {name}!"))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let router = Router::new().route(100, hello)?;
//!     let server = Server::builder().listen("127.0.0.1:8889").router(router).bind().await?;
//!     server.serve(rpc_server::shutdown_signal()).await?;
//!     Ok(())
//! }
//! ```
//!
//! # How a server behaves
//!
//! * **Concurrency.** Each connection is one task, and a handler is polled within it: handlers of one
//!   connection run side by side while they await, and hold each other up while they compute. A handler
//!   that computes for long is [`spawned`](Route::spawned); one that blocks its thread is
//!   [`Route::blocking`].
//! * **Order.** Calls with an `id` are answered as they end. Calls without one run one after another and
//!   are answered in their order.
//! * **Cancellation.** A handler's future is dropped when its caller cancels, goes away, or its deadline
//!   passes: at its next await it is gone. Clean up in the `Drop` of a guard. A
//!   [`detached`](Route::detached) handler runs to its end.
//! * **Deadlines.** The caller's `timeout_ms`, at most `timeouts.handler_timeout_ms`, counts from the receipt of the
//!   request. [`Context::deadline`] has it; a client's `within` passes it on to calls that the handler makes.
//! * **Limits.** Each buffer, queue and wait is bounded by a setting of [`Config`]. What is over a limit is
//!   answered with code 8 and `rejected` where nothing has run, or is not read until there is room. All
//!   limits are counted in [`ServerStats`].
//! * **Errors.** A handler returns a [`Status`], or an error that turns into one: the caller gets its code
//!   and message, the log its source. A panic is code 13, and its text stays in the log.
//! * **The end.** [`Server::serve`] ends in a drain: no new connections, `goaway` to the clients, replies to
//!   all that was accepted, within `drain.timeout_ms`; what is not done by then ends with code 14.
//!
//! # Modules and features
//!
//! | module | holds |
//! | --- | --- |
//! | [`blocking`] | threads for work that blocks |
//! | [`broadcast`] | items for many subscribers, and what becomes of slow ones |
//! | [`config`] | every setting, in groups |
//! | [`layers`] | limits for a command or a router |
//! | [`telemetry`] | where traces are sent |
//!
//! | feature | brings |
//! | --- | --- |
//! | `admin` | pages about the server over HTTP, on its own port; brings `http` |
//! | `http` | calls over HTTP, on the port of the service |
//! | `loggers` | loggers of their own for commands, with files that are rotated (`loggers`) |
//! | `tls` | TLS, and clients known by their certificates |
//! | `tokens` | clients known by their tokens |
//! | `schema` | JSON Schemas of settings and of typed commands |
//! | `tower` | services and layers of the crate `tower`, and for it (`rpc_core::tower`) |
//! | `otel` | spans of calls, sent to a collector of OpenTelemetry |
//!
//! None is on by default.

#[cfg_attr(
    not(all(feature = "tls", feature = "tokens")),
    allow(dead_code, unused_imports, reason = "callers have no identity then")
)]
mod access;
#[cfg(feature = "admin")]
mod admin;
pub mod blocking;
pub mod broadcast;
pub mod config;
mod connection;
mod dispatch;
mod durable;
#[cfg(feature = "http")]
mod http;
mod instance;
pub mod layers;
mod limit;
mod linger;
mod listen;
#[cfg(feature = "loggers")]
pub mod loggers;
mod metrics;
mod peer_log;
mod report;
mod server;
mod shutdown;
mod signal;
mod sync;
pub mod telemetry;
#[cfg(feature = "tls")]
mod tls;

pub use access::{GrantError, Grants};
#[cfg(feature = "tokens")]
pub use access::{Tokens, TokensError};
#[cfg(feature = "admin")]
pub use admin::{AdminConfig, AdminPage};
pub use config::{ClientCertificates, Config, ConfigError};
pub use dispatch::extract::{FromParams, FromRequest, Params, State};
pub use dispatch::handler::{
    Arguments, Async, Blocking, Handler, HandlerFuture, RouteHandler, SendFuture,
};
pub use dispatch::route::{AnyRoute, IntoRoute, Route, ViaHandler, ViaRoute};
pub use dispatch::route_error::{NamedHandler, RouteError};
pub use dispatch::router::Router;
pub use durable::{create_durable_dir, sync_dir};
pub use instance::instance;
pub use listen::{BoundAddress, InheritedListener, ListenError, ListenOptions};
pub use metrics::{
    AccessStats, BlockingReport, BuildReport, CallReport, CommandReport, ConnectionReport,
    FailureReport, HealthReport, HistoryReport, LatencyReport, LimitReport, LimitStats,
    ProcessReport, RecentReport, Report, RuntimeReport, ServerStats, Severity, WaitReport,
    WindowReport,
};
pub use peer_log::LogThrottle;
pub use report::{ServiceHealth, UnknownService};
#[doc(hidden)]
pub use rpc_core::__private;
/// Adapters between the services and layers of this crate and those of the crate `tower`.
#[cfg(feature = "tower")]
pub use rpc_core::tower;
pub use rpc_core::{
    Body, BoxService, Cancellation, CmdId, Code, Context, Descriptor, IntoReply, Kind, Layer,
    Outcome, Peer, RawJson, RawLine, Reply, Request, Service, Status,
};
pub use rpc_macros::{rpc_error_of_server as rpc_error, service_of_server as service};
pub use server::{Drained, Server, ServerBuilder, ServerHandle};
pub use signal::shutdown_signal;
pub use telemetry::TracesConfig;
#[cfg(feature = "tls")]
pub use tls::{ALPN, ServerTls, TlsError, TlsFiles};
