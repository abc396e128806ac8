//! The names of messages.

mod id;

pub use id::{IdError, MessageId};
