//! The parts of which a gateway's request is described: texts with placeholders, its address, its secrets.

mod address;
mod authorities;
mod error;
mod format;
mod near;
mod pointer;
mod range;
mod secret;

pub use address::{Address, Url};
pub use authorities::authorities;
pub use error::MappingError;
pub use format::{FormatString, Placeholder, percent_encoded};
pub(crate) use near::did_you_mean;
pub use pointer::{list_at, text_at};
pub use range::AddressRange;
pub use secret::{SecretSource, Secrets};
