//! The parts of which a gateway's request is described: texts with placeholders, its address, its secrets.

mod address;
mod error;
mod format;
mod secret;

pub use address::{Address, Url};
pub use error::MappingError;
pub use format::{FormatString, Placeholder, percent_encoded};
pub use secret::{SecretSource, Secrets};
