//! What the programs of this package share: the call that all of them make.

pub mod log_call;
