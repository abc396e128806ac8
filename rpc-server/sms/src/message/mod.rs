//! Ids and classes of messages.

mod id;

pub use id::{AttemptId, IdError, MessageId};
pub use rpc_core::api::sms::Class;
