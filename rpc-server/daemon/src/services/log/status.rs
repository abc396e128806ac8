//! Statuses: what a peer reads of an error of the store.

use std::time::Duration;

use rpc_core::Status;
use rpc_core::api::log::BatchError;
use serde_json::json;

use crate::store::StoreError;

/// A full queue takes about this long to reach a disk.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The store tries a full disk once a second. Whether it has room again is not known before.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the peer reads names the store and not its files; those are for the log.
impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => {
                Self::resource_exhausted("the disk of the log store is full")
                    .with_source(error)
                    .with_retry_after(FULL_RETRY_AFTER)
            }
            StoreError::FileSizeLimit { .. } => Self::resource_exhausted(
                "a file of the log store has reached the size limit of the server's process",
            )
            .with_source(error),
            // It was not taken, so that it may be sent again.
            StoreError::Overloaded | StoreError::KeysFull => {
                Self::resource_exhausted(error.to_string())
                    .with_rejected()
                    .with_retry_after(RETRY_AFTER)
            }
            StoreError::OverBudget { wait, .. } => Self::resource_exhausted(error.to_string())
                .with_rejected()
                .with_retry_after(wait),
            StoreError::NoDescriptors { .. } => {
                Self::resource_exhausted("the log store has no file descriptor left")
                    .with_source(error)
                    .with_rejected()
                    .with_retry_after(RETRY_AFTER)
            }
            StoreError::OtherLog { ref extent, .. } => {
                Self::failed_precondition(error.to_string()).with_details(extent)
            }
            StoreError::PastEnd { ref extent, .. } => {
                Self::out_of_range(error.to_string()).with_details(extent)
            }
            StoreError::KeyConflict { ref key } => Self::already_exists(error.to_string())
                .with_details(&json!({ "idempotency_key": key })),
            // Without `rejected`: the tries before may have run.
            StoreError::KeyForgotten => Self::failed_precondition(error.to_string()),
            StoreError::BatchStale { last_batch } => BatchError::Stale { last_batch }.into(),
            StoreError::BatchConflict => BatchError::Conflict.into(),
            StoreError::Ending => Self::unavailable(error.to_string()),
            StoreError::Closed => Self::unavailable(error.to_string()).with_rejected(),
            StoreError::Blocking(error) => error.into(),
            StoreError::TooLarge { .. } | StoreError::EmitTooLarge { .. } => {
                Self::invalid_argument(error.to_string())
            }
            // Whether the entry is on the disk is not known.
            StoreError::Io { .. }
            | StoreError::LeftBehind { .. }
            | StoreError::Changed { .. }
            | StoreError::Locked { .. } => {
                Self::internal("the disk of the log store failed; the server's log says how")
                    .with_source(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rpc_core::Code;

    use super::*;

    #[test]
    fn a_full_disk_is_code_8_that_names_the_store_and_when_it_is_worth_another_try() {
        let path = "/var/lib/rpc/log/1.ndjson".into();
        let status = Status::from(StoreError::Full { path });

        assert_eq!(status.code(), Code::RESOURCE_EXHAUSTED);
        assert_eq!(status.message(), "the disk of the log store is full");
        assert_eq!(status.retry_after(), Some(Duration::from_secs(1)));
        // The command has run, and taken its entry back.
        assert!(!status.is_rejected());
    }

    #[test]
    fn what_the_queue_never_has_room_for_is_the_mistake_of_its_caller() {
        let status = Status::from(StoreError::EmitTooLarge {
            bytes: 4000,
            bytes_max: 3000,
        });
        assert_eq!(status.code(), Code::INVALID_ARGUMENT);
        assert_eq!(status.retry_after(), None);
    }

    #[test]
    fn a_file_that_may_not_grow_has_no_time_after_which_it_may() {
        let path = "/var/lib/rpc/log/1.ndjson".into();
        let status = Status::from(StoreError::FileSizeLimit { path });
        assert_eq!(status.code(), Code::RESOURCE_EXHAUSTED);
        assert_eq!(status.retry_after(), None);
    }
}
