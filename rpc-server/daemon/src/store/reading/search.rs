//! Reads: one scan after another until a page is found, or the wait is over.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::api::log::Extent;
use rpc_server::blocking::ResultSize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::super::walk::WalkPosition;
use super::super::{LogStore, StoreError};
use super::backward::Backward;
use super::scan::{Range, Scan};
use super::{Direction, PAGE_BYTES_MAX, Page, Query, SCAN_BYTES_MAX};

/// Reading up, under way.
pub(super) struct Search {
    pub(super) query: Arc<Query>,
    /// The entries up to this one were looked at.
    pub(super) next: u64,
    /// Where the next scan goes on.
    place: Option<WalkPosition>,
    scan_bytes_left: u64,
    /// Number of entries that were deleted before this page came to them.
    lost: u64,
}

impl Search {
    pub(super) fn new(query: Query) -> Self {
        Self {
            next: query.after,
            query: Arc::new(query),
            place: None,
            scan_bytes_left: SCAN_BYTES_MAX,
            lost: 0,
        }
    }
}

impl LogStore {
    /// Reads a page of entries, in the order of the query's direction.
    ///
    /// A page ends with the entry that makes its number `limit`, or its size 1 MiB; or where 16 MiB of
    /// entries were looked at, and is then perhaps empty before its wait is over. If the log has no entry
    /// that matches, reading up waits for one, and returns an empty page when the wait is over or the store is
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
        self.check_cursor(query.log.as_deref(), query.after)?;

        match query.direction {
            Direction::Up => {
                let wait = query.wait;
                self.next_page(&mut Search::new(query), wait).await
            }
            Direction::Down { before } => self.read_down(Arc::new(query), before).await,
        }
    }

    /// Reads the next page up.
    pub(super) async fn next_page(
        &self,
        search: &mut Search,
        wait: Duration,
    ) -> Result<Page, StoreError> {
        let deadline = Instant::now() + wait.min(self.wait_max);
        search.scan_bytes_left = SCAN_BYTES_MAX;
        search.lost = 0;

        loop {
            if let Some(page) = self.scan(search).await? {
                return Ok(page);
            }

            if wait.is_zero() {
                return Ok(self.page(Vec::new(), search));
            }

            let filter = &search.query.filter;
            let Some(mut waiter) = self.waiting.join(filter, search.next) else {
                return Ok(self.page(Vec::new(), search));
            };

            // What has become durable since the scan is not waited for.
            if waiter.after() > search.next
                && let Some(page) = self.scan(search).await?
            {
                return Ok(page);
            }

            let Ok(Some(behind)) = timeout_at(deadline, waiter.woken()).await else {
                search.next = search.next.max(waiter.seen());
                return Ok(self.page(Vec::new(), search));
            };
            search.next = search.next.max(behind);
        }
    }

    pub(super) fn check_cursor(&self, log: Option<&str>, after: u64) -> Result<(), StoreError> {
        if let Some(asked) = log.filter(|asked| **asked != self.log) {
            return Err(StoreError::OtherLog {
                asked: asked.to_owned(),
                extent: self.extent(),
            });
        }

        let extent = self.extent();
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

    fn page(&self, entries: Vec<Box<RawValue>>, search: &Search) -> Page {
        let Extent { log, oldest, last } = self.extent();
        Page {
            log,
            entries,
            next: search.next,
            oldest,
            last,
            more: search.next < last,
            lost: search.lost,
        }
    }

    /// Looks through the entries that are durable; a page if there is one to return.
    async fn scan(&self, search: &mut Search) -> Result<Option<Page>, StoreError> {
        if self.last() <= search.next {
            return Ok(None);
        }

        let (segments, query) = (Arc::clone(&self.segments), Arc::clone(&search.query));
        let range = Range {
            after: search.next,
            place: search.place,
            bytes_max: search.scan_bytes_left,
        };
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
                Scan::run(&segments, &query, range, &is_over)
            });

        let scan = scan.await??;
        search.next = scan.next;
        search.place = scan.place;
        search.lost += scan.lost;
        if !scan.entries.is_empty() || scan.scanned >= search.scan_bytes_left {
            return Ok(Some(self.page(scan.entries, search)));
        }

        search.scan_bytes_left -= scan.scanned;
        Ok(None)
    }

    /// Reads the next page down.
    pub(super) async fn read_down(
        &self,
        query: Arc<Query>,
        before: u64,
    ) -> Result<Page, StoreError> {
        let before = before.clamp(1, self.last() + 1);
        let (segments, caller) = (Arc::clone(&self.segments), query.caller.clone());
        let floor = query.after + 1;

        let size = ResultSize {
            bytes_max: in_memory(PAGE_BYTES_MAX),
            of: |found: &Result<(Vec<_>, u64, u64), _>| {
                found.as_ref().map_or(0, |found| in_memory(found.2))
            },
        };
        let scan = self.scans.run_sized(caller, size, move |call| {
            let is_over = || call.is_over();
            let scan = Backward::run(&segments, &query, before, SCAN_BYTES_MAX, &is_over)?;
            Ok::<_, StoreError>((scan.entries, scan.before, scan.page_bytes))
        });

        let (entries, next, _) = scan.await??;
        let Extent { log, oldest, last } = self.extent();
        Ok(Page {
            log,
            entries,
            next,
            oldest,
            last,
            more: next > oldest.max(floor),
            lost: 0,
        })
    }
}

/// A number of bytes of a file, as one of memory.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
