//! Texts as phones get them: their encoding, and the segments that they take.

mod gsm7;
mod segments;

pub use rpc_core::api::sms::Encoding;
pub use segments::Layout;
