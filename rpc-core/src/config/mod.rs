//! Settings in groups: the group that server and client have in common, and how a wrong setting is named.

mod error;
mod groups;
mod log_level;
mod tcp;

pub use error::ConfigError;
pub use log_level::{LOG_LEVEL_FORM, LOG_LEVELS, wrong_log_levels};
pub use tcp::Tcp;
