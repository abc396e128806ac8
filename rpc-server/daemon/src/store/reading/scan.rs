//! A scan: one pass over durable entries, in a thread that may block.

use serde_json::value::RawValue;

use super::super::StoreError;
use super::super::segments::Segments;
use super::super::walk::{Step, Walk, WalkPosition};
use super::{PAGE_BYTES_MAX, Query};

/// What a scan has found.
pub(in crate::store) struct Scan {
    /// The entries that match.
    pub(in crate::store) entries: Vec<Box<RawValue>>,
    /// The number of the last entry that was looked at.
    pub(in crate::store) next: u64,
    /// The bytes looked at.
    pub(in crate::store) scanned: u64,
    /// The bytes of the entries that were found.
    pub(in crate::store) page_bytes: u64,
    /// Number of entries that were deleted before they could be read.
    pub(super) lost: u64,
    /// Where the next scan goes on.
    pub(super) place: Option<WalkPosition>,
}

/// Where a scan begins, and where it ends at the latest.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Range {
    /// It looks at the entries behind this one.
    pub(in crate::store) after: u64,
    /// The line of the first of them, if the scan before has ended there.
    pub(in crate::store) place: Option<WalkPosition>,
    /// It ends once it has looked at this number of bytes.
    pub(in crate::store) bytes_max: u64,
}

impl Scan {
    /// Reads entries until the page is full, the bytes of the range were looked at, or none are left.
    ///
    /// It reads files, and is not for a thread that others wait for. Once `is_over` says so, it reads no further
    /// block, and ends with an error that no caller waits for.
    pub(in crate::store) fn run(
        segments: &Segments,
        query: &Query,
        range: Range,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let mut entries: Vec<Box<RawValue>> = Vec::new();
        let mut page_bytes = 0;
        let mut walk = Walk::new(segments, range.after, is_over)
            .begin_at(range.place)
            .only(&query.filter);

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
            range.bytes_max,
        )?;

        Ok(Self {
            entries,
            next: walk.passed,
            scanned: walk.bytes,
            page_bytes,
            lost: walk.lost,
            place: walk.place(),
        })
    }
}
