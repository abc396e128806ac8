//! The server from outside: bytes in, bytes out.

mod calls;
mod flow;
mod rig;
mod support;
