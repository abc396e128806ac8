//! Errors of blocking work.

use std::fmt;

use rpc_core::Status;

use crate::config::jittered;

/// Time after which a refused call is to be sent again, in milliseconds, ±50 %.
const RETRY_AFTER_MS: u64 = 200;

/// The reason why a piece of blocking work has no result. As a [`Status`] it is the reply of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingError {
    /// The piece was not begun: `waiting_max` pieces of its connection wait already. Code 8, `rejected`, with
    /// `retry_after_ms`.
    Refused {
        /// The limit, `blocking.waiting_per_connection`.
        waiting_max: usize,
    },
    /// The piece was not begun: connections hold all of `limits.memory_bytes_max`, `limit` bytes. Code 8, `rejected`, with
    /// `retry_after_ms`.
    NoMemory {
        /// The limit in bytes.
        limit: u64,
    },
    /// The runtime shut down before the piece had a result. Code 14.
    ShuttingDown,
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { waiting_max } => write!(
                f,
                "{waiting_max} calls of this connection wait for a thread, the maximum \
                 (`blocking.waiting_per_connection`); this call did not run, send it again later"
            ),
            Self::NoMemory { limit } => write!(
                f,
                "connections hold all of `limits.memory_bytes_max`, {limit} bytes; this call did not run, send it again later"
            ),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
        }
    }
}

impl std::error::Error for BlockingError {}

impl From<BlockingError> for Status {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Refused { .. } | BlockingError::NoMemory { .. } => {
                Self::resource_exhausted(error.to_string())
                    .with_rejected()
                    .with_retry_after(jittered(RETRY_AFTER_MS))
            }
            // The piece may have begun.
            BlockingError::ShuttingDown => Self::unavailable(error.to_string()),
        }
    }
}
