//! Settings in groups: the group that server and client have in common, and how a wrong setting is named.

mod error;
mod groups;
mod tcp;

pub use error::ConfigError;
pub use tcp::Tcp;
