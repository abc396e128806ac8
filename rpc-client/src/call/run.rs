//! Running a call to its end: the first try, and what comes after it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rpc_core::frame::ServerTiming;
use rpc_core::scope::Series;
use rpc_core::{RawJson, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Attempt, Command, Idempotency, Items};
use crate::connection::{CallKind, Due, FastRequest, decode};
use crate::error::{Error, Kind};
use crate::time::{MAX_TIMEOUT, after};

/// What a try came to, and the address that it came from.
pub(super) struct Answer {
    pub(super) data: Option<RawJson<'static>>,
    pub(super) address: Arc<str>,
    /// Where the time of the try went at the server, where that was asked for.
    pub(super) timing: Option<ServerTiming>,
}

/// How a first try failed.
pub(super) struct FirstFailure {
    error: Error,
    /// The call's, where it has begun to count.
    deadline: Option<Instant>,
}

impl Answer {
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        decode(self.data.as_ref(), &self.address)
    }
}

/// Where the time of a call went at the server, as its reply tells.
pub(super) fn timing_of(result: &Result<Answer, Error>) -> Option<ServerTiming> {
    match result {
        Ok(answer) => answer.timing,
        Err(error) => error.timing(),
    }
}

impl FirstFailure {
    fn of(error: Error, attempt: &Attempt) -> Self {
        Self {
            error,
            deadline: attempt.deadline(),
        }
    }

    /// Nothing was started.
    fn unstarted(error: Error) -> Self {
        Self {
            error,
            deadline: None,
        }
    }
}

impl Command<'_> {
    /// As [`Client::call`](crate::Client::call).
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up: the server is told, and a late reply is ignored.
    pub async fn call<P, T>(&self, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        if self.is_special() {
            let answer = Box::pin(self.all_tries(|| self.request(params))).await?;
            return answer.decode();
        }

        let mut attempt = None;
        let failure = match self.first_try(params, &mut attempt).await {
            Ok(attempt) => match poll_fn(|cx| attempt.poll_data(cx)).await {
                Ok(data) => return attempt.decode(data),
                Err(error) => FirstFailure::of(error, attempt),
            },
            Err(failure) => failure,
        };

        let answer = self
            .after_failure(|| self.request(params), self.idempotency(), failure)
            .await?;
        answer.decode()
    }

    /// Whether a unary call without metadata has nothing but a command, params and a time limit.
    pub(crate) fn is_usual(&self) -> bool {
        self.options().are_usual()
    }

    /// As [`call`](Self::call), with params that are written already.
    pub(crate) async fn call_written<T: DeserializeOwned>(
        &self,
        params: RawJson<'static>,
    ) -> Result<T, Error> {
        let make = || Ok(self.request_of(params.clone()));
        if self.is_special() {
            let answer = Box::pin(self.all_tries(make)).await?;
            return answer.decode();
        }

        let mut attempt = None;
        let failure = match self.first_try_written(&params, &mut attempt).await {
            Ok(attempt) => match poll_fn(|cx| attempt.poll_data(cx)).await {
                Ok(data) => return attempt.decode(data),
                Err(error) => FirstFailure::of(error, attempt),
            },
            Err(failure) => failure,
        };

        let answer = self
            .after_failure(make, self.idempotency(), failure)
            .await?;
        answer.decode()
    }

    /// As [`call`](Self::call), with the data as the server sent it; `None` for a reply without data.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub async fn call_raw<P>(&self, params: &P) -> Result<Option<RawJson<'static>>, Error>
    where
        P: Serialize + ?Sized,
    {
        if self.is_special() {
            let answer = Box::pin(self.all_tries(|| self.request(params))).await?;
            return Ok(answer.data);
        }

        let mut attempt = None;
        let failure = match self.first_try(params, &mut attempt).await {
            Ok(attempt) => match (&mut *attempt).await {
                Ok(data) => return Ok(data),
                Err(error) => FirstFailure::of(error, attempt),
            },
            Err(failure) => failure,
        };

        let answer = self
            .after_failure(|| self.request(params), self.idempotency(), failure)
            .await?;
        Ok(answer.data)
    }

    /// As [`Client::stream`](crate::Client::stream); always multiplexed.
    ///
    /// # Errors
    /// As [`Client::stream`](crate::Client::stream).
    ///
    /// # Cancel safety
    /// Dropping the future, or the stream later, gives the call up.
    pub async fn stream<P, T>(
        &self,
        params: &P,
    ) -> Result<BoxStream<'static, Result<T, Error>>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        let mut items = self.items(self.request(params)?).await?;
        Ok(stream::poll_fn(move |cx| items.poll_decoded(cx)).boxed())
    }

    /// The items that a request is answered with.
    pub(crate) async fn items(&self, mut request: Request<'static>) -> Result<Items, Error> {
        request.credit = Some(self.caller().config.limits.stream_credit);
        let series = self.options().series();
        let own = self.options().timeout.map(|timeout| {
            let own = after(Instant::now(), timeout);
            let shared = series.map(|series| series.deadline(own.into_std()));
            shared.map_or(own, Instant::from_std)
        });
        let deadline = [own, self.options().until()].into_iter().flatten().min();

        if let Some(series) = series {
            self.back_off(series, deadline).await;
        }
        if let Some(timing) = self.options().timing() {
            timing.set(None);
        }

        // Without an id it could not be given credit.
        self.start(&mut request, CallKind::Stream, deadline, &[])
            .await
            .map(|attempt| attempt.into_items(series.cloned()))
    }

    /// Waits before a call that follows lost ones, but not past its deadline: longer the more of them brought nothing, and
    /// as long as the server asked for besides, up to the longest back-off.
    async fn back_off(&self, series: &Series, deadline: Option<Instant>) {
        let reconnect = &self.caller().config.reconnect;
        let mut backoff = reconnect.backoff();
        let delays = (0..series.reopenings()).map(|_| backoff.next_delay());
        let Some(delay) = delays.last() else {
            return;
        };

        let asked = series.retry_after().min(reconnect.cap());
        let begin = after(Instant::now(), delay.saturating_add(asked));
        let begin = deadline.map_or(begin, |deadline| begin.min(deadline));
        tokio::time::sleep_until(begin).await;
    }

    /// Sends a request as it is, and again where that is allowed.
    pub(crate) async fn send(
        &self,
        mut request: Request<'static>,
    ) -> Result<Option<RawJson<'static>>, Error> {
        if self.is_special() {
            let answer = Box::pin(self.all_tries(|| Ok(request.clone()))).await?;
            return Ok(answer.data);
        }

        let mut attempt = None;
        let failure = match self.first_try_of(&mut request, &mut attempt).await {
            Ok(attempt) => match (&mut *attempt).await {
                Ok(data) => return Ok(data),
                Err(error) => FirstFailure::of(error, attempt),
            },
            Err(failure) => failure,
        };

        let answer = self
            .after_failure(|| Ok(request.clone()), self.idempotency(), failure)
            .await?;
        Ok(answer.data)
    }

    /// Starts a request as it is, once, to be awaited elsewhere.
    pub(crate) async fn start_once(&self, mut request: Request<'static>) -> Result<Attempt, Error> {
        let mut attempt = None;
        self.first_try_of(&mut request, &mut attempt)
            .await
            .map_err(|failure| failure.error)?;
        Ok(attempt.expect("it was filled above").polled_elsewhere())
    }

    /// Starts the first try in `place`: at once where there is a connection that takes it, as a rule. What else
    /// there may be to do, and the request, are kept out of the call's future, of which there are as many
    /// as calls in flight.
    async fn first_try<'a, P: Serialize + ?Sized>(
        &self,
        params: &P,
        place: &'a mut Option<Attempt>,
    ) -> Result<&'a mut Attempt, FirstFailure> {
        let at_once = poll_fn(|cx| {
            let start = |params| self.try_first(params, cx.waker(), place);
            Poll::Ready(self.raw(params).map(start))
        });
        if let Some(mut request) = at_once.await.map_err(FirstFailure::unstarted)? {
            *place = Some(Box::pin(self.first_when_possible(&mut request)).await?);
        }

        Ok(place.as_mut().expect("it was filled above"))
    }

    /// As [`first_try`](Self::first_try), with params that are written already.
    async fn first_try_written<'a>(
        &self,
        params: &RawJson<'static>,
        place: &'a mut Option<Attempt>,
    ) -> Result<&'a mut Attempt, FirstFailure> {
        poll_fn(|cx| {
            self.try_fast(params, self.time_limit(), cx.waker(), place);
            Poll::Ready(())
        })
        .await;

        if place.is_none() {
            let mut request = Box::new(self.request_of(params.clone()));
            *place = Some(Box::pin(self.first_when_possible(&mut request)).await?);
        }

        Ok(place.as_mut().expect("it was filled above"))
    }

    /// As [`first_try`](Self::first_try), with the request as it is.
    async fn first_try_of<'a>(
        &self,
        request: &mut Request<'static>,
        place: &'a mut Option<Attempt>,
    ) -> Result<&'a mut Attempt, FirstFailure> {
        poll_fn(|cx| {
            self.try_request(request, cx.waker(), place);
            Poll::Ready(())
        })
        .await;

        if place.is_none() {
            *place = Some(Box::pin(self.first_when_possible(request)).await?);
        }

        Ok(place.as_mut().expect("it was filled above"))
    }

    /// Fills `place`, where there is a connection that takes the call; otherwise returns the call's request. Most
    /// calls need none: it would be built only to be written.
    fn try_first(
        &self,
        params: RawJson<'static>,
        waker: &Waker,
        place: &mut Option<Attempt>,
    ) -> Option<Box<Request<'static>>> {
        let limit = self.time_limit();
        if self.options().are_usual() && !limit.is_zero() {
            self.try_fast(&params, limit, waker, place);
            return place.is_none().then(|| Box::new(self.request_of(params)));
        }

        let mut request = Box::new(self.request_of(params));
        self.try_request(&mut request, waker, place);
        place.is_none().then_some(request)
    }

    /// Fills `place`, where there is a connection that takes a call with nothing but a time limit.
    #[inline]
    fn try_fast(
        &self,
        params: &RawJson<'static>,
        limit: Duration,
        waker: &Waker,
        place: &mut Option<Attempt>,
    ) {
        // No time is left: `start` says so.
        if limit.is_zero() {
            return;
        }

        let frame = FastRequest {
            cmdid: self.cmdid(),
            limit,
            params,
        };
        self.try_start(&frame, Due::In(limit), waker, place);
    }

    fn try_request(
        &self,
        request: &mut Request<'static>,
        waker: &Waker,
        place: &mut Option<Attempt>,
    ) {
        let limit = self.time_limit();
        let (due, left) = if self.options().until().is_none() {
            (Due::In(limit), limit)
        } else {
            let now = Instant::now();
            let deadline = self.deadline_from(now);
            (Due::At(deadline), deadline.saturating_duration_since(now))
        };

        if !left.is_zero() {
            request.timeout = self.tells_timeout().then_some(left);
            self.try_start(request, due, waker, place);
        }
    }

    async fn first_when_possible(
        &self,
        request: &mut Request<'static>,
    ) -> Result<Attempt, FirstFailure> {
        let deadline = Some(self.deadline_from(Instant::now()));
        let kind = self.options().kind;
        self.start(request, kind, deadline, &[])
            .await
            .map_err(|error| FirstFailure { error, deadline })
    }

    /// What is left to do when the first try has failed, which is nothing as a rule.
    async fn after_failure<F>(
        &self,
        make: F,
        idempotency: Idempotency,
        FirstFailure { error, deadline }: FirstFailure,
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        if !self.may_retry(&error, idempotency) {
            return Err(error);
        }

        let deadline = deadline.unwrap_or_else(|| self.deadline_from(Instant::now()));
        Box::pin(self.try_again(make, idempotency, error, deadline)).await
    }

    /// All tries of a call. A call that is more than one try, and seldom another, has them in a box, so that other calls,
    /// of which there are more, have smaller futures.
    pub(super) async fn all_tries<F>(&self, make: F) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        let Some(timing) = self.options().timing() else {
            return self.untimed_tries(make).await;
        };

        timing.set(None);
        let result = self.untimed_tries(make).await;
        timing.set(timing_of(&result));
        result
    }

    async fn untimed_tries<F>(&self, make: F) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        if self.is_keyed() {
            return self.send_keyed(make()?).await;
        }

        let idempotency = self.idempotency();
        let deadline = self.deadline_from(Instant::now());
        self.caller().budget.count_call();
        match self.attempt(&make, idempotency, deadline, &[]).await {
            Err(error) if self.may_retry(&error, idempotency) => {
                self.try_again(make, idempotency, error, deadline).await
            }
            result => result,
        }
    }

    pub(super) fn deadline_from(&self, now: Instant) -> Instant {
        let own = after(now, self.time_limit());
        self.options().until().map_or(own, |until| own.min(until))
    }

    fn time_limit(&self) -> Duration {
        self.options()
            .timeout
            .unwrap_or_else(|| self.caller().config.timeouts.call_timeout())
            .min(MAX_TIMEOUT)
    }

    pub(super) fn idempotency(&self) -> Idempotency {
        if self.is_listed() {
            Idempotency::Idempotent
        } else {
            self.options().idempotency
        }
    }

    /// Whether the settings say that the command may run twice without harm.
    pub(super) fn is_listed(&self) -> bool {
        let listed = &self.caller().config.retry.idempotent_cmdids;
        listed.contains(&self.cmdid().number())
    }

    /// Whether a call may have a backup, has a key, or is asked for its timing.
    fn is_special(&self) -> bool {
        self.is_keyed() || self.is_hedged() || self.options().timing().is_some()
    }

    /// Whether its server has to say what it makes of the call's key. An ordered call has its place in the order, and
    /// no other try.
    fn is_keyed(&self) -> bool {
        self.options().idempotency == Idempotency::ByKey && !self.options().kind.is_ordered()
    }

    fn is_hedged(&self) -> bool {
        self.caller().hedging.is_some()
            && !self.options().kind.is_ordered()
            && self.idempotency() == Idempotency::Idempotent
    }

    pub(super) fn request<P: Serialize + ?Sized>(
        &self,
        params: &P,
    ) -> Result<Request<'static>, Error> {
        Ok(self.request_of(self.raw(params)?))
    }

    #[inline]
    fn raw<P: Serialize + ?Sized>(&self, params: &P) -> Result<RawJson<'static>, Error> {
        let target = &self.caller().target;
        RawJson::serialize(params)
            .map_err(|error| Error::new(Kind::Params(Arc::new(error)), target, None))
    }

    fn request_of(&self, params: RawJson<'static>) -> Request<'static> {
        let mut request = Request::new(self.cmdid(), params);
        if let Some(meta) = self.options().meta() {
            request.meta = meta;
        }

        if self.options().kind.is_ordered() {
            // tornado-TCP's server wants one.
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            request.timestamp = i64::try_from(since.as_secs()).ok();
        }

        request
    }
}
