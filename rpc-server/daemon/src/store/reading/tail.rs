//! The end of the log as a stream: what comes, as it comes.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use rpc_core::HeldBytes;
use rpc_server::blocking::Caller;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::lines::leading_seq;
use super::super::{Filter, LogStore, StoreError};
use super::search::Search;
use super::{Direction, Page, Query};

/// Maximum number of entries of an item.
const ITEM_ENTRIES_MAX: usize = 100;

/// What to follow.
#[derive(Debug, Default)]
pub(crate) struct TailQuery {
    /// The log that the start belongs to; any if it is missing.
    pub(crate) log: Option<String>,
    /// Where to begin.
    pub(crate) start: Start,
    /// Which entries.
    pub(crate) filter: Arc<Filter>,
    /// The connection that the entries are read for.
    pub(crate) caller: Caller,
    /// The bytes of this, as its connection counts them.
    #[expect(dead_code, reason = "the bytes count for as long as it is there")]
    pub(crate) held: Option<HeldBytes>,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what comes from now on.
    #[default]
    Now,
    /// Behind an entry.
    After(u64),
    /// With this number of last entries that pass the filter.
    Last(usize),
}

/// An item of the stream.
///
/// JSON: `{"log":"…","entries":[…],"next":17}`.
#[derive(Debug, Serialize)]
pub(crate) struct Tailed {
    /// The identity of the log.
    log: String,
    /// The entries that match, in order, as they are in the file.
    pub(crate) entries: Vec<Box<RawValue>>,
    /// The number up to which entries were looked at: where a stream after a lost connection goes on.
    pub(crate) next: u64,
    /// Number of entries that were deleted before they could be sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A stream under way.
struct Tail {
    store: Arc<LogStore>,
    query: TailQuery,
    /// `None` before the first item.
    search: Option<Search>,
}

impl LogStore {
    /// Follows the log. The first item comes at once, or once the last entries are found, and may have no entries; later
    /// ones have some, or a `next` that has moved over what does not pass the filter.
    ///
    /// Nothing is read before an item is asked for, and one page at a time.
    ///
    /// # Errors
    ///
    /// At once: [`OtherLog`](StoreError::OtherLog) and [`PastEnd`](StoreError::PastEnd) if the start does not fit. As the
    /// last item: those of [`read`](Self::read), and [`Ending`](StoreError::Ending) once no reader waits any more.
    pub(crate) fn tail(
        self: &Arc<Self>,
        query: TailQuery,
    ) -> Result<impl Stream<Item = Result<Tailed, StoreError>> + Send + use<>, StoreError> {
        let after = match query.start {
            Start::After(after) => after,
            Start::Now | Start::Last(_) => 0,
        };
        self.check_cursor(query.log.as_deref(), after)?;

        let tail = Tail {
            store: Arc::clone(self),
            query,
            search: None,
        };
        Ok(stream::try_unfold(tail, |mut tail| async {
            let item = tail.next().await?;
            Ok(Some((item, tail)))
        }))
    }
}

impl Tail {
    async fn next(&mut self) -> Result<Tailed, StoreError> {
        let Some(search) = &mut self.search else {
            return self.first().await;
        };

        loop {
            let before = search.next;
            let page = self.store.next_page(search, Duration::MAX).await?;
            if page.next > before {
                return Ok(Tailed::of(page));
            }
            if self.store.waiting.has_ended() {
                return Err(StoreError::Ending);
            }
        }
    }

    /// The first item does not wait for an entry: with it, the reader knows the log, and that it will miss nothing.
    async fn first(&mut self) -> Result<Tailed, StoreError> {
        let after = match self.query.start {
            Start::Now | Start::Last(0) => self.store.last(),
            Start::After(after) => after,
            Start::Last(count) => self.behind_last(count).await?,
        };
        let search = self.search.insert(Search::new(Query {
            after,
            limit: ITEM_ENTRIES_MAX,
            ..self.entries()
        }));

        let page = self.store.next_page(search, Duration::ZERO).await?;
        let mut item = Tailed::of(page);
        if self.query.start == Start::After(0) {
            // What was deleted before the log was followed from its begin is not missed.
            item.lost = 0;
        }
        Ok(item)
    }

    /// The number before the last entries that pass: they are counted from the end down, and not kept.
    async fn behind_last(&self, mut count: usize) -> Result<u64, StoreError> {
        let mut before = u64::MAX;
        loop {
            let query = Query {
                direction: Direction::Down { before },
                limit: count,
                ..self.entries()
            };
            let page = self.store.read_down(Arc::new(query), before).await?;

            count -= page.entries.len();
            let lowest = page.entries.last();
            let lowest = lowest.and_then(|entry| leading_seq(entry.get().as_bytes()));
            match lowest {
                Some(lowest) if count == 0 => return Ok(lowest - 1),
                _ if !page.more => return Ok(page.next.saturating_sub(1)),
                _ => before = page.next,
            }
        }
    }

    fn entries(&self) -> Query {
        Query {
            filter: Arc::clone(&self.query.filter),
            caller: self.query.caller.clone(),
            ..Query::default()
        }
    }
}

impl Tailed {
    fn of(page: Page) -> Self {
        Self {
            log: page.log,
            entries: page.entries,
            next: page.next,
            lost: page.lost,
        }
    }
}
