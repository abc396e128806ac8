//! Decides what a failure means for a batch.

use std::time::Duration;

use rpc_core::Code;
use serde::Deserialize;

use crate::error::Error;

/// What is done with a batch that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Sent again as it is, after this time at least.
    Again(Duration),
    /// Sent again without one of its entries.
    Without(usize),
    /// Dropped: sending it again would give the same answer.
    Refused,
}

/// The answers of a log that will not take the batch: for what it is, or for whose it is.
const REFUSALS: [Code; 5] = [
    Code::INVALID_ARGUMENT,
    Code::NOT_FOUND,
    Code::PERMISSION_DENIED,
    Code::UNIMPLEMENTED,
    Code::UNAUTHENTICATED,
];

#[derive(Deserialize)]
struct Mistake {
    index: usize,
}

impl Verdict {
    pub(super) fn of(error: &Error) -> Self {
        let Some(status) = error.status() else {
            return Self::Again(Duration::ZERO);
        };

        // The codes of the command's own errors: the number belongs to another batch, or is too old.
        let is_refusal = REFUSALS.contains(&status.code()) || status.code() >= Code::from(1000);
        if !is_refusal {
            return Self::Again(status.retry_after().unwrap_or_default());
        }
        match error.details::<Mistake>() {
            Ok(Some(Mistake { index })) if status.code() == Code::INVALID_ARGUMENT => {
                Self::Without(index)
            }
            _ => Self::Refused,
        }
    }
}
