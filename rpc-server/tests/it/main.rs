//! The server from outside: bytes in, bytes out.

mod access;
mod access_log;
mod admin;
mod bad_inputs;
mod blocking;
mod breach;
mod calls;
mod connection;
mod crowd;
mod drain;
mod flow;
mod limits;
mod listener;
mod logged;
mod memory;
mod metrics;
mod overload;
mod peers;
mod retire;
mod rig;
mod router;
mod signals;
mod streams;
mod support;
mod tls;
mod trace;
