//! The server from outside: bytes in, bytes out.

mod calls;
mod rig;
mod support;
