//! Ids, classes and parts of messages.

mod id;
mod parts;

pub use id::{AttemptId, IdError, MessageId};
pub use parts::{PARTS_MAX, Parts};
pub use rpc_core::api::sms::Class;
