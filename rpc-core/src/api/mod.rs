//! The commands of the daemon's own services, as types that server and client share.

pub mod log;
mod names;
#[cfg(feature = "sms")]
pub mod sms;
pub mod test;

pub use names::UnknownName;
