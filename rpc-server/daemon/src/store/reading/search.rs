//! Reads: one after another over the files until a page is found, or the wait is over.

use std::sync::Arc;

use rpc_core::api::log::Extent;
use rpc_server::blocking::ResultSize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::super::{LogStore, StoreError};
use super::scan::Scan;
use super::{PAGE_BYTES_MAX, Page, Query, SCAN_BYTES_MAX};

impl LogStore {
    /// Reads a page of entries, in order.
    ///
    /// A page ends with the entry that makes its number `limit`, or its size 1 MiB; or where 16 MiB of
    /// entries were looked at, and is then perhaps empty before its wait is over. If the log has no entry
    /// that matches, this waits for one, and returns an empty page when the wait is over or the store is
    /// closed. `after` may be before the first entry that was kept.
    ///
    /// # Errors
    ///
    /// [`OtherLog`](StoreError::OtherLog) and [`PastEnd`](StoreError::PastEnd) if the cursor does not fit;
    /// [`Io`](StoreError::Io) if a segment cannot be read; [`Blocking`](StoreError::Blocking) if too many reads of
    /// the caller's connection wait for a thread. Damaged lines are no error: they are left out.
    ///
    /// # Cancel safety
    ///
    /// Reading changes nothing. A dropped call that waits for a thread does not begin to scan, and one that scans
    /// ends with the block of 64 KiB that it is at.
    pub(crate) async fn read(&self, query: Query) -> Result<Page, StoreError> {
        self.check_cursor(&query)?;

        let deadline = Instant::now() + query.wait.min(self.wait_max);
        let mut search = Search {
            next: query.after,
            scan_bytes_left: SCAN_BYTES_MAX,
            query: Arc::new(query),
        };

        loop {
            if let Some(page) = self.scan(&mut search).await? {
                return Ok(page);
            }

            if search.query.wait.is_zero() {
                return Ok(self.page(Vec::new(), search.next));
            }

            let filter = &search.query.filter;
            let Some(mut waiter) = self.waiting.join(filter, search.next) else {
                return Ok(self.page(Vec::new(), search.next));
            };

            // What has become durable since the scan is not waited for.
            if waiter.after() > search.next
                && let Some(page) = self.scan(&mut search).await?
            {
                return Ok(page);
            }

            let Ok(Some(behind)) = timeout_at(deadline, waiter.woken()).await else {
                search.next = search.next.max(waiter.seen());
                return Ok(self.page(Vec::new(), search.next));
            };
            search.next = search.next.max(behind);
        }
    }

    fn check_cursor(&self, query: &Query) -> Result<(), StoreError> {
        if let Some(asked) = query.log.as_ref().filter(|asked| **asked != self.log) {
            return Err(StoreError::OtherLog {
                asked: asked.clone(),
                extent: self.extent(),
            });
        }

        let (after, extent) = (query.after, self.extent());
        if after > extent.last {
            return Err(StoreError::PastEnd { after, extent });
        }

        Ok(())
    }

    /// What the log holds.
    pub(in crate::store) fn extent(&self) -> Extent {
        let range = self.segments.range();
        Extent {
            log: self.log.clone(),
            oldest: *range.start(),
            last: *range.end(),
        }
    }

    fn page(&self, entries: Vec<Box<RawValue>>, next: u64) -> Page {
        let Extent { log, oldest, last } = self.extent();
        Page {
            log,
            entries,
            next,
            oldest,
            last,
        }
    }

    /// Looks through the entries that are durable; a page if there is one to return.
    async fn scan(&self, search: &mut Search) -> Result<Option<Page>, StoreError> {
        if self.last() <= search.next {
            return Ok(None);
        }

        let (segments, query) = (Arc::clone(&self.segments), Arc::clone(&search.query));
        let (next, scan_bytes_max) = (search.next, search.scan_bytes_left);
        let size = ResultSize {
            bytes_max: in_memory(PAGE_BYTES_MAX),
            of: |found: &Result<Scan, _>| {
                found.as_ref().map_or(0, |scan| in_memory(scan.page_bytes))
            },
        };
        let scan = self
            .scans
            .run_sized(query.caller.clone(), size, move |call| {
                let is_over = || call.is_over();
                Scan::run(&segments, &query, next, scan_bytes_max, &is_over)
            });

        let scan = scan.await??;
        if !scan.entries.is_empty() || scan.scanned >= scan_bytes_max {
            return Ok(Some(self.page(scan.entries, scan.next)));
        }

        search.next = scan.next;
        search.scan_bytes_left -= scan.scanned;
        Ok(None)
    }
}

/// A read under way.
struct Search {
    query: Arc<Query>,
    /// The entries up to this one were looked at.
    next: u64,
    scan_bytes_left: u64,
}

/// A number of bytes of a file, as one of memory.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
