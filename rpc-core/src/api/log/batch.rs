//! Batches: entries that are written together or not at all, once.

use serde::{Deserialize, Serialize};

use super::Append;
use crate::rpc_error;
use crate::status::Status;

/// Maximum length of [`AppendBatch::producer`] in bytes.
pub const PRODUCER_BYTES_MAX: usize = 64;

/// Maximum number of [`AppendBatch::entries`].
pub const BATCH_ENTRIES_MAX: usize = 10_000;

/// Entries that are written together or not at all.
///
/// The log remembers the last 64 batches of a producer, by their numbers, for a day after the last one: a batch that is sent
/// again with the same entries, written as they were, is answered and not written. A producer numbers its batches upwards;
/// numbers may be left out, and up to 64 of them may come in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AppendBatch {
    /// The name of the program that sends it, which no other has: 1 to 64 letters, digits, `.`, `_` and `-`.
    pub producer: String,
    /// The number of the batch, 1 or more.
    pub batch: u64,
    /// The entries, 1 to 10,000.
    pub entries: Vec<Append>,
}

/// The batch that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchAppended {
    /// The number of its first entry.
    pub first: u64,
    /// The number of its last entry. All between belong to the batch.
    pub last: u64,
    /// Whether this batch was sent before, and is in the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Whether the entries would outlive a loss of power. It is false, and they would outlive the server alone, where the log
    /// is kept without `fsync`.
    #[serde(default = "super::entry::yes", skip_serializing_if = "Clone::clone")]
    pub synced: bool,
}

/// Why a batch is not written.
#[cfg_attr(feature = "schema", rpc_error(schema))]
#[cfg_attr(not(feature = "schema"), rpc_error)]
#[derive(Debug, Clone)]
pub enum BatchError {
    /// The number is below those that the log remembers of the producer: the batch may be in the log or not.
    #[rpc(
        code = 1000,
        message = "the log cannot know whether it has this batch: the batch's number is below the last 64 of its \
            producer, which end with {last_batch}"
    )]
    Stale {
        /// The highest number of the producer.
        last_batch: u64,
    },
    /// Another batch of the producer has this number.
    #[rpc(
        code = 1001,
        message = "the producer has sent other entries with this number; give each batch a number of its own"
    )]
    Conflict,
    /// All else.
    #[rpc(other)]
    Other(Status),
}
