//! The protocol of newline-delimited JSON RPC: what frames look like, how they are cut out of a
//! byte stream, which call a reply belongs to, and what a service is.
//!
//! Nothing in here opens a socket, reads a clock, starts a thread or needs a runtime; `rpc-server`
//! and `rpc-client` bring those. The normative text is docs/protocol.md.
//!
//! | module | holds |
//! | --- | --- |
//! | [`frame`] | [`Request`], [`Reply`], [`RawJson`]: lines in and out |
//! | [`status`] | [`Code`] and [`Status`], from one table |
//! | [`codec`] | lines out of bytes, with a limit |
//! | [`in_flight`] | id to waiting call; ordered calls |
//! | [`keepalive`] | when a TCP peer counts as gone |
//! | [`service`] | [`Service`], [`Layer`], [`BoxService`] |
//! | [`scope`] | what a connection knows of a call: peer, deadline, cancellation |
//! | [`descriptor`] | what `describe` tells of a command |
//! | [`builtins`] | the built-in commands, from one table |
//! | [`typed`] | what `#[service]` and `#[rpc_error]` expand to |
//! | [`api`] | the commands of the daemon's services, as types |
//! | [`printable`] | text from elsewhere, for a log or a terminal |
//! | [`trace`] | the trace that a call belongs to |
//! | [`backoff`] | exponential back-off with full jitter |

// What `#[service]` in this crate expands to names it as others do.
#[allow(unused_extern_crates, reason = "paths that macros make are not seen")]
extern crate self as rpc_core;

pub mod api;
pub mod backoff;
pub mod builtins;
pub mod codec;
pub mod descriptor;
pub mod frame;
#[doc(hidden)]
pub mod histogram;
pub mod in_flight;
pub mod keepalive;
pub mod printable;
pub mod scope;
pub mod service;
pub mod status;
pub mod trace;
pub mod typed;

pub use descriptor::{Dedup, Descriptor, ErrorDescriptor, Kind, RetryCategory};
pub use frame::{
    BadFrame, Body, CmdId, IntoReply, Meta, Outcome, PROTOCOL_VERSION, RawJson, Reply, Request,
};
pub use rpc_macros::{rpc_error_of_core as rpc_error, service_of_core as service};
pub use scope::{Cancellation, Context, HeldBytes, Peer, Scope};
pub use service::{BoxService, Layer, Service, layer_fn, service_fn};
pub use status::{Code, Status};
#[doc(hidden)]
pub use typed::private as __private;
