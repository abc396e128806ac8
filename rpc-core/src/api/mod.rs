//! The commands of the services that the daemon brings, as types: what server and client agree on.

pub mod log;
pub mod test;
