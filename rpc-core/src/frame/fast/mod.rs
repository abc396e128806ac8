//! The fast path: lines as clients and servers usually write them, taken apart without a full scan.
//!
//! Such a line has its fields in the usual order, plain integers, and `params` or `data` last. Every
//! other line is left to the general readers, [`Request::decode`](super::Request::decode) and
//! [`FromServer::decode`](super::FromServer::decode). The readers in here never judge a line, and
//! where they answer, the answer is the same. For `rpc-server` and `rpc-client`; not a public API.

mod cursor;
mod header_cache;
mod item;
mod line;
mod reply;
mod request;

pub use header_cache::HeaderCache;
pub use item::{Item, UnverifiedItem};
pub use line::Line;
pub use reply::{Reply, Settled, UnverifiedData};
pub use request::Request;
