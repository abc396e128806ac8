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
//!     server.serve(std::future::pending()).await?;
//!     Ok(())
//! }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`config`] | every limit, with its unit in its name |
//! | [`server`] | builder, serving, draining |
//! | `tls` (feature) | `ServerTls`: certificates, client certificates, their reload |
//! | [`listener`] | addresses and accepting |
//! | [`ListenOptions`] | what each listener asks of those who connect |
//! | [`layers`] | limits for a command or a router |
//! | [`router`], [`handler`], [`extract`] | cmdid to async function, with typed arguments |

mod accept;
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, unused_imports, reason = "nobody has an identity then")
)]
mod access;
mod addresses;
#[cfg(feature = "admin")]
pub mod admin;
mod admission;
mod builtin;
mod call;
pub mod config;
mod connection;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod extract;
pub mod handler;
mod health;
pub mod layers;
mod limits;
pub mod listener;
mod metrics;
#[cfg(feature = "otel")]
pub mod otel;
pub mod pace;
mod policy;
mod refusal;
pub mod router;
mod scratch;
pub mod server;
mod stop;
mod strangers;
mod sync;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(any(feature = "daemon", feature = "otel"))]
mod traces;
mod workers;

pub use access::{AccessStats, GrantError, Grants};
#[cfg(feature = "tls")]
pub use access::{Tokens, TokensError};
#[cfg(feature = "admin")]
pub use admin::AdminConfig;
pub use config::Config;
pub use extract::{Context, FromRequest, Params, State};
pub use handler::Handler;
pub use limits::LimitStats;
pub use listener::{BoundAddress, InheritedListener};
pub use metrics::{
    BuildReport, CommandReport, ConnectionReport, HealthReport, LatencyReport, LimitReport,
    ProcessReport, Report, RuntimeReport, ServerStats, WaitReport,
};
pub use policy::ListenOptions;
pub use router::{Route, RouteError, Router};
pub use rpc_core::{
    Body, BoxService, Cancellation, CmdId, Code, Descriptor, IntoReply, Kind, Layer, Outcome, Peer,
    RawJson, Reply, Request, Service, Status,
};
pub use server::{Drained, Server, ServerBuilder, ServerHandle};
#[cfg(feature = "tls")]
pub use tls::{ClientCertificates, ServerTls, TlsError, TlsFiles};
#[cfg(any(feature = "daemon", feature = "otel"))]
pub use traces::TracesConfig;
