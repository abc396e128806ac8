//! The lines that clients and servers usually write, taken apart at a glance.
//!
//! Fields in the usual order, plain integers, `params` or `data` last. Whatever else a line is, it is
//! left to the general readers, [`Request::decode`] and [`FromServer::decode`](super::FromServer):
//! these here never judge a line, and where they answer, the answer is the same.

mod cursor;
mod header_cache;
mod reply;
mod request;

pub use header_cache::LastHead;
pub use reply::{UnverifiedData, UsualReply};
pub use request::UsualRequest;
