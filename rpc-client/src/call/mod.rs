//! Calls with options of their own, and their attempts, retries and backups.

mod context;
mod hedge;
mod keyed;
mod oneway;
mod options;
mod ready;
mod retry;
mod run;
mod start;
mod timed;

use std::sync::Arc;
use std::time::Duration;

use rpc_core::frame::TIMING;
use rpc_core::scope::{Parent, Series};
use rpc_core::trace::TRACEPARENT;
use rpc_core::typed::{IDEMPOTENCY_KEY, TypedRequest};
use rpc_core::{CmdId, LastTiming, Request, RetryCategory};
use tokio::time::Instant;

use crate::balance;
use crate::connection::CallKind;
use crate::time::Inherited;

#[allow(
    unreachable_pub,
    reason = "users do not name it: it makes the calls of a `Client`"
)]
pub use context::CallContext;
pub(crate) use hedge::Hedging;
use options::{Idempotency, Options};
pub(crate) use ready::cannot_work;
pub(crate) use retry::{Budget, FailedTry, RetryState};
pub(crate) use start::{Attempt, Items};
pub use timed::Timed;

/// A call with options of its own: of a [`Client`](crate::Client) as
/// [`Client::command`](crate::Client::command) makes it, of a [`ServiceClient`](crate::ServiceClient), or of a
/// [blocking client](crate::blocking::Client). `C` is what makes the call; the options are the same.
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(client: rpc_client::Client) -> Result<(), rpc_client::Error> {
/// let command = client
///     .command(1001)
///     .timeout(Duration::from_millis(200))
///     .idempotency_key("order 4211");
/// // As often as wanted: each of these is a call of its own.
/// let seq: u64 = command.call(&"params").await?;
/// # let _ = seq;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Command<'c, C = CallContext> {
    caller: &'c C,
    cmdid: CmdId,
    options: Options,
}

impl<'c, C> Command<'c, C> {
    /// Without options.
    pub(crate) fn by(caller: &'c C, cmdid: CmdId) -> Self {
        Self {
            caller,
            cmdid,
            options: Options::default(),
        }
    }

    /// How long to wait for the result: for a client's call, from when its connection sees it, which is at once,
    /// unless the runtime's threads are busy with something else. The server is told, and stops when it is over.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// When the result is of no use any more, should that be before the end of the time limit. Of several
    /// deadlines the earliest holds.
    pub fn deadline(mut self, deadline: std::time::Instant) -> Self {
        self.options.end_by(Instant::from_std(deadline));
        self
    }

    /// Makes the call a part of another one, which a handler is at work on: it ends by that one's
    /// deadline, and passes its trace on. [`Client::within`](crate::Client::within) does so for many calls.
    pub fn within(self, parent: &impl Parent) -> Self {
        self.inherit(&Inherited::from(parent))
    }

    /// Gives the call a key, sent as the metadata `idempotency-key` and the same in all its tries, by
    /// which a server recognises a repetition of a command with `dedup`.
    ///
    /// Before the first such call of a command over a connection, the client asks the server by `describe` for the
    /// store that keeps the keys, and waits for the answer for at most half of the call's time. Where the call
    /// may have run, it is sent again only to the same store, as a call of a typed client is. A command that its server
    /// describes as idempotent is sent again anywhere. Other commands ignore a key: their calls are sent again only
    /// where they did not run, and so are those of a server that does not describe the command.
    ///
    /// A service that reads the key itself, in its handler, makes its command one that may be sent again anywhere: say
    /// so with [`idempotent`](Self::idempotent) as well, and the server is not asked.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.meta(IDEMPOTENCY_KEY, key)
    }

    /// Says that the command has `dedup`: each call gets a key of its own, where
    /// [`idempotency_key`](Self::idempotency_key) gives none, and is sent again as one with a key. The methods of a typed client
    /// need no such option.
    pub fn dedup(mut self) -> Self {
        self.options.idempotency = Idempotency::ByKey;
        self
    }

    /// Says that the command may run twice without harm, so that it is tried again also where it may have
    /// run already, and hedged where [`hedge.percentile`](crate::config::Hedge::percentile) is set. A
    /// [`ServiceClient`](crate::ServiceClient) hands this on to the service inside.
    pub fn idempotent(mut self) -> Self {
        self.options.idempotency = Idempotency::Idempotent;
        self
    }

    /// Adds metadata. `idempotency-key` is the same as [`idempotency_key`](Self::idempotency_key).
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.add_meta(key.into(), value.into());
        self
    }

    /// Asks the server where the time of the call goes, which is told there when the call has ended, or the stream.
    /// [`timed`](Command::timed) is the same for one call, with the caller's own time.
    ///
    /// ```no_run
    /// use futures::StreamExt;
    /// use rpc_client::LastTiming;
    ///
    /// # async fn example(client: rpc_client::Client) -> Result<(), rpc_client::Error> {
    /// let timing = LastTiming::new();
    /// let mut items = client.command(1006).timing(&timing).stream::<_, u64>(&"params").await?;
    /// while let Some(item) = items.next().await {
    ///     println!("{}", item?);
    /// }
    /// println!("{:?}", timing.get());
    /// # Ok(())
    /// # }
    /// ```
    pub fn timing(mut self, timing: &LastTiming) -> Self {
        let series = Series::with_timing(timing.clone());
        self.options.be_one_of(Arc::new(series));
        self.meta(TIMING, "1")
    }

    /// Sends the call without an id: such calls run one after another, in the order in which they
    /// were made. Streams always have one.
    pub fn ordered(mut self) -> Self {
        self.options.kind = CallKind::Ordered;
        self
    }

    pub(crate) fn cmdid(&self) -> CmdId {
        self.cmdid
    }

    pub(crate) fn caller(&self) -> &'c C {
        self.caller
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The same call, made by another caller.
    pub(crate) fn made_by<O>(self, caller: &O) -> Command<'_, O> {
        Command {
            caller,
            cmdid: self.cmdid,
            options: self.options,
        }
    }

    fn inherit(mut self, inherited: &Inherited) -> Self {
        self.options.inherit(inherited);
        self
    }
}

/// What chooses an endpoint and a try for each call: a client, async or [blocking](crate::blocking::Client), and no
/// other service.
pub trait Connected {}

impl Connected for CallContext {}

impl<C: Connected> Command<'_, C> {
    /// Sends the call to the endpoint that this key belongs to: the same one for every call with the key,
    /// from every client, as long as it is there. Where it is not connected or ejected, the next one of
    /// the key takes its place.
    ///
    /// Endpoints are told apart by their addresses as text. When one is added or removed, only the keys
    /// move that it gains or loses.
    pub fn hash_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.options.belong_to(balance::hash(key.as_ref()));
        self
    }
}

impl<'c> Command<'c> {
    pub(crate) fn new(
        context: &'c CallContext,
        inherited: Option<&Inherited>,
        cmdid: CmdId,
    ) -> Self {
        let mut command = Self::by(context, cmdid);
        if context.config.pool.ordered {
            command.options.kind = CallKind::Ordered;
        }

        match inherited {
            None => command,
            Some(inherited) => command.inherit(inherited),
        }
    }

    /// For a call of a typed client that has no metadata.
    #[inline]
    pub(crate) fn of_typed(
        context: &'c CallContext,
        inherited: Option<&Inherited>,
        request: &TypedRequest<'_>,
    ) -> Self {
        let mut command = Self::new(context, inherited, request.cmdid());
        command.options.timeout = request.timeout();
        if request.retry() == RetryCategory::Idempotent {
            command.options.idempotency = Idempotency::Idempotent;
        }
        command
    }

    /// For a request that is sent as it is, but for the trace that it inherits.
    pub(crate) fn of(
        context: &'c CallContext,
        inherited: Option<&Inherited>,
        request: &mut Request<'_>,
    ) -> Self {
        if let Some(trace) = inherited.and_then(|inherited| inherited.trace.as_ref())
            && request.meta.get(TRACEPARENT).is_none()
        {
            request.meta = trace.written_to(&request.meta);
        }

        let mut command = Self::new(context, inherited, request.cmdid);
        command.options.timeout = request.timeout;
        command.options.idempotency = Idempotency::of(request);
        if request.id.is_none() {
            command.options.kind = CallKind::Ordered;
        }

        if let Some(series) = request.scope.series.take() {
            command.options.be_one_of(series);
        }

        match request.scope.deadline {
            None => command,
            Some(deadline) => command.deadline(deadline),
        }
    }
}

impl<C> Clone for Command<'_, C> {
    fn clone(&self) -> Self {
        Self {
            caller: self.caller,
            cmdid: self.cmdid,
            options: self.options.clone(),
        }
    }
}
