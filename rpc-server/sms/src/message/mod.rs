//! Ids and classes of messages.

mod id;

pub use id::{IdError, MessageId};
pub use rpc_core::api::sms::Class;
