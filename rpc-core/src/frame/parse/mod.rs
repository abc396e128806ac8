//! Lines read into messages: each is scanned once, whole, before anything of it is used.

mod object;
mod reply;
mod request;
mod values;

pub use reply::BadReply;
pub use request::{BadFrame, BadFrameKind, id_of_part};
