//! Arithmetic of waiting, without a clock: how long to pause between attempts, and when a silent peer counts as gone.

pub mod backoff;
pub mod keepalive;
