//! Resumable streams: a call that is lost, or cannot be begun, is made again from its last cursor.

use std::future::poll_fn;
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

/// Calls in a row that bring no item and are not open for long, before the stream fails: with the back-off of a client,
/// those of about half a minute.
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
    /// The items that `request` is answered with.
    pub(super) fn new(
        service: Arc<S>,
        request: Request<'static>,
        series: Arc<Series>,
        members: &'static [Resume],
    ) -> Self {
        let first = service.call(request.clone()).boxed();
        Self {
            service,
            request,
            series,
            members,
            cursor: None,
            state: State::Opening(first),
        }
    }

    /// Waits until a call is begun. One that cannot be is lost as any other: a further call has the same params.
    pub(super) async fn begin(mut self) -> Result<Self, Status> {
        poll_fn(|cx| self.poll_begun(cx)).await?;
        Ok(self)
    }

    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        while let State::Opening(call) = &mut self.state {
            match ready!(call.poll_unpin(cx)) {
                Ok(reply) => self.state = State::Open(items_of(reply)),
                Err(status) => self.reopen(status)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Notes where the stream goes on behind this item.
    fn pass(&mut self, item: &[u8]) {
        self.series.has_gone_on();
        if let Some(cursor) = Cursor::behind(self.members, item) {
            self.cursor = Some(cursor);
        }
    }

    /// Calls again where the call was lost. Otherwise the stream ends with this failure.
    fn reopen(&mut self, status: Status) -> Result<(), Status> {
        if status.code() != Code::UNAVAILABLE || self.series.reopenings() >= REOPENINGS_MAX {
            self.state = State::Ended;
            return Err(self.failure(status));
        }

        self.series.reopen(status.retry_after());
        let mut request = self.request.clone();
        if let Some(cursor) = &self.cursor {
            request.params = cursor.params(&request.params);
        }
        self.state = State::Opening(self.service.call(request).boxed());
        Ok(())
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
            if let Err(status) = ready!(self.poll_begun(cx)) {
                return Poll::Ready(Some(Err(status)));
            }
            let State::Open(items) = &mut self.state else {
                return Poll::Ready(None);
            };

            match ready!(items.poll_next_unpin(cx)) {
                Some(Ok(item)) => {
                    self.pass(item.as_bytes());
                    return Poll::Ready(Some(Ok(item)));
                }
                Some(Err(status)) => {
                    if let Err(status) = self.reopen(status) {
                        return Poll::Ready(Some(Err(status)));
                    }
                }
                None => {
                    self.state = State::Ended;
                    return Poll::Ready(None);
                }
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
        let resuming = Resuming::new(service, request, Arc::default(), MEMBERS);
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

        let first = Mutex::new(Some([
            Ok(RawJson::parse("{\"n\":7}").unwrap()),
            Err(Status::unavailable("lost")),
        ]));
        let service = Arc::new(service_fn(move |_| {
            let refused = Status::out_of_range("after is above last").with_details(&3);
            let first = first.lock().unwrap().take();
            std::future::ready(
                first.map_or(Err(refused), |items| Ok(Reply::stream(stream::iter(items)))),
            )
        }));
        let request = Request::new(100, RawJson::NULL);
        let resuming = Resuming::new(service, request, Arc::default(), MEMBERS);
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

    /// What a stream comes to whose first calls fail so, and how often it was called.
    fn begin_behind(failures: &'static [Code]) -> (Result<(), Status>, usize) {
        let calls = Arc::<Mutex<usize>>::default();
        let counted = Arc::clone(&calls);
        let service = Arc::new(service_fn(move |request: Request<'static>| {
            assert_eq!(request.params.as_str(), "{\"after\":4}");
            let mut calls = counted.lock().unwrap();
            *calls += 1;
            std::future::ready(match failures.get(*calls - 1) {
                Some(code) => Err(Status::new(*code, "not begun")),
                None => Ok(Reply::stream(stream::empty::<Result<(), Status>>())),
            })
        }));

        let request = Request::new(100, RawJson::parse("{\"after\":4}").unwrap());
        let resuming = Resuming::new(service, request, Arc::default(), MEMBERS);
        let begun = resuming.begin().now_or_never().unwrap().map(drop);
        let calls = *calls.lock().unwrap();
        (begun, calls)
    }

    #[test]
    fn a_stream_that_cannot_be_begun_is_called_again_with_its_own_params() {
        let (begun, calls) = begin_behind(&[Code::UNAVAILABLE; 3]);
        assert!(begun.is_ok());
        assert_eq!(calls, 4);
    }

    #[test]
    fn a_stream_that_cannot_be_begun_fails_in_the_end_and_at_once_for_any_other_reason() {
        let (begun, calls) = begin_behind(&[Code::UNAVAILABLE; 99]);
        assert_eq!(begun.unwrap_err().code(), Code::UNAVAILABLE);
        assert_eq!(calls, 1 + REOPENINGS_MAX as usize);

        let (begun, calls) = begin_behind(&[Code::UNAVAILABLE, Code::OUT_OF_RANGE]);
        let failure = begun.unwrap_err();
        assert_eq!(
            (failure.code(), failure.message()),
            (Code::OUT_OF_RANGE, "not begun")
        );
        assert_eq!(calls, 2);
    }
}
