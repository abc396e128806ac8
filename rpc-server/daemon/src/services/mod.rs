//! The commands that the daemon serves, one file a service.

pub(super) mod conformance;
pub(super) mod log;
pub(super) mod test;
