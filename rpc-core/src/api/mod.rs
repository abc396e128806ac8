//! The commands of the services that the daemon brings, as types: what server and client agree on.

pub mod log;
mod names;
#[cfg(feature = "sms")]
pub mod sms;
pub mod test;

pub use names::UnknownName;
