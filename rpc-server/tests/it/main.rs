//! The server from outside: bytes in, bytes out.

#[cfg(feature = "tls")]
mod access;
#[cfg(feature = "daemon")]
mod access_log;
#[cfg(feature = "admin")]
mod admin;
mod bad_inputs;
mod blocking;
mod calls;
#[cfg(feature = "daemon")]
mod conformance;
mod connection;
mod crowd;
#[cfg(feature = "daemon")]
mod daemon;
#[cfg(feature = "daemon")]
mod daemon_life;
mod drain;
mod flow;
mod limits;
mod listener;
#[cfg(feature = "daemon")]
mod log_service;
#[cfg(feature = "daemon")]
mod logged;
mod metrics;
mod overload;
mod peers;
mod retire;
mod rig;
mod router;
mod streams;
mod support;
#[cfg(feature = "daemon")]
mod tls;
mod trace;
#[cfg(all(feature = "daemon", feature = "otel"))]
mod traces;
