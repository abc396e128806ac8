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
//! | module | holds |
//! | --- | --- |
//! | [`blocking`] | threads for work that blocks |
//! | [`config`] | every limit, with its unit in its name |
//! | [`layers`] | limits for a command or a router |
//! | [`telemetry`] | where traces are sent |
//!
//! | feature | brings |
//! | --- | --- |
//! | `admin` | pages about the server over HTTP, on its own port |
//! | `tls` | TLS, and clients known by their certificates |
//! | `tokens` | clients known by their tokens |
//! | `schema` | JSON Schemas of settings and of typed commands |
//! | `otel` | spans of calls, sent to a collector of OpenTelemetry |

#[cfg_attr(
    not(all(feature = "tls", feature = "tokens")),
    allow(dead_code, unused_imports, reason = "nobody has an identity then")
)]
mod access;
#[cfg(feature = "admin")]
mod admin;
pub mod blocking;
pub mod config;
mod connection;
mod dispatch;
pub mod layers;
mod limit;
mod linger;
mod listen;
mod metrics;
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
pub use admin::AdminConfig;
pub use config::{ClientCertificates, Config, ConfigError};
pub use dispatch::extract::{FromParams, FromRequest, Params, State};
pub use dispatch::handler::{
    Arguments, Async, Blocking, Handler, HandlerFuture, RouteHandler, SendFuture,
};
pub use dispatch::router::{
    AnyRoute, IntoRoute, NamedHandler, Route, RouteError, Router, ViaHandler, ViaRoute,
};
pub use listen::{BoundAddress, InheritedListener, ListenError, ListenOptions};
pub use metrics::{
    AccessStats, BlockingReport, BuildReport, CallReport, CommandReport, ConnectionReport,
    FailureReport, HealthReport, HistoryReport, LatencyReport, LimitReport, LimitStats,
    ProcessReport, RecentReport, Report, RuntimeReport, ServerStats, Severity, WaitReport,
    WindowReport,
};
pub use report::{ServiceHealth, UnknownService};
#[doc(hidden)]
pub use rpc_core::__private;
pub use rpc_core::{
    Body, BoxService, Cancellation, CmdId, Code, Context, Descriptor, IntoReply, Kind, Layer,
    Outcome, Peer, RawJson, Reply, Request, Service, Status,
};
pub use rpc_macros::{rpc_error_of_server as rpc_error, service_of_server as service};
pub use server::{Drained, Server, ServerBuilder, ServerHandle};
pub use signal::shutdown_signal;
pub use telemetry::TracesConfig;
#[cfg(feature = "tls")]
pub use tls::{ALPN, ServerTls, TlsError, TlsFiles};
