//! A scan: one pass over durable entries, in a thread that may block.

use serde_json::value::RawValue;

use super::super::StoreError;
use super::super::segments::Segments;
use super::super::walk::{Step, Walk};
use super::{PAGE_BYTES_MAX, Query};

/// One pass over durable entries.
pub(in crate::store) struct Scan {
    /// The entries that match.
    pub(in crate::store) entries: Vec<Box<RawValue>>,
    /// The number of the last entry that was looked at.
    pub(in crate::store) next: u64,
    /// The bytes looked at.
    pub(in crate::store) scanned: u64,
    /// The bytes of the entries that were found.
    pub(in crate::store) page_bytes: u64,
}

impl Scan {
    /// Reads entries after `after` until the page is full, so many bytes were looked at, or none are left.
    ///
    /// It reads files, and is not for a thread that others wait for. Once `is_over` says so, it reads no further
    /// block, and ends with an error that no caller waits for.
    pub(in crate::store) fn run(
        segments: &Segments,
        query: &Query,
        after: u64,
        scan_bytes_max: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let mut entries: Vec<Box<RawValue>> = Vec::new();
        let mut page_bytes = 0;
        let mut walk = Walk::new(segments, after, is_over);

        walk.run(
            &mut |entry, line| {
                if !query.filter.matches(entry) {
                    return Ok(Step::On);
                }

                if !entries.is_empty() && page_bytes + line.bytes > PAGE_BYTES_MAX {
                    return Ok(Step::StopBefore);
                }

                page_bytes += line.bytes;
                entries.push(serde_json::from_slice(line.text)?);
                let is_full = entries.len() >= query.limit.max(1);
                Ok(if is_full { Step::Stop } else { Step::On })
            },
            scan_bytes_max,
        )?;

        let (next, scanned) = (walk.passed, walk.bytes);
        Ok(Self {
            entries,
            next,
            scanned,
            page_bytes,
        })
    }
}
