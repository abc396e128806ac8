//! Listeners: their addresses, the loop that accepts, and the connections that are refused.

mod accept;
mod intake;
mod listener;
mod options;
mod refusal;
mod reserve;
mod watched;

pub(crate) use intake::{Intake, Serve};
pub use listener::{BoundAddress, InheritedListener};
pub(crate) use listener::{Listener, Origin, Port};
pub use options::{ListenError, ListenOptions};
pub(crate) use refusal::Refusal;
pub(crate) use reserve::Reserved;
