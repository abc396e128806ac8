//! A call with options of its own, and what becomes of it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::BoxStream;
use rpc_core::{CmdId, Meta, RawJson, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::attempt::{Attempt, Items};
use crate::balance::Wish;
use crate::client::{Client, Stack};
use crate::config::Mode;
use crate::connection::{Connection, Refusal, decode};
use crate::error::{Error, Kind};
use crate::group;

/// A call with options of its own; see [`Client::command`].
#[derive(Clone)]
pub struct Command<'c> {
    client: &'c Client,
    cmdid: CmdId,
    is_ordered: bool,
    timeout: Option<Duration>,
    /// What few calls have: it would make the future of every call larger.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Default)]
struct Extra {
    meta: BTreeMap<String, String>,
    key: Option<u64>,
}

impl<'c> Command<'c> {
    pub(crate) fn new(client: &'c Client, cmdid: CmdId) -> Self {
        let is_ordered = client.stack().config.ordered;
        Self { client, cmdid, is_ordered, timeout: None, extra: None }
    }

    /// For a request that is sent as it is.
    pub(crate) fn of(client: &'c Client, request: &Request<'_>) -> Self {
        let mut command = Self::new(client, request.cmdid);
        command.timeout = request.timeout;
        command.is_ordered |= request.id.is_none();
        command
    }

    /// How long to wait for the result, from the moment of the call. The server is told, and stops
    /// when it is over.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
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
        self.extra().key = Some(group::hash(key.as_ref()));
        self
    }

    /// Sends the call without an id: such calls run one after another, in the order in which they
    /// were made.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.is_ordered = true;
        self
    }

    /// As [`Client::call`].
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call<P, T>(&self, params: &P) -> Result<T, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let mut attempt = self.begin_call(params).await?;
        let data = poll_fn(|cx| attempt.poll_data(cx)).await?;
        attempt.decode(data)
    }

    /// As [`call`](Self::call), with the data as the server sent it; `None` for a reply without data.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_raw<P>(&self, params: &P) -> Result<Option<RawJson<'static>>, Error>
    where
        P: Serialize + ?Sized,
    {
        self.begin_call(params).await?.await
    }

    /// As [`Client::notify`].
    ///
    /// # Errors
    /// As [`Client::notify`].
    pub async fn notify<P>(&self, params: &P) -> Result<(), Error>
    where
        P: Serialize + ?Sized,
    {
        let mut request = self.request(params)?;
        request.oneway = true;
        request.timeout = None;
        self.put(request).await
    }

    /// As [`Client::stream`]; always multiplexed.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub async fn stream<P, T>(&self, params: &P) -> Result<BoxStream<'static, Result<T, Error>>, Error>
    where
        P: Serialize + ?Sized,
        T: DeserializeOwned + Send + 'static,
    {
        let items = self.begin_stream(self.request(params)?).await?;
        let address = Arc::clone(items.address());
        let typed =
            move |item: Result<RawJson<'static>, Error>| item.and_then(|item| decode(Some(&item), &address));
        Ok(items.map(typed).boxed())
    }

    pub(crate) async fn begin_stream(&self, mut request: Request<'static>) -> Result<Items, Error> {
        request.credit = Some(self.stack().config.stream_credit);
        let deadline = self.timeout.map(|timeout| after(Instant::now(), timeout));
        self.begin(request, deadline, true, &[]).await.map(Attempt::into_items)
    }

    fn stack(&self) -> &'c Stack {
        self.client.stack()
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn wish<'a>(&self, avoid: &'a [Arc<str>]) -> Wish<'a> {
        Wish { key: self.extra.as_ref().and_then(|extra| extra.key), avoid }
    }

    pub(crate) fn deadline(&self, now: Instant) -> Instant {
        after(now, self.time_limit())
    }

    fn time_limit(&self) -> Duration {
        self.timeout.unwrap_or_else(|| self.stack().config.call_timeout())
    }

    fn request<P: Serialize + ?Sized>(&self, params: &P) -> Result<Request<'static>, Error> {
        let params = RawJson::serialize(params)
            .map_err(|error| Error::new(Kind::Params(Arc::new(error)), &self.stack().target, None))?;
        let mut request = Request::new(self.cmdid, params);
        if let Some(extra) = &self.extra {
            request.meta = Meta::from_entries(&extra.meta);
        }
        if self.is_ordered {
            // tornado-TCP's server wants one.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            request.timestamp = i64::try_from(since.as_secs()).ok();
        }
        Ok(request)
    }

    /// Begins a call: at once where there is a connection that takes it, as a rule. What else there may
    /// be to do is kept out of the call's future, of which there are as many as calls in flight.
    async fn begin_call<P: Serialize + ?Sized>(&self, params: &P) -> Result<Attempt, Error> {
        let now = Instant::now();
        self.begin_with(|| self.request(params), now, self.deadline(now)).await
    }

    /// `make` is called once, where the request does not become a part of the future.
    pub(crate) async fn begin_with<F>(
        &self,
        make: F,
        now: Instant,
        deadline: Instant,
    ) -> Result<Attempt, Error>
    where
        F: FnOnce() -> Result<Request<'static>, Error>,
    {
        let mut make = Some(make);
        let at_once = poll_fn(|cx| {
            let make = make.take().expect("this is polled once");
            Poll::Ready(make().map(|request| self.begin_at_once(request, now, deadline, cx.waker())))
        });
        match at_once.await? {
            Ok(attempt) => Ok(attempt),
            Err(request) => Box::pin(self.begin(*request, Some(deadline), false, &[])).await,
        }
    }

    /// The request, where it could not be sent at once.
    fn begin_at_once(
        &self,
        mut request: Request<'static>,
        now: Instant,
        deadline: Instant,
        waker: &Waker,
    ) -> Result<Attempt, Box<Request<'static>>> {
        if let Some((connection, ticket)) = self.stack().route.at_once(self.wish(&[]), now) {
            request.timeout = self.tells_timeout().then(|| self.time_limit());
            if let Ok(pending) = connection.begin(&request, Some(deadline), self.is_ordered, false, waker) {
                return Ok(Attempt::new(pending, ticket));
            }
        }
        Err(Box::new(request))
    }

    /// A server that knows no ids may not know `timeout_ms` either: it is told where the caller asks for it.
    fn tells_timeout(&self) -> bool {
        self.timeout.is_some() || !self.is_ordered
    }

    /// Begins the call on a connection that takes it, as soon as there is one. What is told to the
    /// server is the time that is left then.
    pub(crate) async fn begin(
        &self,
        mut request: Request<'static>,
        deadline: Option<Instant>,
        is_stream: bool,
        avoid: &[Arc<str>],
    ) -> Result<Attempt, Error> {
        // A stream without an id could not be given credit, so it has one.
        let is_ordered = self.is_ordered && !is_stream;
        loop {
            let (connection, ticket) = self.stack().route.connection(self.wish(avoid), deadline).await?;
            let mut connection = Some(connection);
            request.timeout = deadline
                .filter(|_| self.tells_timeout())
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let begun = poll_fn(|cx| {
                let connection = connection.take().expect("this is polled once");
                Poll::Ready(connection.begin(&request, deadline, is_ordered, is_stream, cx.waker()))
            });
            match begun.await {
                Ok(pending) => return Ok(Attempt::new(pending, ticket)),
                Err((connection, refusal)) => self.wait(&connection, refusal, deadline, is_ordered).await?,
            }
        }
    }

    /// Sends a request that nothing answers.
    pub(crate) async fn put(&self, request: Request<'static>) -> Result<(), Error> {
        let now = Instant::now();
        if let Some((connection, _ticket)) = self.stack().route.at_once(self.wish(&[]), now)
            && connection.notify(&request, self.is_ordered).is_ok()
        {
            return Ok(());
        }
        Box::pin(self.put_when_possible(request, self.deadline(now))).await
    }

    async fn put_when_possible(&self, request: Request<'static>, deadline: Instant) -> Result<(), Error> {
        let deadline = Some(deadline);
        loop {
            let (connection, _ticket) = self.stack().route.connection(self.wish(&[]), deadline).await?;
            match connection.notify(&request, self.is_ordered) {
                // Its connection is closed with it, and the caller is to know whether it left.
                Ok(()) if self.stack().config.mode == Mode::Short => {
                    return self.in_time(connection.flush(), deadline).await?;
                }
                Ok(()) => return Ok(()),
                Err(refusal) => self.wait(&connection, refusal, deadline, self.is_ordered).await?,
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
            Refusal::Full => self.in_time(connection.wait_for_room(is_ordered), deadline).await,
        }
    }

    async fn in_time<T>(&self, wait: impl Future<Output = T>, deadline: Option<Instant>) -> Result<T, Error> {
        let Some(deadline) = deadline else {
            return Ok(wait.await);
        };
        let late = |_| Error::new(Kind::Deadline { was_sent: false }, &self.stack().target, None);
        tokio::time::timeout_at(deadline, wait).await.map_err(late)
    }
}

/// The instant after this time; a time that no clock counts means as good as never.
fn after(now: Instant, time: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.checked_add(time).unwrap_or_else(|| now + THIRTY_YEARS)
}
