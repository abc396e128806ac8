//! A stream without credit: it looks for its next item, and keeps it.

use std::sync::Arc;
use std::task::{Context, Poll};

use rpc_core::Status;

use super::StreamCall;
use crate::connection::ahead::Looking;
use crate::connection::credit::Credit;

impl StreamCall {
    /// Looks for an item for which there is no credit, and keeps it. A stream may not wait for ever for credit that cannot
    /// come: then this is its end.
    pub(super) fn look_ahead(&mut self, cx: &mut Context<'_>) -> Option<Result<(), Status>> {
        let credit = Arc::clone(self.credit.as_ref()?);
        credit.wait(cx.waker());

        let why_no_credit = match self.terms.place.id() {
            None => Some("a call without `id` cannot be given more"),
            Some(_) if credit.is_closed() => Some("the connection takes no more requests"),
            Some(_) => None,
        };
        if self.next.is_none() {
            if why_no_credit.is_none() && !self.may_look(&credit) {
                return None;
            }

            let expected = self.looking.as_ref().map_or(0, Looking::bytes);
            let Poll::Ready(found) = self.poll_item(cx) else {
                return None;
            };
            self.has_looked = true;
            let item = match found {
                Ok(item) => item.into_compact(),
                Err(end) => return Some(end),
            };
            let item_bytes = item.as_bytes().len();
            if why_no_credit.is_none()
                && let Err(end) = self.ahead.check_room(item_bytes, expected)
            {
                return Some(Err(end));
            }
            let held = self.held.another(item.memory_bytes());
            self.next = Some((item, held));
        }

        let why = why_no_credit?;
        let message = format!("the `credit` is used up, and {why}");
        Some(Err(Status::resource_exhausted(message)))
    }

    /// Whether it has begun to look for an item without credit, or begins now; otherwise it is woken for that later.
    fn may_look(&mut self, credit: &Arc<Credit>) -> bool {
        if self.looking.is_none() {
            self.looking = self.ahead.begin(self.item_bytes_last);
            self.place = match self.looking {
                Some(_) => None,
                None => Some(self.ahead.wait(self.item_bytes_last, credit)),
            };
        }

        self.looking.is_some()
    }
}
