//! Reads lines into messages.

mod reply;
mod request;
mod values;

pub use reply::BadReply;
pub use request::{BadFrame, BadFrameKind, id_of_part};
