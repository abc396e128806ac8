//! Texts as phones get them: their encoding, and the segments that they take.

mod gsm7;
mod segments;

pub use segments::{Encoding, Layout};
