//! Calls with options of their own, and their attempts, retries and backups.

mod attempt;
mod hedge;
mod retry;
mod stack;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::BoxStream;
use rpc_core::scope::Parent;
use rpc_core::trace::{TRACEPARENT, TRACESTATE, Trace};
use rpc_core::{CmdId, Meta, RawJson, Request, RetryCategory};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::balance;
use crate::balance::Wish;
use crate::config::Mode;
use crate::connection::{Connection, Due, PendingCall, Refusal, decode};
use crate::error::{Error, Kind};
use crate::time::{Inherited, MAX_TIMEOUT, after};

use crate::balance::Route;
pub(crate) use attempt::{Attempt, Items};
pub(crate) use hedge::Hedging;
use retry::Answer;
pub(crate) use retry::Budget;
pub(crate) use stack::Stack;

/// The metadata by which a service tells a repetition.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Why a call's first try failed, and the call's deadline, where it has begun to count.
type Failed = (Error, Option<Instant>);

/// A call with options of its own; see [`Client::command`](crate::Client::command).
#[derive(Clone)]
pub struct Command<'c> {
    stack: &'c Stack,
    cmdid: CmdId,
    is_ordered: bool,
    is_idempotent: bool,
    timeout: Option<Duration>,
    /// What few calls have: it would make the future of every call larger.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Default)]
struct Extra {
    meta: BTreeMap<String, String>,
    /// The deadline, where it is before that of the time limit.
    until: Option<Instant>,
    key: Option<u64>,
}

impl<'c> Command<'c> {
    pub(crate) fn new(stack: &'c Stack, inherited: Option<&Inherited>, cmdid: CmdId) -> Self {
        let is_ordered = stack.config.ordered;
        let command = Self {
            stack,
            cmdid,
            is_ordered,
            is_idempotent: false,
            timeout: None,
            extra: None,
        };

        match inherited {
            None => command,
            Some(inherited) => command.inherit(inherited),
        }
    }

    /// For a request that is sent as it is, but for the trace that it inherits.
    pub(crate) fn of(
        stack: &'c Stack,
        inherited: Option<&Inherited>,
        request: &mut Request<'_>,
    ) -> Self {
        if let Some(trace) = inherited.and_then(|inherited| inherited.trace.as_ref())
            && request.meta.get(TRACEPARENT).is_none()
        {
            request.meta = trace.written_to(&request.meta);
        }

        let mut command = Self::new(stack, inherited, request.cmdid);
        command.timeout = request.timeout;
        command.is_ordered |= request.id.is_none();
        command.is_idempotent = request.scope.retry == RetryCategory::Idempotent;

        match request.scope.deadline {
            None => command,
            Some(deadline) => command.deadline(deadline),
        }
    }

    /// How long to wait for the result, from when the call's connection sees it: at once, unless the runtime's
    /// threads are busy with something else. The server is told, and stops when it is over.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When the result is of no use any more, should that be before the end of the time limit. Of several
    /// deadlines the earliest holds.
    #[must_use]
    pub fn deadline(mut self, deadline: std::time::Instant) -> Self {
        let extra = self.extra();
        let deadline = Instant::from_std(deadline);
        extra.until = Some(extra.until.map_or(deadline, |until| until.min(deadline)));
        self
    }

    /// Makes the call a part of another one, which a handler is at work on: it ends by that one's
    /// deadline, and passes its trace on. [`Client::within`](crate::Client::within) does so for many calls.
    #[must_use]
    pub fn within(self, parent: &impl Parent) -> Self {
        self.inherit(&Inherited::from(parent))
    }

    /// Says that the command may run twice without harm, so that it is tried again also where it may have
    /// run already, and hedged where [`Config::hedge_percentile`] is set.
    ///
    /// [`Config::hedge_percentile`]: crate::Config::hedge_percentile
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Gives the call a key, sent as the metadata `idempotency-key` and the same in all its tries, by
    /// which the service tells a repetition: it is [`idempotent`](Self::idempotent) by that.
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.meta(IDEMPOTENCY_KEY, key).idempotent()
    }

    /// Adds metadata.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.extra().meta.insert(key.into(), value.into());
        self
    }

    /// Sends the call to the endpoint that this key belongs to: the same one for every call with the key,
    /// from every client, as long as it is there. Where it is not connected or ejected, the next one of
    /// the key takes its place.
    ///
    /// Endpoints are told apart by their addresses as text. When one is added or removed, only the keys
    /// move that it gains or loses.
    #[must_use]
    pub fn hash_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.extra().key = Some(balance::hash(key.as_ref()));
        self
    }

    /// Sends the call without an id: such calls run one after another, in the order in which they
    /// were made.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.is_ordered = true;
        self
    }

    /// As [`Client::call`](crate::Client::call).
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    pub async fn call<P, T>(&self, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        if self.is_hedged() {
            let answer =
                self.one_and_more(|| self.request(params), self.deadline_from(Instant::now()));
            let (data, address) = Box::pin(answer).await?;
            return decode(data.as_ref(), &address);
        }

        let mut attempt = None;
        let failure = match self.begin_call(params, &mut attempt).await {
            Ok(attempt) => match poll_fn(|cx| attempt.poll_data(cx)).await {
                Ok(data) => return attempt.decode(data),
                Err(failure) => (failure, attempt.deadline()),
            },
            Err(failure) => failure,
        };

        let (data, address) = self
            .after_failure(|| self.request(params), self.is_idempotent(), failure)
            .await?;
        decode(data.as_ref(), &address)
    }

    /// As [`call`](Self::call), with the data as the server sent it; `None` for a reply without data.
    ///
    /// # Errors
    /// As [`Client::call`](crate::Client::call).
    pub async fn call_raw<P>(&self, params: &P) -> Result<Option<RawJson<'static>>, Error>
    where
        P: Serialize + ?Sized,
    {
        if self.is_hedged() {
            let answer =
                self.one_and_more(|| self.request(params), self.deadline_from(Instant::now()));
            return Box::pin(answer).await.map(|(data, _)| data);
        }

        let mut attempt = None;
        let failure = match self.begin_call(params, &mut attempt).await {
            Ok(attempt) => match (&mut *attempt).await {
                Ok(data) => return Ok(data),
                Err(failure) => (failure, attempt.deadline()),
            },
            Err(failure) => failure,
        };

        let answer = self
            .after_failure(|| self.request(params), self.is_idempotent(), failure)
            .await;
        answer.map(|(data, _)| data)
    }

    /// As [`Client::notify`](crate::Client::notify).
    ///
    /// # Errors
    /// As [`Client::notify`](crate::Client::notify).
    pub async fn notify<P>(&self, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        let mut request = self.request(params)?;
        request.oneway = true;
        request.timeout = None;
        self.put(request).await
    }

    /// As [`Client::stream`](crate::Client::stream); always multiplexed.
    ///
    /// # Errors
    /// As [`Client::stream`](crate::Client::stream).
    pub async fn stream<P, T>(
        &self,
        params: &P,
    ) -> Result<BoxStream<'static, Result<T, Error>>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        let items = self.begin_stream(self.request(params)?).await?;
        let address = Arc::clone(items.address());
        let typed = move |item: Result<RawJson<'static>, Error>| {
            item.and_then(|item| decode(Some(&item), &address))
        };
        Ok(items.map(typed).boxed())
    }

    pub(crate) async fn begin_stream(&self, mut request: Request<'static>) -> Result<Items, Error> {
        request.credit = Some(self.stack().config.stream_credit);
        let own = self.timeout.map(|timeout| after(Instant::now(), timeout));
        let deadline = [own, self.until()].into_iter().flatten().min();

        self.begin(&mut request, deadline, true, &[])
            .await
            .map(Attempt::into_items)
    }

    fn inherit(mut self, inherited: &Inherited) -> Self {
        if let Some(Trace { parent, state, .. }) = &inherited.trace
            && !self.extra().meta.contains_key(TRACEPARENT)
        {
            let meta = &mut self.extra().meta;
            meta.insert(TRACEPARENT.to_owned(), parent.to_string());
            meta.extend(state.clone().map(|state| (TRACESTATE.to_owned(), state)));
        }

        match inherited.deadline {
            None => self,
            Some(deadline) => self.deadline(deadline),
        }
    }

    pub(crate) fn stack(&self) -> &'c Stack {
        self.stack
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn wish<'a>(&self, avoid: &'a [Arc<str>]) -> Wish<'a> {
        Wish {
            key: self.extra.as_ref().and_then(|extra| extra.key),
            avoid,
        }
    }

    fn deadline_from(&self, now: Instant) -> Instant {
        let own = after(now, self.time_limit());
        self.until().map_or(own, |until| own.min(until))
    }

    fn until(&self) -> Option<Instant> {
        self.extra.as_ref().and_then(|extra| extra.until)
    }

    pub(crate) fn cmdid(&self) -> CmdId {
        self.cmdid
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    fn is_idempotent(&self) -> bool {
        self.is_idempotent
            || self
                .stack()
                .config
                .idempotent_cmdids
                .contains(&self.cmdid.number())
    }

    fn is_hedged(&self) -> bool {
        self.stack().hedging.is_some() && !self.is_ordered && self.is_idempotent()
    }

    fn time_limit(&self) -> Duration {
        self.timeout
            .unwrap_or_else(|| self.stack().config.call_timeout())
            .min(MAX_TIMEOUT)
    }

    fn request<P: Serialize + ?Sized>(&self, params: &P) -> Result<Request<'static>, Error> {
        Ok(self.request_of(self.raw(params)?))
    }

    fn raw<P: Serialize + ?Sized>(&self, params: &P) -> Result<RawJson<'static>, Error> {
        RawJson::serialize(params)
            .map_err(|error| Error::new(Kind::Params(Arc::new(error)), &self.stack().target, None))
    }

    fn request_of(&self, params: RawJson<'static>) -> Request<'static> {
        let mut request = Request::new(self.cmdid, params);
        if let Some(extra) = &self.extra {
            request.meta = Meta::from_entries(&extra.meta);
        }

        if self.is_ordered {
            // tornado-TCP's server wants one.
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            request.timestamp = i64::try_from(since.as_secs()).ok();
        }

        request
    }

    /// What is left to do when the first try has failed, which is nothing as a rule.
    async fn after_failure<F>(
        &self,
        make: F,
        is_idempotent: bool,
        (failure, deadline): Failed,
    ) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        if !self.may_retry(&failure, is_idempotent) {
            return Err(failure);
        }

        let deadline = deadline.unwrap_or_else(|| self.deadline_from(Instant::now()));
        Box::pin(self.try_again(make, is_idempotent, failure, deadline)).await
    }

    /// All tries of a call that may have a backup.
    async fn one_and_more<F>(&self, make: F, deadline: Instant) -> Result<Answer, Error>
    where
        F: Fn() -> Result<Request<'static>, Error>,
    {
        self.stack().budget.count_call();
        match self.one_try(&make, true, deadline, &[]).await {
            Err(failure) if self.may_retry(&failure, true) => {
                self.try_again(make, true, failure, deadline).await
            }
            result => result,
        }
    }

    /// Sends a request as it is, and again where that is allowed.
    pub(crate) async fn send(
        &self,
        mut request: Request<'static>,
    ) -> Result<Option<RawJson<'static>>, Error> {
        if self.is_hedged() {
            let answer =
                self.one_and_more(|| Ok(request.clone()), self.deadline_from(Instant::now()));
            return Box::pin(answer).await.map(|(data, _)| data);
        }

        let failure = match self.begin_request(&mut request).await {
            Ok(mut attempt) => match (&mut attempt).await {
                Ok(data) => return Ok(data),
                Err(failure) => (failure, attempt.deadline()),
            },
            Err(failure) => failure,
        };

        // Another server may keep no such keys, so a typed call with `dedup` counts as any other.
        let has_key = request.scope.retry != RetryCategory::Dedup
            && request.meta.get(IDEMPOTENCY_KEY).is_some();
        let is_idempotent = self.is_idempotent() || has_key;
        let answer = self
            .after_failure(|| Ok(request.clone()), is_idempotent, failure)
            .await;
        answer.map(|(data, _)| data)
    }

    /// Begins a call in `place`: at once where there is a connection that takes it, as a rule. What else
    /// there may be to do, and the request, are kept out of the call's future, of which there are as many
    /// as calls in flight; and what is begun is never moved, which would cost as much as to decode a reply.
    async fn begin_call<'a, P: Serialize + ?Sized>(
        &self,
        params: &P,
        place: &'a mut Option<Attempt>,
    ) -> Result<&'a mut Attempt, Failed> {
        let at_once = poll_fn(|cx| {
            let begin = |params| self.begin_with(params, cx.waker(), place);
            Poll::Ready(self.raw(params).map(begin))
        });
        if let Some(mut request) = at_once.await.map_err(|error| (error, None))? {
            *place = Some(Box::pin(self.begin_when_possible(&mut request)).await?);
        }

        Ok(place.as_mut().expect("it was filled above"))
    }

    /// As `begin_call`, with the request as it is.
    pub(crate) async fn begin_request(
        &self,
        request: &mut Request<'static>,
    ) -> Result<Attempt, Failed> {
        let mut attempt = None;
        poll_fn(|cx| {
            self.begin_request_at_once(request, cx.waker(), &mut attempt);
            Poll::Ready(())
        })
        .await;

        match attempt {
            Some(attempt) => Ok(attempt),
            None => Box::pin(self.begin_when_possible(request)).await,
        }
    }

    async fn begin_when_possible(&self, request: &mut Request<'static>) -> Result<Attempt, Failed> {
        let deadline = Some(self.deadline_from(Instant::now()));
        self.begin(request, deadline, false, &[])
            .await
            .map_err(|error| (error, deadline))
    }

    /// Fills `place`, which is empty, where there is a connection that takes the call; otherwise returns the
    /// call's request. Most calls need none: it would be built only to be written.
    fn begin_with(
        &self,
        params: RawJson<'static>,
        waker: &Waker,
        place: &mut Option<Attempt>,
    ) -> Option<Box<Request<'static>>> {
        let limit = self.time_limit();
        let is_usual = self.extra.is_none() && !self.is_ordered && !limit.is_zero();
        if is_usual {
            let begin = |connection: Arc<Connection>| {
                connection
                    .begin_usual(self.cmdid, limit, &params, waker)
                    .ok()
            };
            self.begin_at_once(begin, place);
            return place.is_none().then(|| Box::new(self.request_of(params)));
        }

        let mut request = Box::new(self.request_of(params));
        self.begin_request_at_once(&mut request, waker, place);
        place.is_none().then_some(request)
    }

    fn begin_request_at_once(
        &self,
        request: &mut Request<'static>,
        waker: &Waker,
        place: &mut Option<Attempt>,
    ) {
        let limit = self.time_limit();
        let (due, left) = if self.until().is_none() {
            (Due::In(limit), limit)
        } else {
            let now = Instant::now();
            let deadline = self.deadline_from(now);
            (Due::At(deadline), deadline.saturating_duration_since(now))
        };

        if !left.is_zero() {
            request.timeout = self.tells_timeout().then_some(left);
            let begin = |connection: Arc<Connection>| {
                connection
                    .begin(request, due, self.is_ordered, false, waker)
                    .ok()
            };
            self.begin_at_once(begin, place);
        }
    }

    fn begin_at_once(
        &self,
        begin: impl FnOnce(Arc<Connection>) -> Option<PendingCall>,
        place: &mut Option<Attempt>,
    ) {
        let stack = self.stack();
        stack.budget.count_call();

        // Where nothing is counted, there is less to carry about.
        if let Route::Sole(endpoint) = &stack.route {
            if let Some(pending) = endpoint.latest().and_then(begin) {
                *place = Some(Attempt::new(pending, None));
            }
        } else if let Some((connection, ticket)) =
            stack.route.at_once(self.wish(&[]), Instant::now())
            && let Some(pending) = begin(connection)
        {
            *place = Some(Attempt::new(pending, ticket));
        }
    }

    /// A server that knows no ids may not know `timeout_ms` either: it is told where the caller asks for it.
    fn tells_timeout(&self) -> bool {
        self.timeout.is_some() || !self.is_ordered
    }

    /// Begins the call on a connection that takes it, as soon as there is one. What is told to the
    /// server is the time that is left then.
    pub(crate) async fn begin(
        &self,
        request: &mut Request<'static>,
        deadline: Option<Instant>,
        is_stream: bool,
        avoid: &[Arc<str>],
    ) -> Result<Attempt, Error> {
        // A stream without an id could not be given credit, so it has one.
        let is_ordered = self.is_ordered && !is_stream;

        loop {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Error::new(
                    Kind::Deadline { was_sent: false },
                    &self.stack().target,
                    None,
                ));
            }

            let (connection, ticket) = self
                .stack()
                .route
                .connection(self.wish(avoid), deadline)
                .await?;
            let mut connection = Some(connection);

            request.timeout = deadline
                .filter(|_| self.tells_timeout())
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));

            let begun = poll_fn(|cx| {
                let connection = connection.take().expect("this is polled once");
                Poll::Ready(connection.begin(
                    request,
                    deadline.into(),
                    is_ordered,
                    is_stream,
                    cx.waker(),
                ))
            });
            match begun.await {
                Ok(pending) => return Ok(Attempt::new(pending, ticket)),
                Err((connection, refusal)) => {
                    self.wait(&connection, refusal, deadline, is_ordered)
                        .await?;
                }
            }
        }
    }

    /// Sends a request that nothing answers.
    pub(crate) async fn put(&self, mut request: Request<'static>) -> Result<(), Error> {
        let now = Instant::now();
        // The field is newer than the servers that want every call in order.
        request.oneway = !self.stack().config.ordered;

        if let Some((connection, _ticket)) = self.stack().route.at_once(self.wish(&[]), now)
            && connection.notify(&request, self.is_ordered).is_ok()
        {
            return Ok(());
        }

        Box::pin(self.put_when_possible(request, self.deadline_from(now))).await
    }

    async fn put_when_possible(
        &self,
        request: Request<'static>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let deadline = Some(deadline);
        loop {
            let (connection, _ticket) = self
                .stack()
                .route
                .connection(self.wish(&[]), deadline)
                .await?;

            match connection.notify(&request, self.is_ordered) {
                // Its connection is closed with it, and the caller is to know whether it left.
                Ok(()) if self.stack().config.mode == Mode::Short => {
                    // What has not left by then still may.
                    let late = |_| {
                        Error::new(
                            Kind::Deadline { was_sent: true },
                            &self.stack().target,
                            None,
                        )
                    };

                    return self
                        .in_time(connection.flush(), deadline)
                        .await
                        .map_err(late)?;
                }
                Ok(()) => return Ok(()),
                Err(refusal) => {
                    self.wait(&connection, refusal, deadline, self.is_ordered)
                        .await?;
                }
            }
        }
    }

    async fn wait(
        &self,
        connection: &Connection,
        refusal: Refusal,
        deadline: Option<Instant>,
        is_ordered: bool,
    ) -> Result<(), Error> {
        match refusal {
            // Another connection may take it.
            Refusal::Over => Ok(()),
            Refusal::Full => {
                self.in_time(connection.wait_for_room(is_ordered), deadline)
                    .await
            }
        }
    }

    async fn in_time<T>(
        &self,
        wait: impl Future<Output = T>,
        deadline: Option<Instant>,
    ) -> Result<T, Error> {
        let Some(deadline) = deadline else {
            return Ok(wait.await);
        };

        let late = |_| {
            Error::new(
                Kind::Deadline { was_sent: false },
                &self.stack().target,
                None,
            )
        };
        tokio::time::timeout_at(deadline, wait).await.map_err(late)
    }
}
