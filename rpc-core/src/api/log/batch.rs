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
/// The log remembers the last 64 batches of each producer, until a day after the last one. If one of them is sent again
/// with exactly the same entries, the log does not write it again, and replies as before. A producer gives its batches
/// ascending numbers. It may leave out numbers, and up to 64 batches may arrive in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AppendBatch {
    /// Name of the program that sends the batch; no other program may use it. 1 to 64 letters, digits, `.`, `_` and
    /// `-`.
    pub producer: String,
    /// Number of the batch, 1 or more.
    pub batch: u64,
    /// The entries: at least 1, at most 10,000.
    pub entries: Vec<Append>,
}

/// The batch that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchAppended {
    /// Number of the first entry of the batch.
    pub first: u64,
    /// Number of the last entry of the batch. All numbers between the two belong to the batch.
    pub last: u64,
    /// True if the log already had this batch from an earlier call, and has not written it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Whether the entries survive a loss of power. False means that the log works without `fsync`: the entries survive
    /// a crash of the server, but not a loss of power.
    #[serde(default = "super::entry::yes", skip_serializing_if = "Clone::clone")]
    pub synced: bool,
}

/// The reason that a batch is not written.
#[cfg_attr(feature = "schema", rpc_error(schema))]
#[cfg_attr(not(feature = "schema"), rpc_error)]
#[derive(Debug, Clone)]
pub enum BatchError {
    /// The number of the batch is too low: it is below the last 64 batches of the producer, which are all that the log
    /// remembers. The log may or may not have the batch.
    #[rpc(
        code = 1000,
        message = "the log cannot know whether it has this batch: the batch's number is below the last 64 of its \
            producer, which end with {last_batch}"
    )]
    Stale {
        /// The highest batch number of the producer.
        last_batch: u64,
    },
    /// The producer has already sent a batch with this number and other entries.
    #[rpc(
        code = 1001,
        message = "the producer has sent other entries with this number; give each batch a number of its own"
    )]
    Conflict,
    /// Every other failure.
    #[rpc(other)]
    Other(Status),
}
