//! The one file of the client that moves bytes: a connection and the task that drives it.
//!
//! Callers write their frames into one shared buffer and wait in a slot; the driver writes what has
//! gathered, reads replies, and wakes the slots that they are for. Between them stands one mutex,
//! held for copies in memory only. Nothing is allocated, spawned or sent through a channel for a
//! call. Its twin is rpc-server's `connection`.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(all(test, shuttle)))]
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::Stream;
use rpc_core::codec::{LineDecoder, Step};
use rpc_core::frame::{
    FromServer, ReplyFrame, RequestEncoder, UnverifiedData, UsualReply, encode_cancel, encode_credit,
    encode_request,
};
use rpc_core::in_flight::{InFlight, OrderedReply};
use rpc_core::{CmdId, RawJson, Request, Status};
use serde::de::DeserializeOwned;
#[cfg(all(test, shuttle))]
use shuttle::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::config::Config;
use crate::deadline::after;
use crate::error::{Cause, Error, Kind};
use crate::events::{ConnectionEvent, Events};
use crate::liveness::{Liveness, Verdict, earliest};

#[cfg(all(test, shuttle))]
mod models;

/// What one read takes at most; a connection keeps one buffer of this size, and a larger one only
/// while a longer reply passes through.
const READ_BYTES: usize = 64 * 1024;
/// Room for the first reads: a connection for a few calls never needs more.
const READ_BYTES_MIN: usize = 4 * 1024;

/// How old a connection is when the system is asked to look after it, too: one that is opened for a few calls
/// is over by then, and need not pay for that.
pub(crate) const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What is asked of the system for a connection that lasts.
pub(crate) type Settle<IO> = fn(&IO, &Config);

/// How long a stream may take to end, once everything is written and nobody waits for anything.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Replies delivered before the callers that they woke get to run, and so frames in one write: a quarter of
/// the calls in flight, so that four such chunks are under way between the two sides, within these bounds.
const CHUNK_MIN: usize = 4;
const CHUNK_MAX: usize = 128;

/// From so many calls in flight on, half of them where callers and driver share one thread: two long chunks keep
/// both sides at work, and cost fewer system calls. On several threads they would leave some without work.
const CALLS_FOR_LONG_CHUNKS: usize = 96;
const LONG_CHUNK_MAX: usize = 256;

/// The ids of pings, in turn. They are the last ones of the slot table's last slots, which its calls never
/// come to; so an answer finds no call, and a full table does not keep a ping from being sent.
const PING_IDS: [u64; 2] = [rpc_core::frame::ID_MAX, rpc_core::frame::ID_MAX - 1];

/// One end of a connection, as callers hold it. Dropping the last handle lets the driver write what
/// is left and close.
pub(crate) struct Connection(Arc<Shared>);

struct Shared {
    address: Arc<str>,
    number: u64,
    config: Arc<Config>,
    events: Events,
    state: Mutex<State>,
    /// Tells callers that wait for room in the table or in the output.
    room: Notify,
}

struct State {
    /// Frames that the driver has not taken yet.
    output: Vec<u8>,
    encoder: RequestEncoder,
    /// Bytes that were ever put into `output`, and of those the ones that the system has taken.
    appended: u64,
    written: u64,
    /// Of those, the ones that the stream keeps in no buffer of its own.
    flushed: u64,
    /// Calls that were ever admitted.
    admitted: u64,
    calls: InFlight<Slot>,
    /// Callers that wait for `room`.
    waiting_for_room: usize,
    driver: Option<Waker>,
    /// When the driver looks for calls that are past their deadline.
    next_deadline: Option<Instant>,
    /// Calls whose time begins when the driver sees them, and how long they have.
    untimed: Vec<(u64, Duration)>,
    flushes: Vec<(u64, Waker)>,
    /// The server has said goaway: no new calls.
    is_leaving: bool,
    /// The last handle is gone.
    is_closing: bool,
    ended: Option<Cause>,
    /// Whether any call has had a reply.
    has_answered: bool,
    /// Whether any call had an id: the server of one that has none may know no ids.
    uses_ids: bool,
}

/// One call, from its first byte to its end.
#[derive(Default)]
struct Slot {
    progress: Progress,
    waker: Option<Waker>,
    deadline: Option<Instant>,
    /// Where its frame ends in the count of `State::appended`.
    frame_end: u64,
    is_ordered: bool,
    /// The items of a stream that its reader has not taken.
    items: VecDeque<RawJson<'static>>,
    is_stream: bool,
}

#[derive(Default)]
enum Progress {
    #[default]
    Waiting,
    Done(Result<Data, Failure>),
}

/// What a successful reply carries.
pub(crate) enum Data {
    Sound(Option<RawJson<'static>>),
    /// Of a line that was only glanced at: whoever types the data checks it.
    Unverified(UnverifiedData),
}

enum Failure {
    Status(Status),
    Nonsense(String),
    Lost { may_have_run: bool, cause: Cause },
    Expired,
}

/// What the driver reports at its end.
pub(crate) struct Loss {
    /// Why the connection ended.
    pub(crate) cause: Cause,
    /// Calls that it left behind without a reply.
    pub(crate) calls: usize,
    /// Whether any call was answered.
    pub(crate) has_answered: bool,
    /// Whether this side was done with it.
    pub(crate) is_wanted: bool,
    /// When the server wants to see the next connection, where it said so.
    pub(crate) retry_after: Option<Duration>,
}

/// When a call's time is up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    Never,
    At(Instant),
    /// Counted from when the driver sees the call, which is at once, and looks at the clock for many calls.
    In(Duration),
}

impl From<Option<Instant>> for Due {
    fn from(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Never, Self::At)
    }
}

/// Why a call could not begin.
pub(crate) enum Refusal {
    /// The connection takes no new calls; another one may.
    Over,
    /// Too much waits; [`Connection::wait_for_room`] says when to try again.
    Full,
}

impl Connection {
    /// Takes a byte stream into use and returns the handle and the driver, which somebody must run.
    pub(crate) fn new<IO>(
        io: IO,
        settle: Option<Settle<IO>>,
        address: Arc<str>,
        config: Arc<Config>,
        events: Events,
    ) -> (Arc<Self>, impl Future<Output = Loss> + Send + use<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let state = State {
            output: Vec::new(),
            encoder: RequestEncoder::default(),
            appended: 0,
            written: 0,
            flushed: 0,
            admitted: 0,
            calls: InFlight::new(config.in_flight_max),
            waiting_for_room: 0,
            driver: None,
            next_deadline: None,
            untimed: Vec::new(),
            flushes: Vec::new(),
            is_leaving: false,
            is_closing: false,
            ended: None,
            has_answered: false,
            uses_ids: false,
        };
        let shared = Arc::new(Shared {
            address,
            // Relaxed: only uniqueness matters.
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            config,
            events,
            state: Mutex::new(state),
            room: Notify::new(),
        });
        shared.tell_of_connecting();
        let mut driver = Driver::new(io, settle, Arc::clone(&shared));
        let run = async move {
            let ended = poll_fn(|cx| driver.poll(cx)).await;
            driver.finish(ended)
        };
        (Arc::new(Self(shared)), run)
    }

    /// Whether it takes new calls.
    pub(crate) fn is_usable(&self) -> bool {
        !self.0.lock().is_over()
    }

    /// Why it takes no calls.
    pub(crate) fn over(&self) -> Error {
        let ended = self.0.lock().ended.clone();
        self.0.error(Kind::NotSent(ended.unwrap_or_else(|| Cause::new("the server asked to go away"))))
    }

    /// Puts a call's frame into the output and takes a slot for its reply. `is_ordered` sends it
    /// without an id. `waker` is told of the reply, until the call is polled with another one.
    pub(crate) fn begin(
        self: Arc<Self>,
        request: &Request<'_>,
        due: Due,
        is_ordered: bool,
        is_stream: bool,
        waker: &Waker,
    ) -> Result<PendingCall, (Arc<Self>, Refusal)> {
        let config = &self.0.config;
        let opened = self.0.lock().open(config, due, is_ordered, is_stream, waker, |output, _, id| {
            encode_request(output, (!is_ordered).then_some(id), request);
        });
        match opened {
            Ok(id) => Ok(PendingCall::new(self, id)),
            Err(refusal) => Err((self, refusal)),
        }
    }

    /// As [`begin`](Self::begin), for what most calls are: with an id, a time limit and params, and nothing else.
    pub(crate) fn begin_usual(
        self: Arc<Self>,
        cmdid: CmdId,
        limit: Duration,
        params: &RawJson<'_>,
        waker: &Waker,
    ) -> Result<PendingCall, Refusal> {
        let config = &self.0.config;
        let opened =
            self.0.lock().open(config, Due::In(limit), false, false, waker, |output, encoder, id| {
                encoder.encode(output, id, cmdid, limit, params);
            });
        opened.map(|id| PendingCall::new(self, id))
    }

    /// Puts a oneway call's frame into the output. With an id of its own it runs beside other calls;
    /// without one it takes its turn in their order.
    pub(crate) fn notify(&self, request: &Request<'_>, is_ordered: bool) -> Result<(), Refusal> {
        let mut state = self.0.lock();
        state.admit(&self.0.config)?;
        let id = if is_ordered && !request.oneway {
            // A server that may not know `oneway` answers: its reply finds the place of a call given up.
            let Some((id, _)) = state.calls.open_ordered() else {
                return Err(Refusal::Full);
            };
            state.calls.close(id);
            None
        } else if is_ordered {
            None
        } else {
            let Some((id, _)) = state.calls.open() else {
                return Err(Refusal::Full);
            };
            state.uses_ids = true;
            // Nothing will answer it.
            state.calls.close(id);
            Some(id)
        };
        state.append(|output| encode_request(output, id, request));
        Ok(())
    }

    /// Resolves when there may be room again after [`Refusal::Full`].
    pub(crate) async fn wait_for_room(&self, is_ordered: bool) {
        let notified = self.0.room.notified();
        tokio::pin!(notified);
        // Registered before the second look, so that room made in between is not missed; and counted
        // under the same lock as that look, so that whoever makes room later tells.
        notified.as_mut().enable();
        {
            let mut state = self.0.lock();
            if state.is_over() || state.has_room(&self.0.config, is_ordered) {
                return;
            }
            state.waiting_for_room += 1;
        }
        notified.await;
    }

    /// Resolves when everything that was begun so far has been handed to the system.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let target = self.0.lock().appended;
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.flushed >= target {
                return Poll::Ready(Ok(()));
            }
            if let Some(cause) = &state.ended {
                return Poll::Ready(Err(self.0.error(Kind::NotSent(cause.clone()))));
            }
            state.flushes.retain(|(_, waker)| !waker.will_wake(cx.waker()));
            state.flushes.push((target, cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    fn end_of(&self, failure: Failure) -> Error {
        let kind = match failure {
            Failure::Status(status) => Kind::Status(status),
            Failure::Nonsense(message) => Kind::Data(Cause::new(message)),
            Failure::Lost { may_have_run: true, cause } => Kind::MayHaveRun(cause),
            Failure::Lost { may_have_run: false, cause } => Kind::NotSent(cause),
            // Even a frame that waits still leaves when the peer reads again.
            Failure::Expired => Kind::Deadline { was_sent: true },
        };
        self.0.error(kind)
    }

    /// Frees a call's slot. `is_given_up`: the server may still be at work, and is told.
    fn release(&self, state: &mut State, id: u64, is_given_up: bool) {
        let Some(slot) = state.calls.close(id) else { return };
        let is_ordered = slot.is_ordered;
        slot.progress = Progress::Waiting;
        slot.waker = None;
        slot.items.clear();
        if is_given_up && !is_ordered && state.ended.is_none() {
            state.append(|output| encode_cancel(output, id));
        }
        state.tell_of_room(&self.0.room);
        if state.is_leaving && state.calls.is_empty() {
            state.wake_driver();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closing = true;
        state.wake_driver();
    }
}

impl Shared {
    /// A panic while the lock was held cannot have left the table half changed in a way that harms:
    /// each change is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, &self.address, Some(self.number))
    }

    fn tell_of_connecting(&self) {
        let Self { address, number, .. } = self;
        tracing::debug!(%address, connection = number, "connected");
        let event = || ConnectionEvent::Connected { address: Arc::clone(address), connection: *number };
        self.events.tell(event);
    }

    fn tell_of_goaway(&self, message: &str) {
        let Self { address, number, .. } = self;
        tracing::info!(%address, connection = number, reason = %message, "goaway");
        self.events.tell(|| ConnectionEvent::Goaway {
            address: Arc::clone(address),
            connection: *number,
            message: Arc::from(message),
        });
    }

    fn tell_of_the_end(&self, cause: &Cause) {
        let Self { address, number, .. } = self;
        tracing::debug!(%address, connection = number, reason = %cause.message, "disconnected");
        self.events.tell(|| ConnectionEvent::Disconnected {
            address: Arc::clone(address),
            connection: *number,
            reason: Arc::from(&*cause.message),
        });
    }
}

impl State {
    fn admit(&mut self, config: &Config) -> Result<(), Refusal> {
        if self.is_over() {
            return Err(Refusal::Over);
        }
        if self.output.len() >= config.output_bytes_max {
            return Err(Refusal::Full);
        }
        self.admitted += 1;
        Ok(())
    }

    /// Whether it takes no new calls any more.
    fn is_over(&self) -> bool {
        self.ended.is_some() || self.is_leaving
    }

    /// Takes a slot, and lets `write` put the call's frame into the output.
    fn open(
        &mut self,
        config: &Config,
        due: Due,
        is_ordered: bool,
        is_stream: bool,
        waker: &Waker,
        write: impl FnOnce(&mut Vec<u8>, &mut RequestEncoder, u64),
    ) -> Result<u64, Refusal> {
        self.admit(config)?;
        let opened = if is_ordered { self.calls.open_ordered() } else { self.calls.open() };
        let Some((id, slot)) = opened else {
            return Err(Refusal::Full);
        };
        self.uses_ids |= !is_ordered;
        let before = self.output.len();
        write(&mut self.output, &mut self.encoder, id);
        self.appended += (self.output.len() - before) as u64;
        slot.progress = Progress::Waiting;
        slot.waker = Some(waker.clone());
        slot.deadline = None;
        slot.frame_end = self.appended;
        slot.is_ordered = is_ordered;
        slot.is_stream = is_stream;
        let is_news = match due {
            Due::Never => false,
            Due::In(limit) => {
                self.untimed.push((id, limit));
                self.untimed.len() == 1
            }
            Due::At(deadline) => {
                slot.deadline = Some(deadline);
                self.is_next(deadline)
            }
        };
        if before == 0 || is_news {
            self.wake_driver();
        }
        Ok(id)
    }

    /// Notes a deadline. True where it is before all others.
    fn is_next(&mut self, deadline: Instant) -> bool {
        let is_next = self.next_deadline.is_none_or(|next| deadline < next);
        if is_next {
            self.next_deadline = Some(deadline);
        }
        is_next
    }

    /// Begins the time of the calls that have come since the last look.
    fn begin_time(&mut self) {
        if self.untimed.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut untimed = mem::take(&mut self.untimed);
        let mut last = (Duration::ZERO, now);
        for (id, limit) in untimed.drain(..) {
            let Some(slot) = self.calls.get_mut(id) else { continue };
            // Most calls have the same limit.
            let is_new = limit != last.0;
            if is_new {
                last = (limit, after(now, limit));
            }
            slot.deadline = Some(last.1);
            if is_new {
                self.is_next(last.1);
            }
        }
        self.untimed = untimed;
    }

    /// Whether the server's silence says anything about it.
    fn is_watched(&self, config: &Config, appended_when_heard: u64) -> bool {
        let is_idle = || self.calls.is_empty() && self.appended == appended_when_heard;
        self.uses_ids && (config.ping_idle || !is_idle())
    }

    fn has_room(&self, config: &Config, is_ordered: bool) -> bool {
        self.output.len() < config.output_bytes_max && self.calls.has_room(is_ordered)
    }

    /// Whoever makes room calls this, under the lock.
    fn tell_of_room(&mut self, room: &Notify) {
        if self.waiting_for_room > 0 {
            self.waiting_for_room = 0;
            room.notify_waiters();
        }
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.output.len();
        write(&mut self.output);
        self.appended += (self.output.len() - before) as u64;
        if before == 0 {
            self.wake_driver();
        }
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

/// A call that has been begun: a future of its data. Dropping it gives the call up, and tells the
/// server.
pub(crate) struct PendingCall {
    connection: Arc<Connection>,
    id: u64,
    is_over: bool,
    /// Not polled since the slot got its waker.
    is_fresh: bool,
    /// Of one that has failed, where it had one.
    deadline: Option<Instant>,
}

impl PendingCall {
    fn new(connection: Arc<Connection>, id: u64) -> Self {
        Self { connection, id, is_over: false, is_fresh: true, deadline: None }
    }

    /// For a call that is not awaited where it was begun.
    pub(crate) fn polled_elsewhere(mut self) -> Self {
        self.is_fresh = false;
        self
    }

    /// Whether its connection still takes calls.
    pub(crate) fn is_usable(&self) -> bool {
        self.connection.is_usable()
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.connection.0.address
    }

    /// Until when it had time, where it has failed and had begun to count.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Decodes the data that it got.
    pub(crate) fn decode<T: DeserializeOwned>(&self, data: Data) -> Result<T, Error> {
        let data = match data {
            Data::Unverified(data) => match data.decode() {
                Ok(typed) => return Ok(typed),
                Err(_) => self.settle(data)?,
            },
            Data::Sound(data) => data,
        };
        decode(data.as_ref(), &self.connection.0.address)
    }

    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Data, Error>> {
        if mem::take(&mut self.is_fresh) {
            // The slot has this task's waker since it was taken, in this same poll.
            return Poll::Pending;
        }
        let Self { connection, id, is_over, deadline, .. } = self;
        let mut state = connection.0.lock();
        Self::poll_locked(connection, &mut state, *id, is_over, deadline, cx)
    }

    fn poll_locked(
        connection: &Connection,
        state: &mut State,
        id: u64,
        is_over: &mut bool,
        deadline: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Data, Error>> {
        let slot = state.calls.get_mut(id).expect("the slot is closed by this call alone");
        match mem::take(&mut slot.progress) {
            Progress::Waiting => {
                if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    slot.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Progress::Done(done) => {
                let is_given_up = matches!(done, Err(Failure::Expired | Failure::Nonsense(_)));
                let had_until = slot.deadline;
                let result = done.map_err(|failure| {
                    *deadline = had_until;
                    connection.end_of(failure)
                });
                connection.release(state, id, is_given_up);
                *is_over = true;
                Poll::Ready(result)
            }
        }
    }

    /// Looks at a line again that was only glanced at.
    fn settle(&self, data: UnverifiedData) -> Result<Option<RawJson<'static>>, Error> {
        let nonsense = |message: String| self.connection.end_of(Failure::Nonsense(message));
        let (data, more) = data.settle().map_err(|bad| nonsense(bad.message))?;
        if more {
            let mut state = self.connection.0.lock();
            if state.ended.is_none() {
                state.append(|output| encode_cancel(output, self.id));
            }
            return Err(nonsense(NO_STREAM_EXPECTED.into()));
        }
        Ok(data)
    }
}

const NO_STREAM_EXPECTED: &str = "the command answers with a stream; call it as one";

/// Decodes the data of a reply.
pub(crate) fn decode<T: DeserializeOwned>(
    data: Option<&RawJson<'_>>,
    address: &Arc<str>,
) -> Result<T, Error> {
    // A reply without data is `null`: a `()`, or a `None`.
    data.unwrap_or(&RawJson::NULL).decode().map_err(|error| {
        let cause = Cause::with_source(
            format!("the call ran, and its data is not what was asked for: {error}"),
            error,
        );
        Error::new(Kind::Data(cause), address, None)
    })
}

impl Future for PendingCall {
    type Output = Result<Option<RawJson<'static>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(self.poll_data(cx))? {
            Data::Sound(data) => Poll::Ready(Ok(data)),
            Data::Unverified(data) => Poll::Ready(self.settle(data)),
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.connection.0.lock();
            self.connection.release(&mut state, self.id, true);
        }
    }
}

/// The items of a streaming call. Dropping it gives the call up.
pub(crate) struct PendingStream {
    call: PendingCall,
    taken_since_credit: u64,
}

impl PendingStream {
    pub(crate) fn new(call: PendingCall) -> Self {
        Self { call, taken_since_credit: 0 }
    }
}

impl Stream for PendingStream {
    type Item = Result<RawJson<'static>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.call.is_over {
            return Poll::Ready(None);
        }
        let Self { call: PendingCall { connection, id, is_over, deadline, .. }, taken_since_credit } =
            &mut *self;
        let id = *id;
        let mut state = connection.0.lock();
        let slot = state.calls.get_mut(id).expect("the slot is closed by this call alone");
        if let Some(item) = slot.items.pop_front() {
            *taken_since_credit += 1;
            // Credit is given back by halves: few frames, and the server never runs dry.
            if *taken_since_credit * 2 >= connection.0.config.stream_credit {
                let items = mem::take(taken_since_credit);
                state.append(|output| encode_credit(output, id, items));
            }
            return Poll::Ready(Some(Ok(item)));
        }
        // Under the same lock: an item that came in between would wake nobody, or be lost with the end.
        let done = PendingCall::poll_locked(connection, &mut state, id, is_over, deadline, cx);
        // The last line of a stream carries no data; that of a unary command does, and is taken for
        // a stream of one item.
        let item = match ready!(done) {
            Ok(Data::Sound(item)) => item.map(Ok),
            Ok(Data::Unverified(_)) => unreachable!("the lines of a stream are read to their end"),
            Err(error) => Some(Err(error)),
        };
        Poll::Ready(item)
    }
}

/// What moves the bytes: owns the byte stream, and is run as a task.
struct Driver<IO> {
    io: IO,
    shared: Arc<Shared>,
    /// What is being written, and how far it is.
    writing: Vec<u8>,
    at: usize,
    lines: LineDecoder,
    /// What was read: `input[start..end]` is not delivered yet.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// How much one read should take: more once a read has filled what there was.
    room_wanted: usize,
    /// What the server last said without a call to say it to: why it closed, as a rule.
    farewell: Option<Status>,
    /// Why nothing can be written any more. What has been received is still delivered.
    write_error: Option<io::Error>,
    liveness: Liveness,
    /// What is still to be asked of the system, and when.
    settle: Option<(Settle<IO>, Instant)>,
    /// What had been sent when something was last known to be received.
    appended_when_heard: u64,
    pings: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// With `idle_timeout_ms`: when to look whether there was a call since the last look.
    idle_timer: Option<Pin<Box<Sleep>>>,
    admitted_at_last_look: u64,
    /// Since when it has been kept awake without anything to do.
    spinning_since: Option<std::time::Instant>,
    /// Whether something was written and may not have left yet.
    needs_flush: bool,
    /// Where the last ping ends in the count of `State::appended`.
    ping_end: u64,
    /// The time that a stream has to say goodbye, once there is nothing else to do.
    closing: Option<Pin<Box<Sleep>>>,
    woken: Vec<Waker>,
    /// Whether the runtime has but one thread.
    is_on_one_thread: bool,
}

/// How a connection ended, where it was not an error of the byte stream.
enum Ended {
    /// This side was done with it.
    Done,
    /// The server closed it.
    ByServer,
    /// The server's bytes make no sense.
    Nonsense(String),
    /// The server is not there any more.
    Dead(String),
}

impl<IO> Driver<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    fn new(io: IO, settle: Option<Settle<IO>>, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            io,
            writing: Vec::new(),
            at: 0,
            lines: LineDecoder::new(shared.config.reply_bytes_max),
            liveness: Liveness::new(&shared.config, now),
            settle: settle.map(|settle| (settle, now + SETTLED_AFTER)),
            appended_when_heard: 0,
            pings: 0,
            shared,
            input: Vec::new(),
            start: 0,
            end: 0,
            room_wanted: READ_BYTES_MIN,
            farewell: None,
            write_error: None,
            timer: None,
            idle_timer: None,
            admitted_at_last_look: 0,
            spinning_since: None,
            needs_flush: false,
            ping_end: 0,
            closing: None,
            woken: Vec::new(),
            is_on_one_thread: Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() == 1),
        }
    }

    /// One turn: write what has gathered, deliver what came. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ended>> {
        {
            let mut state = self.shared.lock();
            // Registered before anything is looked at, so that no caller's wake is lost.
            state.driver = Some(cx.waker().clone());
            state.begin_time();
        }
        loop {
            if self.poll_write(cx) {
                return self.poll_close(cx).map_ok(|()| Ended::Done);
            }
            self.watch_writing();
            match self.deliver() {
                Ok(true) => {
                    // However many replies come, no deadline waits for their end.
                    if let Poll::Ready(Err(dead)) = self.poll_timer(cx) {
                        return Poll::Ready(Ok(Ended::Dead(dead)));
                    }
                    // The callers that were woken come first: what they send leaves in one write.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(false) => {}
                Err(nonsense) => return Poll::Ready(Ok(Ended::Nonsense(nonsense))),
            }
            let read = self.poll_read(cx);
            if let Poll::Ready(read) = read {
                if read? == 0 {
                    return Poll::Ready(self.end_of_input());
                }
                continue;
            }
            if let Some(error) = self.write_error.take() {
                return Poll::Ready(Err(error));
            }
            match self.poll_timer(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(dead)) => return Poll::Ready(Ok(Ended::Dead(dead))),
                Poll::Pending if self.poll_idle(cx).is_ready() => {}
                Poll::Pending => {
                    self.spin(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ends the stream. One that still has to say goodbye, as TLS does, may have a peer that does not
    /// listen.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.io).poll_shutdown(cx) {
            return Poll::Ready(closed);
        }
        let limit = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        limit.as_mut().poll(cx).map(Ok)
    }

    /// Stays awake for a reply that is about to come, where the user wants that.
    fn spin(&mut self, cx: &mut Context<'_>) {
        let limit = self.shared.config.spin_us;
        if limit == 0 || self.shared.lock().calls.is_empty() {
            self.spinning_since = None;
            return;
        }
        // The real clock: one that is paused would never let it end.
        let since = *self.spinning_since.get_or_insert_with(std::time::Instant::now);
        if since.elapsed() < Duration::from_micros(limit) {
            // The runtime looks at its sockets, without sleeping, and comes back.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }

    /// Writes what callers have left, as far as the system takes it. True when there will never be
    /// more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.write_error.is_some() {
            return false;
        }
        match self.try_write(cx) {
            Ok(is_finished) => is_finished,
            Err(error) => {
                self.write_error = Some(error);
                false
            }
        }
    }

    fn try_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        loop {
            if self.at == self.writing.len() {
                self.writing.clear();
                self.at = 0;
                let mut state = self.shared.lock();
                if state.output.is_empty() {
                    let is_finished = state.is_closing || state.is_leaving && state.calls.is_empty();
                    drop(state);
                    return Ok(self.poll_flush(cx)?.is_ready() && is_finished);
                }
                mem::swap(&mut state.output, &mut self.writing);
                state.tell_of_room(&self.shared.room);
            }
            match Pin::new(&mut self.io).poll_write(cx, &self.writing[self.at..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.at += n;
                    self.needs_flush = true;
                    self.shared.lock().written += n as u64;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
    }

    /// A stream with a buffer of its own, as TLS has, keeps what it has taken until it is told.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
            let mut state = self.shared.lock();
            let flushed = state.written;
            state.flushed = flushed;
            state.flushes.retain(|(target, waker)| {
                let is_reached = *target <= flushed;
                if is_reached {
                    waker.wake_by_ref();
                }
                !is_reached
            });
        }
        Poll::Ready(Ok(()))
    }

    /// There is nothing more to read, and perhaps a reason for it that writing was told already: the
    /// system tells each error once. Where the server closed the connection, writing says no more than that.
    fn end_of_input(&mut self) -> io::Result<Ended> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match self.write_error.take() {
            Some(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset) => Err(error),
            _ => Ok(Ended::ByServer),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 && self.input.len() > READ_BYTES {
            self.input = Vec::new();
        }
        if self.input.len() - self.end < self.room_wanted / 2 {
            self.input.resize(self.end + self.room_wanted, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.liveness.has_received();
        self.end += read;
        self.spinning_since = None;
        if self.end == self.input.len() {
            self.room_wanted = READ_BYTES;
        }
        Poll::Ready(Ok(read))
    }

    /// Hands one chunk of replies to their callers. True where any was handed over.
    fn deliver(&mut self) -> Result<bool, String> {
        let mut delivered = 0;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let chunk = match state.calls.len() {
            many if self.is_on_one_thread && many >= CALLS_FOR_LONG_CHUNKS => (many / 2).min(LONG_CHUNK_MAX),
            some => (some / 4).clamp(CHUNK_MIN, CHUNK_MAX),
        };
        let outcome = loop {
            if delivered >= chunk {
                break Ok(());
            }
            match self.lines.step(&self.input[self.start..self.end]) {
                Step::Line { line, consumed } => {
                    self.start += consumed;
                    if line.is_empty() {
                        continue;
                    }
                    delivered += 1;
                    if state.take_usual_line(line, &mut self.woken) {
                        continue;
                    }
                    let line = FromServer::decode(line);
                    if let Err(nonsense) = state.take_line(line, &shared, &mut self.woken, &mut self.farewell)
                    {
                        break Err(nonsense);
                    }
                }
                Step::TooLong { .. } => {
                    let limit = shared.config.reply_bytes_max;
                    break Err(format!("a reply is longer than `reply_bytes_max` of {limit} bytes"));
                }
                Step::Partial { .. } => break Ok(()),
            }
        };
        if delivered > 0 {
            // A reply may have taken a tombstone away, or been a goaway.
            state.tell_of_room(&shared.room);
        }
        drop(state);
        for waker in self.woken.drain(..) {
            waker.wake();
        }
        outcome.map(|()| delivered > 0)
    }

    /// Tells the judge of the peer whether it takes what is sent.
    fn watch_writing(&mut self) {
        if self.at == self.writing.len() && !self.needs_flush {
            self.liveness.is_not_stalled();
        } else {
            let written = self.shared.lock().written;
            self.liveness.is_stalled(written);
        }
    }

    /// Sleeps until a call's deadline or the next look at whether the server is still there. Ready where
    /// the time of either had come; the error says why the connection is dead.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let (deadline, is_watched) = {
            let state = self.shared.lock();
            (state.next_deadline, state.is_watched(&self.shared.config, self.appended_when_heard))
        };
        let settle_at = self.settle.map(|(_, at)| at);
        let next = earliest(settle_at, earliest(deadline, self.liveness.next_look(is_watched)));
        let Some(next) = next else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }
        if let Some((settle, _)) = self.settle.take_if(|(_, at)| *at <= now) {
            settle(&self.io, &self.shared.config);
        }
        Poll::Ready(self.look(now, is_watched))
    }

    /// Ends the calls that are past their deadline.
    fn expire(&mut self, now: Instant) {
        let mut state = self.shared.lock();
        let mut earliest: Option<Instant> = None;
        for (_, slot) in state.calls.iter_mut() {
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    if matches!(slot.progress, Progress::Waiting) {
                        slot.progress = Progress::Done(Err(Failure::Expired));
                        self.woken.extend(slot.waker.take());
                    }
                }
                Some(deadline) => {
                    earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                }
                None => {}
            }
        }
        state.next_deadline = earliest;
        drop(state);
        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }

    /// Looks whether the server is still there, and asks it where it is silent.
    fn look(&mut self, now: Instant, is_watched: bool) -> Result<(), String> {
        if self.shared.config.write_stall_timeout_ms > 0 && self.shared.lock().written < self.ping_end {
            self.liveness.ping_waits(now);
        }
        match self.liveness.look(now, is_watched) {
            Verdict::Dead(why) => return Err(why),
            Verdict::Ping => {
                let id = PING_IDS[self.pings % PING_IDS.len()];
                self.pings = self.pings.wrapping_add(1);
                let ping = Request::new(CmdId::PING, RawJson::NULL);
                let mut state = self.shared.lock();
                state.append(|output| encode_request(output, Some(id), &ping));
                self.ping_end = state.appended;
            }
            Verdict::Heard => self.appended_when_heard = self.shared.lock().appended,
            Verdict::Fine => {}
        }
        Ok(())
    }
}

impl<IO> Driver<IO> {
    /// Where there was no call since the last look and none is in flight, takes no more calls, so that
    /// the connection ends: a call that comes at this moment opens another one. Ready where it looked.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.shared.config.idle_timeout();
        if limit.is_zero() {
            return Poll::Pending;
        }
        let timer = self.idle_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + limit);
        let mut state = self.shared.lock();
        if state.calls.is_empty() && state.admitted == self.admitted_at_last_look {
            state.is_leaving = true;
        }
        self.admitted_at_last_look = state.admitted;
        Poll::Ready(())
    }

    fn finish(&mut self, ended: io::Result<Ended>) -> Loss {
        let farewell = self.farewell.take();
        let because = farewell.as_ref().map(|status| format!(" after saying: {status}")).unwrap_or_default();
        // A server that refuses this client's certificate, and then runs nothing of it.
        let was_rejected = matches!(&ended, Err(error) if error.kind() == io::ErrorKind::PermissionDenied && error.get_ref().is_some());
        let is_wanted = matches!(ended, Ok(Ended::Done));
        let cause = match ended {
            Ok(Ended::Done) => Cause::new("the connection was closed by this side"),
            // An alert of TLS, which no reply begins like (RFC 8446 section 5.1).
            Ok(Ended::ByServer) if self.input[self.start..self.end].starts_with(&[0x15, 0x03]) => {
                Cause::new("the server speaks TLS on this port, and this client does not")
            }
            Ok(Ended::ByServer) => Cause::new(format!("the server closed the connection{because}")),
            Ok(Ended::Nonsense(what) | Ended::Dead(what)) => {
                Cause::new(format!("the connection was given up: {what}"))
            }
            Err(error) => Cause::with_source(format!("the connection was lost{because}: {error}"), error),
        };
        let retry_after = farewell.as_ref().and_then(Status::retry_after);
        let calls = self.end_all(&cause, was_rejected || farewell.is_some_and(|status| status.is_rejected()));
        let has_answered = self.shared.lock().has_answered;
        Loss { cause, calls, has_answered, is_wanted, retry_after }
    }

    /// The one way out for calls that the connection leaves behind. Returns how many there were.
    fn end_all(&mut self, cause: &Cause, was_rejected: bool) -> usize {
        let mut woken = Vec::new();
        let mut state = self.shared.lock();
        if state.ended.is_some() {
            return 0;
        }
        let mut calls = 0;
        state.ended = Some(cause.clone());
        self.shared.tell_of_the_end(cause);
        let written = state.written;
        // A server that turns the connection away has run none of its calls; one that has answered some
        // may have meant another one.
        let was_rejected = was_rejected && !state.has_answered;
        for (_, slot) in state.calls.iter_mut() {
            if matches!(slot.progress, Progress::Waiting) {
                calls += 1;
                // A frame that did not leave whole was not executed, whatever it looked like.
                let may_have_run = slot.frame_end <= written && !was_rejected;
                slot.progress = Progress::Done(Err(Failure::Lost { may_have_run, cause: cause.clone() }));
                woken.extend(slot.waker.take());
            }
        }
        woken.extend(state.flushes.drain(..).map(|(_, waker)| waker));
        drop(state);
        self.shared.room.notify_waiters();
        for waker in woken {
            waker.wake();
        }
        calls
    }
}

impl<IO> Drop for Driver<IO> {
    /// The task was dropped before its end: its runtime is gone, or somebody stopped it.
    fn drop(&mut self) {
        self.end_all(&Cause::new("the task that drove the connection was stopped"), false);
    }
}

impl State {
    /// Gives the usual success to a call that waits for one. False where the line is not that.
    fn take_usual_line(&mut self, line: &[u8], woken: &mut Vec<Waker>) -> bool {
        let Some(reply) = UsualReply::read(line) else { return false };
        match self.calls.get_mut(reply.id()) {
            Some(slot) if !slot.is_stream => {
                slot.finish(Ok(Data::Unverified(reply.data())), woken);
                self.has_answered = true;
                true
            }
            _ => false,
        }
    }

    /// Gives one line to the call that it is for. An error ends the connection.
    fn take_line(
        &mut self,
        line: Result<FromServer<'_>, rpc_core::frame::BadReply>,
        shared: &Shared,
        woken: &mut Vec<Waker>,
        farewell: &mut Option<Status>,
    ) -> Result<(), String> {
        let reply = match line {
            Ok(FromServer::Reply(reply)) => reply,
            Ok(FromServer::Notice { event, message }) => {
                if event == "goaway" {
                    shared.tell_of_goaway(&message);
                    self.is_leaving = true;
                } else {
                    tracing::debug!(address = %shared.address, %event, "a notice that this version does not know");
                }
                return Ok(());
            }
            Err(bad) => {
                // It fails the call that it names, where it names one, and otherwise the connection:
                // nobody knows whom it was for.
                let slot = bad.id.and_then(|id| self.calls.get_mut(id));
                return match slot {
                    Some(slot) => {
                        slot.finish(Err(Failure::Nonsense(bad.message)), woken);
                        Ok(())
                    }
                    None if bad.id.is_some() => Ok(()),
                    None => Err(bad.message),
                };
            }
        };
        let id = match reply.id {
            Some(id) => id,
            None => match if reply.more { self.calls.peek_ordered() } else { self.calls.next_ordered() } {
                OrderedReply::For(id) => id,
                OrderedReply::GivenUp => return Ok(()),
                OrderedReply::Unexpected => {
                    let status = reply.status();
                    tracing::debug!(address = %shared.address, connection = shared.number, %status, "a reply to no call");
                    *farewell = Some(status);
                    return Ok(());
                }
            },
        };
        self.has_answered = true;
        if let Some(slot) = self.calls.get_mut(id) {
            slot.take_reply(&reply, shared.config.stream_credit, woken);
        } else {
            // Its caller has gone.
            tracing::trace!(address = %shared.address, id, "a late reply");
        }
        Ok(())
    }
}

impl Slot {
    fn take_reply(&mut self, reply: &ReplyFrame<'_>, credit: u64, woken: &mut Vec<Waker>) {
        let data = reply.data.clone().map(RawJson::into_owned);
        if !reply.code.is_ok() {
            self.finish(Err(Failure::Status(reply.status())), woken);
        } else if !reply.more {
            self.finish(Ok(Data::Sound(data)), woken);
        } else if self.is_stream && self.items.len() as u64 > credit {
            self.finish(
                Err(Failure::Nonsense("the stream sent more items than it had `credit` for".into())),
                woken,
            );
        } else if self.is_stream {
            self.items.extend(data);
            woken.extend(self.waker.take());
        } else {
            self.finish(Err(Failure::Nonsense(NO_STREAM_EXPECTED.into())), woken);
        }
    }

    fn finish(&mut self, done: Result<Data, Failure>, woken: &mut Vec<Waker>) {
        if matches!(self.progress, Progress::Waiting) {
            self.progress = Progress::Done(done);
            woken.extend(self.waker.take());
        }
    }
}
