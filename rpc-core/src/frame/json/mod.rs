//! JSON text: scanned, written, and kept as it came.

pub(super) mod buffers;
pub(super) mod by_name;
pub(super) mod escape;
mod raw;
pub(super) mod scan;
pub(super) mod unverified;
pub(super) mod write;

pub use by_name::ByName;
pub use raw::{InvalidJson, RawJson};
