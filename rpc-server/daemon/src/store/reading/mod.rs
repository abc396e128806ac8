//! Reading: pages of entries in either direction, and streams of what comes.

pub(super) mod backward;
pub(super) mod scan;
mod search;
pub(super) mod tail;

use std::sync::Arc;
use std::time::Duration;

use rpc_server::blocking::Caller;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Filter;
use super::lines::LINE_BYTES_MAX;

pub(crate) use tail::{Start, TailQuery, Tailed};

/// How many bytes of entries a page has at most, unless a single one is longer.
pub(in crate::store) const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// The least that a reply may have to hold for any page: its entries, or a single one that is longer, and the text
/// around them.
#[cfg(feature = "program")]
pub(crate) const REPLY_BYTES_MIN: usize = LINE_BYTES_MAX + 1024;

const _: () = assert!(PAGE_BYTES_MAX <= LINE_BYTES_MAX as u64);

/// How many bytes one read looks at before it returns what it has found: filters that match next to nothing
/// must not keep a thread for as long as the history is.
pub(in crate::store) const SCAN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// The log that `after` belongs to; any if it is missing.
    pub(crate) log: Option<String>,
    /// Only entries with a higher sequence number: 0 for all, and the page before's [`next`](Page::next) to
    /// go on upwards.
    pub(crate) after: u64,
    /// Which way to read.
    pub(crate) direction: Direction,
    /// How many entries a page has at most; 0 is taken for 1.
    pub(crate) limit: usize,
    /// How long to wait for an entry if no entry is there yet. Reading down does not wait.
    pub(crate) wait: Duration,
    /// Which of them.
    pub(crate) filter: Arc<Filter>,
    /// The connection that the entries are read for.
    pub(crate) caller: Caller,
}

/// Which way to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the first entry on.
    #[default]
    Up,
    /// From the last entry below a number down.
    Down {
        /// Only entries with a lower number: `u64::MAX` for all, and the page before's [`next`](Page::next) to go on.
        before: u64,
    },
}

/// What a read has found.
///
/// JSON: `{"log":"…","entries":[…],"next":17,"oldest":1,"last":17}`.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    /// The identity of the log.
    pub(crate) log: String,
    /// The entries that match, in the order of the read, as they are in the file.
    pub(crate) entries: Vec<Box<RawValue>>,
    /// The sequence number up to which entries were looked at, or down to which. Reading on behind it misses none and
    /// repeats none. It may be beyond the last of `entries`, and beyond where the read began on an empty page.
    pub(crate) next: u64,
    /// The first number that may still be read.
    pub(crate) oldest: u64,
    /// The last number that was written.
    pub(crate) last: u64,
    /// Whether the log has entries that were not looked at, behind `next` in the direction of the read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) more: bool,
    /// Number of entries that were deleted before they could be read. Only reading up tells.
    #[serde(skip)]
    pub(crate) lost: u64,
}
