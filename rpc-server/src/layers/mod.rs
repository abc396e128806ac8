//! What stands around every handler: a deadline, and the catching of panics.

mod catch_panic;
mod dispatch;
mod fault;
mod timeout;
mod trace;

pub(crate) use catch_panic::{CatchPanic, report_panic};
pub(crate) use dispatch::{Detached, Spawned};
pub(crate) use fault::Fault;
pub(crate) use timeout::Timeout;
pub(crate) use trace::Traced;
