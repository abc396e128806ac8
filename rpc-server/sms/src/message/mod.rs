//! Ids and classes of messages.

mod class;
mod id;

pub use class::Class;
pub use id::{IdError, MessageId};
