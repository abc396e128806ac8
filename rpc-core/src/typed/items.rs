//! The items of a streaming call, typed.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{Stream, StreamExt};

use super::result::MethodResult;
use crate::frame::ItemStream;

/// What a streaming method of a typed client answers with: a stream of `R`, which is `Result<T, E>`. A failure
/// is the last item. Dropping it gives the call up.
pub struct Items<R> {
    items: ItemStream,
    decoded: PhantomData<fn() -> R>,
}

impl<R: MethodResult> Items<R> {
    pub(super) fn new(items: ItemStream) -> Self {
        Self {
            items,
            decoded: PhantomData,
        }
    }
}

impl<R: MethodResult> Stream for Items<R> {
    type Item = R;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let next = self.items.poll_next_unpin(cx);
        next.map(|item| item.map(R::from_data))
    }
}

impl<R> fmt::Debug for Items<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}
