//! The server from outside: bytes in, bytes out.

mod calls;
#[cfg(feature = "daemon")]
mod conformance;
mod connection;
mod drain;
mod flow;
mod listener;
mod rig;
mod router;
mod streams;
mod support;
