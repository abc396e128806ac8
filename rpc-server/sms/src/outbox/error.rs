//! The reasons that an outbox is not opened.

use std::error::Error;
use std::fmt;
use std::io;

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
    /// The listener for receipts cannot be bound to its address.
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Listen { address, error } => {
                write!(f, "[sms.receipts] `listen` = \"{address}\": {error}")
            }
            Self::Gateway { name, error } => write!(f, "[[sms.gateways]] \"{name}\": {error}"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // It speaks for it already.
            Self::Store(error) => error.source(),
            Self::Gateway { .. } | Self::Listen { .. } => None,
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
