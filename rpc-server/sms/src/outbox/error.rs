//! The reasons that an outbox is not opened.

use std::error::Error;
use std::fmt;

use crate::mapping::MappingError;
use crate::store::StoreError;

/// The reason that an outbox is not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Its store cannot be opened.
    Store(StoreError),
    /// A gateway cannot be used as its settings are.
    Gateway {
        /// The name of the gateway.
        name: String,
        /// What is wrong with it.
        error: MappingError,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Gateway { name, error } => write!(f, "[[sms.gateways]] \"{name}\": {error}"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // It speaks for it already.
            Self::Store(error) => error.source(),
            Self::Gateway { .. } => None,
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
