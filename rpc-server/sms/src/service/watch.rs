//! Changes of messages, as a stream that goes on behind a cursor.

use futures::stream::{self, Stream};
use rpc_core::api::sms::{Events, Extent, OUTBOX_BYTES_MAX, SmsError, Watch};
use rpc_core::{Context, Status};
use tokio::sync::watch;

use super::convert::{as_event, id_of};
use super::{SmsHandlers, invalid};
use crate::store::{EventFilter, EventPage};

/// Events of one item.
const EVENTS_MAX: usize = 500;

/// A watch on its way: the place that it is at, and the number of the last event that is on disk.
struct Watching {
    filter: EventFilter,
    last: watch::Receiver<u64>,
    /// Whether an item without events is due, which names the place that the watch begins at.
    begins_now: bool,
}

/// The items of a watch. A cursor that does not fit the outbox is the first and only one.
pub(super) fn items<'h>(
    handlers: &'h SmsHandlers,
    context: &Context,
    watch: Watch,
) -> impl Stream<Item = Result<Events, SmsError>> + Send + use<'h> {
    let state = Some(Watching::begin(handlers, context, watch));
    stream::unfold(state, move |state| async move {
        let mut watching = match state? {
            Ok(watching) => watching,
            Err(error) => return Some((Err(error), None)),
        };

        match watching.next(handlers).await {
            Ok(Some(item)) => Some((Ok(item), Some(Ok(watching)))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Watching {
    fn begin(handlers: &SmsHandlers, context: &Context, watch: Watch) -> Result<Self, SmsError> {
        let mut last = handlers.outbox.store().last_event();
        let extent = Extent {
            outbox: handlers.outbox.store().name().to_owned(),
            last: *last.borrow_and_update(),
        };
        check_cursor(&watch, &extent)?;

        Ok(Self {
            filter: EventFilter {
                viewer: handlers.viewer(context),
                id: watch.id.as_deref().map(id_of).transpose()?,
                states: watch.status,
                after: watch.after.unwrap_or(extent.last),
                limit: EVENTS_MAX,
            },
            last,
            begins_now: watch.after.is_none(),
        })
    }

    /// The next item, once there is one; `None` when the outbox is closed.
    async fn next(&mut self, handlers: &SmsHandlers) -> Result<Option<Events>, SmsError> {
        let item = |page: EventPage| Events {
            outbox: handlers.outbox.store().name().to_owned(),
            events: page.events.into_iter().map(as_event).collect(),
            next: page.next,
        };
        if std::mem::take(&mut self.begins_now) {
            return Ok(Some(item(EventPage {
                events: Vec::new(),
                next: self.filter.after,
                has_more: false,
            })));
        }

        loop {
            // Before the read: what comes behind it wakes the watch again.
            self.last.borrow_and_update();
            let filter = self.filter.clone();
            let page = handlers
                .read(move |outbox| outbox.store().events(&filter))
                .await?;

            self.filter.after = page.next;
            if !page.events.is_empty() {
                return Ok(Some(item(page)));
            }
            if !page.has_more && self.last.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

/// Refuses a cursor that is of another outbox, or past the last event.
fn check_cursor(watch: &Watch, extent: &Extent) -> Result<(), SmsError> {
    let asked = watch.outbox.as_deref();
    if let Some(bytes) = asked
        .map(str::len)
        .filter(|bytes| *bytes > OUTBOX_BYTES_MAX)
    {
        return Err(invalid(format!(
            "`outbox` has {bytes} bytes and may have {OUTBOX_BYTES_MAX}"
        )));
    }
    if let Some(asked) = asked.filter(|asked| *asked != extent.outbox) {
        let message = format!(
            "the server has the outbox `{}`, and the cursor is of `{}`: the data directory was replaced; continue with \
             `after` = 0",
            extent.outbox,
            asked.escape_debug(),
        );
        let status = Status::failed_precondition(message);
        return Err(SmsError::Other(status.with_details(extent)));
    }

    match watch.after {
        Some(after) if after > extent.last => {
            let message = format!(
                "`after` is {after}, and the last change of the outbox is {}: what came behind it is lost",
                extent.last
            );
            let status = Status::out_of_range(message);
            Err(SmsError::Other(status.with_details(extent)))
        }
        _ => Ok(()),
    }
}
