//! What travels: [`Request`] to the server, [`Reply`] and [`FromServer`] back, one JSON object a
//! line.
//!
//! `params` and `data` stay raw JSON ([`RawJson`]) until someone types them; the envelope around
//! them is checked whole before anything of a line is executed. The rules are those of
//! docs/protocol.md.

mod cmdid;
mod encode;
mod escape;
mod json;
mod meta;
mod raw;
mod reply;
mod request;
mod scan;
mod scratch;
mod usual;

pub use cmdid::CmdId;
pub use encode::{
    RequestEncoder, encode_cancel, encode_credit, encode_failure, encode_item, encode_notice,
    encode_reply, encode_request,
};
pub use meta::Meta;
pub use raw::{InvalidJson, RawJson};
pub use reply::{
    BadReply, Body, FromServer, IntoReply, Item, ItemStream, Outcome, Reply, ReplyFrame,
};
pub use request::{BadFrame, BadFrameKind, Request, id_of_part};
pub use usual::{LastHead, UnverifiedData, UsualReply, UsualRequest};

/// The version of the protocol, as `describe` gives it.
pub const PROTOCOL_VERSION: u32 = 1;

/// The largest `id`: 2^53-1, the last integer that every JSON reader keeps exact.
pub const ID_MAX: u64 = (1 << 53) - 1;
