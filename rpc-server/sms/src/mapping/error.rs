//! A part of a gateway's request that cannot be used.

use std::error::Error;
use std::fmt;

/// A part of a gateway's request that cannot be used: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingError(String);

impl MappingError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for MappingError {}
