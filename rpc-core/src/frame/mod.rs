//! Lines of the protocol: [`Request`] to the server, [`Reply`] and [`FromServer`] back, one JSON
//! object a line.
//!
//! `message` has all of these types and is the file to read first. `params` and `data` stay raw JSON
//! ([`RawJson`]) until they are decoded into a type; the envelope around them is checked whole before
//! anything of a line is executed. The rules are those of docs/protocol.md.

mod encode;
#[doc(hidden)]
pub mod fast;
mod json;
mod message;
mod meta;
mod parse;
mod reply;

pub use encode::{
    RequestEncoder, encode_cancel, encode_credit, encode_failure, encode_item, encode_items,
    encode_notice, encode_reply, encode_request, encode_timing,
};
pub(crate) use json::scan::Scanner;
pub use json::{ByName, InvalidJson, RawJson};
pub use message::{
    Body, CmdId, FromServer, ID_MAX, Item, ItemStream, Meta, Outcome, PROTOCOL_VERSION, Reply,
    ReplyFrame, Request, ServerTiming,
};
pub use meta::TIMING;
pub use parse::{BadFrame, BadFrameKind, BadReply, id_of_part};
pub use reply::{IntoReply, ReplyData, ReplyError};
