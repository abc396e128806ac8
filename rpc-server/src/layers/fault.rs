//! Faults: why the server ended a call whose handler did not.

use std::fmt;

/// Why the server ended a call with a failure that its handler did not give: the source of the status, so
/// that the connection can count it. It never travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The handler panicked.
    Panicked,
    /// The time of the call was up.
    TimeUp,
    /// The data was over the reply limit.
    TooLong,
}

impl Fault {
    /// The fault behind a status, where it is one.
    pub(crate) fn behind(status: &rpc_core::Status) -> Option<Self> {
        std::error::Error::source(status)?.downcast_ref().copied()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panicked => "the handler panicked",
            Self::TimeUp => "the deadline of the call passed",
            Self::TooLong => "the data was over the reply limit",
        })
    }
}

impl std::error::Error for Fault {}
