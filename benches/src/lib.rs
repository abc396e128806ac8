//! Shared parts of the programs of this package: the call that all of them make.

pub mod log_call;
