use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use rpc_core::api::log::Level;
use rpc_server::blocking::Caller;
use serde::Serialize;
use serde_json::value::RawValue;

use super::StoreError;
use super::entry::EntryRef;
use super::lines::{Lines, Sequence, leading_seq, locate};
use super::segments::{Segments, View};

/// How many bytes of entries a page has at most, unless a single one is longer.
pub(super) const PAGE_BYTES_MAX: u64 = 1024 * 1024;

/// How many bytes one read looks at before it returns what it has found: filters that match next to nothing
/// must not keep a thread for as long as the history is.
pub(super) const SCAN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many bytes a scan reads at a time. It learns between two such blocks that its call is over.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Only entries with a higher sequence number: 0 for all, and the page before's [`next`](Page::next) to
    /// go on.
    pub(crate) after: u64,
    /// How many entries a page has at most; 0 is taken for 1.
    pub(crate) limit: usize,
    /// How long to wait for an entry if there is none yet.
    pub(crate) wait: Duration,
    /// Only entries of this level or above.
    pub(crate) level: Option<Level>,
    /// Only entries of this service.
    pub(crate) service: Option<String>,
    /// Only entries with this in their message.
    pub(crate) contains: Option<String>,
    /// The connection that the entries are read for.
    pub(crate) caller: Caller,
}

/// What a read has found.
///
/// JSON: `{"entries":[…],"next":17}`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Page {
    /// The entries that match, in order, as they stand in the file.
    pub(crate) entries: Vec<Box<RawValue>>,
    /// The sequence number up to which entries were looked at. Reading on after it misses none and repeats
    /// none. It may be beyond the last of `entries`, and beyond `after` on an empty page.
    pub(crate) next: u64,
}

/// One pass over durable entries.
pub(super) struct Scan {
    pub(super) page: Page,
    /// The bytes looked at.
    pub(super) scanned: u64,
    page_bytes: u64,
}

impl Scan {
    /// Reads entries after `after` until the page is full, so many bytes were looked at, or none are left.
    ///
    /// It reads files, and is not for a thread that others wait for. Once `is_over` says so, it reads no further
    /// block, and ends with an error that no caller waits for.
    pub(super) fn run(
        segments: &Segments,
        query: &Query,
        after: u64,
        scan_bytes_max: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let page = Page {
            entries: Vec::new(),
            next: after,
        };
        let mut scan = Self {
            page,
            scanned: 0,
            page_bytes: 0,
        };

        while let Some(view) = segments.view(scan.page.next) {
            let Some(file) = segments.open(&view)? else {
                continue;
            };

            let blocks = Blocks {
                file: &file,
                is_over,
            };
            let mut damaged = Vec::new();
            let done = scan.segment(blocks, &view, query, scan_bytes_max, &mut damaged);
            segments.report_damage(view.first, &damaged, is_over);
            if done.map_err(StoreError::io("read", &view.path))? {
                break;
            }
        }

        Ok(scan)
    }

    /// Reads one segment; returns whether the page is done.
    fn segment(
        &mut self,
        file: Blocks<'_>,
        view: &View,
        query: &Query,
        scan_bytes_max: u64,
        damaged: &mut Vec<u64>,
    ) -> io::Result<bool> {
        let (offset, seq) = locate(file, view.len, view.first, self.page.next + 1)?;
        let mut sequence = Sequence::new(seq, view.last);
        let mut lines = Lines::new(file, offset, view.len, BLOCK_BYTES)?;

        while let Some(line) = lines.next()? {
            // What comes before the page is only counted along.
            let passed = leading_seq(line.text).filter(|&seq| seq <= self.page.next);
            let entry = if passed.is_some() {
                None
            } else {
                EntryRef::parse(line.text)
            };

            if !sequence.accept(passed.or(entry.as_ref().map(|entry| entry.seq)), line.bytes) {
                self.scanned += line.bytes;
                damaged.push(line.offset);
                continue;
            }

            let Some(entry) = entry.filter(|entry| entry.seq > self.page.next) else {
                continue;
            };

            self.scanned += line.bytes;
            if query.matches(&entry) {
                if !self.page.entries.is_empty() && self.page_bytes + line.bytes > PAGE_BYTES_MAX {
                    return Ok(true);
                }
                self.page_bytes += line.bytes;
                self.page.entries.push(serde_json::from_slice(line.text)?);
            }

            self.page.next = entry.seq;
            if self.page.entries.len() >= query.limit.max(1) || self.scanned >= scan_bytes_max {
                return Ok(true);
            }
        }

        if lines.offset() < view.len {
            // Someone else has shortened the file. What it held is gone, and reading goes on behind it.
            damaged.push(lines.offset());
        }

        // Also past what the segment should hold but does not.
        self.page.next = self.page.next.max(view.last);
        Ok(false)
    }
}

/// A file that is read only for as long as its call is not over.
#[derive(Clone, Copy)]
struct Blocks<'a> {
    file: &'a File,
    is_over: &'a dyn Fn() -> bool,
}

impl Read for Blocks<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if (self.is_over)() {
            return Err(io::Error::other("the call is over"));
        }

        self.file.read(block)
    }
}

impl Seek for Blocks<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Query {
    fn matches(&self, entry: &EntryRef<'_>) -> bool {
        self.level.is_none_or(|level| entry.level >= level)
            && self
                .service
                .as_ref()
                .is_none_or(|service| entry.service == *service)
            && self
                .contains
                .as_ref()
                .is_none_or(|text| entry.message.contains(text.as_str()))
    }
}
