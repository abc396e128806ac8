//! The protocol of newline-delimited JSON RPC: what frames look like, how they are cut out of a
//! byte stream, which call a reply belongs to, and what a service is.
//!
//! Nothing in here opens a socket, reads a clock, starts a thread or needs a runtime; `rpc-server`
//! and `rpc-client` bring those. The normative text is docs/protocol.md, which is also
//! [`documents::protocol`].
//!
//! # How calls behave
//!
//! * **Order.** A call with an `id` is multiplexed: such calls of one connection run side by side, and
//!   their replies come in any order. A call without one is ordered: such calls run one after another
//!   and are answered in their order. Neither kind delays the other.
//! * **One reply.** Each call has exactly one reply, a stream its items and then one line that ends it,
//!   a oneway call none. A call that is given up keeps its place in the order until its late reply has
//!   come ([`in_flight`]), so that no later caller gets it.
//! * **Deadlines** travel as durations (`timeout_ms`), never as times: clocks differ. They count from
//!   the receipt of the request, and shrink on their way through services ([`scope::Parent`]).
//! * **Cancellation.** A caller that goes away, cancels or is late has its handler's future dropped. Code
//!   that runs on, in other tasks and threads, asks [`Cancellation`].
//! * **Failures.** A [`Status`] is the server's own word: a [`Code`] for programs, a message for people,
//!   and details. `rejected` promises that the command did not run, so that it may be sent again
//!   whatever it does. Without that promise it may have run.
//! * **Bad input** never panics: a line that is not a request is a [`BadFrame`], with the `id` where that
//!   could be read.
//!
//! # Modules and features
//!
//! | module | holds |
//! | --- | --- |
//! | [`frame`] | [`Request`], [`Reply`], [`RawJson`]: lines in and out |
//! | [`status`] | [`Code`] and [`Status`], from one table |
//! | [`codec`] | lines out of bytes, with a limit |
//! | [`config`] | settings that server and client have in common |
//! | [`in_flight`] | id to waiting call; ordered calls |
//! | [`keepalive`] | when a TCP peer counts as gone |
//! | [`mod@service`] | [`Service`], [`Layer`], [`BoxService`] |
//! | [`scope`] | what a connection knows of a call: peer, deadline, cancellation, line |
//! | [`descriptor`] | what `describe` tells of a command |
//! | [`builtins`] | the built-in commands, from one table |
//! | [`typed`] | what `#[service]` and `#[rpc_error]` expand to |
//! | [`api`] | the commands of the daemon's services, as types |
//! | [`durable`] | which file systems cannot sync directories |
//! | [`printable`] | text from elsewhere, for a log or a terminal |
//! | [`trace`] | the trace that a call belongs to |
//! | [`backoff`] | exponential back-off with full jitter |
//!
//! | feature | brings |
//! | --- | --- |
//! | `schema` | JSON Schemas of typed params and data in a [`Descriptor`], by `schemars` |
//! | `sms` | the commands of the SMS service, as types (`api::sms`) |
//! | `tower` | services and layers of the crate `tower`, and for it (`tower`) |
//! | `otel` | traces that continue in spans of `tracing` and OpenTelemetry ([`trace`]) |
//!
//! None is on by default.

// What `#[service]` in this crate expands to names it as others do.
#[allow(unused_extern_crates, reason = "paths that macros make are not seen")]
extern crate self as rpc_core;

pub mod api;
pub mod builtins;
pub mod codec;
pub mod config;
pub mod descriptor;
pub mod durable;
/// Documents of the project, for readers of this documentation.
#[cfg(all(doc, not(doctest)))]
pub mod documents {
    #[doc = include_str!("../../docs/protocol.md")]
    pub mod protocol {}
}
mod fingerprint;
pub mod frame;
pub mod in_flight;
#[doc(hidden)]
pub mod metrics;
pub mod printable;
mod resume;
pub mod scope;
pub mod service;
pub mod status;
mod timing;
#[cfg(feature = "tower")]
pub mod tower;
pub mod trace;
pub mod typed;

pub use descriptor::{Dedup, Descriptor, ErrorDescriptor, Kind, RetryCategory};
pub use fingerprint::Fingerprint;
pub use frame::{
    BadFrame, Body, CmdId, IntoReply, Meta, Outcome, PROTOCOL_VERSION, RawJson, Reply, Request,
};
pub use resume::{Cursor, Resume};
pub use rpc_macros::{rpc_error_of_core as rpc_error, service_of_core as service};
pub use scope::{Cancellation, Context, HeldBytes, LastTiming, Peer, RawLine, Scope};
pub use service::{BoxService, Layer, Service, layer_fn, service_fn};
pub use status::{Code, Status};
pub use timing::{backoff, keepalive};
#[doc(hidden)]
pub use typed::private as __private;
