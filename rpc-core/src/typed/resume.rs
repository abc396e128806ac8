//! Resumable streams: a call that is lost is made again from its last cursor.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt};

use crate::frame::{Body, Item, ItemStream, Outcome, Reply, Request};
use crate::resume::{Cursor, Resume};
use crate::scope::Series;
use crate::service::Service;
use crate::status::{Code, Status};

/// Calls in a row that bring no item, before the stream fails: with the back-off of a client, those of about half a
/// minute.
const REOPENINGS_MAX: u32 = 16;

/// The items of a call, and of those that go on where it was lost.
pub(super) struct Resuming<S> {
    service: Arc<S>,
    request: Request<'static>,
    /// That of the request.
    series: Arc<Series>,
    members: &'static [Resume],
    cursor: Option<Cursor>,
    state: State,
}

enum State {
    Open(ItemStream),
    Opening(BoxFuture<'static, Outcome>),
    Ended,
}

/// The items of a reply. A unary one is a stream of its data.
pub(super) fn items_of(reply: Reply) -> ItemStream {
    match reply.into_body() {
        Body::Empty => stream::empty().boxed(),
        Body::Data(data) => stream::iter([Ok(data)]).boxed(),
        Body::Stream(items) => items,
    }
}

impl<S: Service> Resuming<S> {
    /// The items of `reply`, which answers `request`.
    pub(super) fn new(
        service: Arc<S>,
        request: Request<'static>,
        series: Arc<Series>,
        members: &'static [Resume],
        reply: Reply,
    ) -> Self {
        Self {
            service,
            request,
            series,
            members,
            cursor: None,
            state: State::Open(items_of(reply)),
        }
    }

    /// Notes where the stream goes on behind this item.
    fn pass(&mut self, item: &[u8]) {
        self.series.has_gone_on();
        if let Some(cursor) = Cursor::behind(self.members, item) {
            self.cursor = Some(cursor);
        }
    }

    /// Calls again where the call was lost. Otherwise this is how the stream ends.
    fn reopen(&mut self, status: Status) -> Option<Status> {
        if status.code() != Code::UNAVAILABLE || self.series.reopenings() >= REOPENINGS_MAX {
            return Some(status);
        }

        self.series.reopen();
        let mut request = self.request.clone();
        if let Some(cursor) = &self.cursor {
            request.params = cursor.params(&request.params);
        }
        self.state = State::Opening(self.service.call(request).boxed());
        None
    }

    /// How the stream ends that has failed so. The failure of a further call before its first item is about the cursor; over a
    /// connection it comes as the end of the items, since a stream is begun before it is answered.
    fn failure(&self, status: Status) -> Status {
        let is_gap = self.series.reopenings() > 0
            && matches!(
                status.code(),
                Code::OUT_OF_RANGE | Code::FAILED_PRECONDITION
            );
        let Some(cursor) = self.cursor.as_ref().filter(|_| is_gap) else {
            return status;
        };

        let message = format!(
            "the stream was lost and cannot continue from {cursor}, so items may be missing: {}",
            status.message()
        );
        let failure = Status::new(status.code(), message);
        match status.details() {
            Some(details) => failure.with_details(details),
            None => failure,
        }
    }
}

impl<S: Service> Stream for Resuming<S> {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            let status = match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Open(items) => match ready!(items.poll_next_unpin(cx)) {
                    Some(Ok(item)) => {
                        self.pass(item.as_bytes());
                        return Poll::Ready(Some(Ok(item)));
                    }
                    Some(Err(status)) => self.reopen(status).map(|status| self.failure(status)),
                    None => {
                        self.state = State::Ended;
                        return Poll::Ready(None);
                    }
                },
                State::Opening(call) => match ready!(call.poll_unpin(cx)) {
                    Ok(reply) => {
                        self.state = State::Open(items_of(reply));
                        None
                    }
                    Err(status) => self.reopen(status).map(|status| self.failure(status)),
                },
            };

            if let Some(status) = status {
                self.state = State::Ended;
                return Poll::Ready(Some(Err(status)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{RawJson, service_fn};

    const MEMBERS: &[Resume] = &[Resume::new("n", "after")];

    /// Streams of numbers, each up to its end, and then the failure of this code.
    fn collect(script: Vec<(Vec<u64>, Code)>) -> (Vec<Result<u64, Status>>, Vec<String>) {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let calls = Arc::clone(&asked);
        let script = Arc::new(script);
        let service = Arc::new(service_fn(move |request: Request<'static>| {
            let mut calls = calls.lock().unwrap();
            let (numbers, end) = script[calls.len().min(script.len() - 1)].clone();
            calls.push(request.params.as_str().to_owned());
            let failure = Status::new(end, "the end");
            let items = numbers.into_iter().map(|n| {
                RawJson::parse(&format!("{{\"n\":{n}}}")).map_err(|_| Status::internal(""))
            });
            let items = stream::iter(items.chain([Err(failure)]));
            std::future::ready(Ok(Reply::stream(items)))
        }));

        let request = Request::new(100, RawJson::parse("{\"to\":9}").unwrap());
        let reply = service
            .call(request.clone())
            .now_or_never()
            .unwrap()
            .unwrap();
        let series = Arc::default();
        let resuming = Resuming::new(service, request, series, MEMBERS, reply);
        let items: Vec<_> = resuming.collect().now_or_never().unwrap();
        let number = |item: Item| {
            item.map(|item| {
                item.decode::<std::collections::BTreeMap<String, u64>>()
                    .unwrap()["n"]
            })
        };
        let asked = asked.lock().unwrap().clone();
        (items.into_iter().map(number).collect(), asked)
    }

    #[test]
    fn a_lost_stream_goes_on_behind_its_last_item() {
        let lost = Code::UNAVAILABLE;
        let script = vec![
            (vec![], lost),
            (vec![1, 2], lost),
            (vec![], lost),
            (vec![3], Code::ABORTED),
        ];
        let (items, asked) = collect(script);
        let numbers: Vec<_> = items.iter().filter_map(|item| item.as_ref().ok()).collect();
        assert_eq!(numbers, [&1, &2, &3]);
        assert_eq!(items[3].as_ref().unwrap_err().code(), Code::ABORTED);
        let behind = "{\"after\":2,\"to\":9}";
        assert_eq!(asked, ["{\"to\":9}", "{\"to\":9}", behind, behind]);
    }

    #[test]
    fn a_cursor_that_is_not_valid_any_more_is_reported_as_a_gap() {
        let script = vec![(vec![7], Code::UNAVAILABLE), (vec![], Code::OUT_OF_RANGE)];
        let (items, _) = collect(script);
        // The service begins the stream, which then fails by itself.
        let gap = items[1].as_ref().unwrap_err();
        assert_eq!(gap.code(), Code::OUT_OF_RANGE);
        assert!(gap.message().contains("items may be missing"), "{gap}");

        // Not where the stream has gone on since.
        let script = vec![(vec![7], Code::UNAVAILABLE), (vec![8], Code::OUT_OF_RANGE)];
        let (items, _) = collect(script);
        let failure = items[2].as_ref().unwrap_err();
        assert_eq!(failure.message(), "the end");

        let service = Arc::new(service_fn(|_| {
            let status = Status::out_of_range("after is above last").with_details(&3);
            std::future::ready(Err(status))
        }));
        let lost = stream::iter([
            Ok(RawJson::parse("{\"n\":7}").unwrap()),
            Err(Status::unavailable("lost")),
        ]);
        let request = Request::new(100, RawJson::NULL);
        let reply = Reply::stream(lost);
        let resuming = Resuming::new(service, request, Arc::default(), MEMBERS, reply);
        let items: Vec<_> = resuming.collect().now_or_never().unwrap();
        let gap = items[1].as_ref().unwrap_err();
        assert_eq!(gap.code(), Code::OUT_OF_RANGE);
        assert!(
            gap.message().contains("cannot continue from {\"after\":7}"),
            "{gap}"
        );
        assert_eq!(gap.details().unwrap().get(), "3");
    }

    #[test]
    fn a_stream_that_is_lost_again_and_again_without_an_item_fails() {
        let (items, asked) = collect(vec![(vec![], Code::UNAVAILABLE)]);
        assert_eq!(items.len(), 1);
        assert_eq!(asked.len(), 1 + REOPENINGS_MAX as usize);
    }
}
