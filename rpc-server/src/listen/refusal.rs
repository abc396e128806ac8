//! Refusals of connections over a limit, each with its message.

use std::fmt;
use std::time::Duration;

use rpc_core::Status;
use rpc_core::frame::encode_failure;

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    TooMany { limit: usize },
    TooManyOfAddress { limit: usize },
    NoDescriptor,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { limit } => {
                write!(f, "the limit `connections_max` of {limit} is reached")
            }
            Self::TooManyOfAddress { limit } => {
                write!(
                    f,
                    "the limit `connections_per_address` of {limit} is reached for this address"
                )
            }
            Self::NoDescriptor => {
                f.write_str("the server has no file descriptor for another connection")
            }
        }
    }
}

impl Refusal {
    pub(crate) fn line(self) -> Vec<u8> {
        let status = Status::resource_exhausted(self.to_string());

        let mut line = Vec::new();
        encode_failure(
            &mut line,
            None,
            &status
                .with_rejected()
                .with_retry_after(Duration::from_secs(1)),
        );

        line
    }
}
