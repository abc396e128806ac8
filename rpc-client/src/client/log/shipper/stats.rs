//! The counters of a shipper, and the reasons for which it drops entries.

use std::fmt;
use std::sync::Arc;

/// What became of the entries of a shipper since it was started.
///
/// It counts the entries by which the log is told of dropped ones, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Entries that are in the log: their batches were acknowledged.
    pub sent: u64,
    /// Entries that were dropped: by a full or closed queue, for their length, or refused by the log.
    pub dropped: u64,
    /// Entries of which it is not known whether they are in the log: they wait, or no answer has come.
    pub unsent: u64,
}

/// The counters of a shipper.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShipperStats {
    /// Entries that are in the log.
    pub sent: u64,
    /// Entries that were dropped, for all reasons.
    pub dropped: u64,
    /// Of these, the entries that the log refused.
    pub refused: u64,
    /// Entries that wait or are under way.
    pub queued: u64,
    /// The bytes of these entries, as JSON.
    pub queued_bytes: usize,
    /// Batches that had to be sent again.
    pub resent: u64,
    /// The last failure of a batch.
    pub last_error: Option<Arc<str>>,
}

/// Why an entry was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dropped {
    /// The queue has no room: the log is away, or slower than the program.
    Full,
    /// The entry has too many bytes as JSON.
    TooLong {
        /// The bytes of the entry.
        bytes: usize,
    },
    /// The shipper was closed.
    Closed,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str(
                "the entry was dropped: the queue of the shipper is full; raise `queue_bytes_max` or \
                 `queue_entries_max`",
            ),
            Self::TooLong { bytes } => write!(
                f,
                "the entry was dropped: it has {bytes} bytes as JSON and may have at most {}",
                super::config::ENTRY_BYTES_MAX
            ),
            Self::Closed => f.write_str("the entry was dropped: the shipper was closed"),
        }
    }
}

impl std::error::Error for Dropped {}
