//! The one file of the server that moves bytes: a connection from its first byte to its last.
//!
//! A connection is one task and one state machine. Each turn ends calls that are done, reads what
//! the socket has, starts a call for each whole line, and writes what has gathered; nothing in it
//! waits for one of these while another could go on. A handler is polled once in place, and only
//! one that is not ready is parked. Its twin is rpc-client's `connection`.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, Abortable};
use futures::stream::{FuturesUnordered, SelectAll};
use rpc_core::codec::{LineDecoder, Step};
use rpc_core::frame::{
    BadFrame, BadFrameKind, Body, UsualRequest, encode_failure, encode_item, encode_notice, encode_reply,
    id_of_part,
};
use rpc_core::scope::{LazyCancellation, Scope};
use rpc_core::{CmdId, Code, Outcome, Peer, Reply, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::builtin;
use crate::call::{Call, Credit, Place, StreamCall, StreamStep, Terms, check_length};
use crate::metrics::{ConnectionStats, Metrics, add, subtract};
use crate::scratch;
use crate::server::Shared;
use crate::strangers;

/// Frames that are executed before their replies are written: a quarter of those that were read,
/// within these bounds. So the peer works on the first replies while this side works on the next
/// requests, instead of each waiting for the other's whole window.
const FRAMES_PER_WRITE: RangeInclusive<usize> = 16..=128;

/// Output that waits before streams pause. Well below `output_bytes_soft_max`, at which reading stops:
/// a stream that could fill the output to there would keep the server from reading its cancel.
const STREAM_OUTPUT_BYTES: usize = 64 * 1024;

/// Turns of one connection before the other tasks of its thread have theirs. A TCP stream yields by
/// itself; a stream of the user's may not.
const TURNS_PER_POLL: usize = 32;

/// What a draining server says with `goaway`.
const SHUTTING_DOWN: &str = "the server is shutting down; open the next connection elsewhere";

/// What it says with `goaway` to a connection that is past its age or its number of requests.
const SERVED_LONG_ENOUGH: &str = "this connection has served long enough; open the next one elsewhere";

/// Runs a connection to its end. `drain` asks it to finish, `abort` cuts it.
pub(crate) fn run<IO>(
    io: IO,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    drain: CancellationToken,
    abort: CancellationToken,
) -> impl Future<Output = ()> + Send + use<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut connection = Connection::new(io, peer, shared, drain);
    let mut abort = Box::pin(abort.cancelled_owned());
    // No `async`: that would hold the connection twice.
    poll_fn(move |cx| {
        if abort.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let ended = ready!(connection.poll(cx));
        let Connection { peer, stats, .. } = &connection;
        let error = ended.err().map(tracing::field::display);
        tracing::debug!(%peer, connection = peer.connection, requests = stats.requests, error, "connection closed");
        Poll::Ready(())
    })
}

struct Connection<IO> {
    io: IO,
    peer: Arc<Peer>,
    shared: Arc<Shared>,

    lines: LineDecoder,
    /// What was read and not executed: a part of a line, or whole lines that wait for room.
    input: Vec<u8>,
    /// What the whole line at the front of `input` waits for; without one, `input` is a part of a line.
    lines_wait_for: Option<Room>,
    /// When the line under way has taken too long.
    line_deadline: Option<Instant>,
    /// Whether a good line has come: before it, one bad line ends the connection.
    has_spoken: bool,
    has_used_id: bool,
    bad_in_a_row: u32,

    output: Vec<u8>,
    /// How much of `output` has been written.
    written: usize,
    /// Whether something was written and may not have left yet.
    needs_flush: bool,
    stall_deadline: Option<Instant>,

    /// The calls that were not ready at once. Most connections never have any.
    parked: Option<Box<Parked>>,
    ordered: VecDeque<Ordered>,
    /// The params of the calls in `ordered`.
    ordered_bytes: usize,
    ordered_runs: bool,

    phase: Phase,
    /// Whether the peer has ended its side of the stream.
    has_peer_ended: bool,
    /// The phase's own time limit.
    phase_deadline: Option<Instant>,
    /// When the connection has to go a step further on its way out, whatever goes on in it.
    retire_deadline: Option<Instant>,
    drain: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when it has been kept awake without anything to do.
    spinning_since: Option<std::time::Instant>,
    stats: ConnectionStats,
    unpublished: Unpublished,
}

/// Calls that are not over.
#[derive(Default)]
struct Parked {
    calls: FuturesUnordered<Abortable<Call>>,
    streams: SelectAll<Abortable<StreamCall>>,
    /// Those with an id.
    ids: HashMap<u64, Handle>,
}

impl Parked {
    fn len(&self) -> usize {
        self.calls.len() + self.streams.len()
    }
}

/// Counts of this connection that the server's do not have yet: all connections share those, so they
/// are added to once a turn, and before anybody looks.
#[derive(Default)]
struct Unpublished {
    requests: u64,
    successes: u64,
}

impl Unpublished {
    fn publish(&mut self, metrics: &Metrics) {
        let Self { requests, successes } = mem::take(self);
        if requests > 0 {
            add(&metrics.requests, requests);
        }
        if successes > 0 {
            metrics.count_replies(Code::OK, successes);
        }
    }
}

/// How to reach a call by its id.
struct Handle {
    abort: AbortHandle,
    credit: Option<Arc<Credit>>,
}

/// What stands in the order of the calls without id.
enum Ordered {
    /// A call that waits for its turn, and when it was received.
    Call(Request<'static>, Instant),
    /// A line that is ready, a verdict on a bad frame for example.
    Line(Vec<u8>),
}

/// What a line may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Waiting replies below the soft limit.
    InOutput,
    /// That, and a place among the calls in flight.
    ForACall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Reading requests.
    Open,
    /// The connection has served long enough, and has said so: requests that still come are answered.
    Retiring,
    /// The server drains: requests that still come are rejected.
    Draining,
    /// No more requests: the peer ended its side, or broke the protocol. What was accepted is
    /// answered.
    Finishing,
    /// Everything is written and the peer was told so; it gets time to read it.
    Lingering,
    /// Over at once: what cannot be answered or was cut.
    Closed,
}

impl Phase {
    fn takes_requests(self) -> bool {
        matches!(self, Self::Open | Self::Retiring | Self::Draining)
    }
}

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    fn new(io: IO, peer: Arc<Peer>, shared: Arc<Shared>, drain: CancellationToken) -> Self {
        add(&shared.metrics.connections_open, 1);
        tracing::debug!(peer = %peer, connection = peer.connection, "connection opened");
        let retire_deadline = shared.config.connection_age().map(|age| Instant::now() + age);
        Self {
            io,
            peer,
            lines: LineDecoder::new(shared.config.frame_bytes_max),
            shared,
            input: Vec::new(),
            lines_wait_for: None,
            line_deadline: None,
            has_spoken: false,
            has_used_id: false,
            bad_in_a_row: 0,
            output: Vec::new(),
            written: 0,
            needs_flush: false,
            stall_deadline: None,
            parked: None,
            ordered: VecDeque::new(),
            ordered_bytes: 0,
            ordered_runs: false,
            phase: Phase::Open,
            has_peer_ended: false,
            phase_deadline: None,
            retire_deadline,
            drain: Some(Box::pin(drain.cancelled_owned())),
            timer: None,
            spinning_since: None,
            stats: ConnectionStats::default(),
            unpublished: Unpublished::default(),
        }
    }

    /// Turns until there is nothing to do. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.capacity() == 0 {
            self.output = scratch::take_output();
        }
        for _ in 0..TURNS_PER_POLL {
            self.poll_drain(cx);
            self.end_calls(cx);
            self.continue_ordered(cx);
            self.send_items(cx);
            let read = self.poll_read(cx)?;
            self.count_down();
            self.unpublished.publish(&self.shared.metrics);
            let waited = self.waiting_output();
            self.poll_write(cx)?;
            let has_room_again = |limit| waited >= limit && self.waiting_output() < limit;
            if has_room_again(self.stream_output_max())
                || has_room_again(self.shared.config.output_bytes_soft_max)
            {
                // Nothing wakes what was held back for want of room.
                continue;
            }
            match self.phase {
                Phase::Closed => return Poll::Ready(Ok(())),
                // The time in which requests may still be on their way is over, and all that came is read.
                Phase::Draining if read.is_pending() && self.phase_deadline.is_none() && self.is_idle() => {
                    self.enter(Phase::Finishing, None);
                    continue;
                }
                Phase::Retiring if read.is_pending() && self.is_between_calls() => {
                    self.enter(Phase::Finishing, None);
                    continue;
                }
                Phase::Finishing if self.is_idle() => {
                    let limit = self.shared.config.linger_timeout();
                    if Pin::new(&mut self.io).poll_shutdown(cx)?.is_ready() {
                        // With nothing of the peer's unread, closing takes nothing back.
                        let next = if self.has_peer_ended { Phase::Closed } else { Phase::Lingering };
                        self.enter(next, Some(limit));
                        continue;
                    }
                    // A stream that still has to say goodbye, as TLS does, may have a peer that does not listen.
                    self.phase_deadline.get_or_insert_with(|| Instant::now() + limit);
                }
                Phase::Open | Phase::Retiring | Phase::Draining | Phase::Finishing | Phase::Lingering => {}
            }
            if read.is_ready() {
                self.spinning_since = None;
            } else if self.poll_timer(cx).is_pending() {
                if !self.spin(cx) {
                    self.release();
                }
                return Poll::Pending;
            }
        }
        // Whatever comes in, it does not put off what it is time for.
        let _ = self.poll_timer(cx);
        // Others of this thread come first for once.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Stays awake for a request that is about to come, where the operator wants that. False where it
    /// may sleep.
    fn spin(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.shared.config.spin_us;
        if limit == 0 {
            return false;
        }
        // The real clock: one that is paused would never let it end.
        let since = *self.spinning_since.get_or_insert_with(std::time::Instant::now);
        let is_awake = since.elapsed() < Duration::from_micros(limit);
        if is_awake {
            // The runtime looks at its sockets, without sleeping, and comes back.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        is_awake
    }

    // ---- reading ----

    /// Reads once and executes what came. Pending where nothing came, or nothing may be read now.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(room) = self.lines_wait_for {
            if !self.has(room) {
                return Poll::Pending;
            }
            self.lines_wait_for = None;
            let mut input = mem::take(&mut self.input);
            let consumed = self.execute(cx, &input);
            input.drain(..consumed);
            self.input = input;
            return Poll::Ready(Ok(()));
        }
        let reads = match self.phase {
            Phase::Open | Phase::Retiring | Phase::Draining => self.has(Room::InOutput),
            Phase::Lingering => true,
            Phase::Finishing | Phase::Closed => false,
        };
        if !reads {
            // While this side does not read, the peer cannot be late.
            self.line_deadline = None;
            return Poll::Pending;
        }
        if self.line_deadline.is_none() && !self.input.is_empty() && self.phase != Phase::Lingering {
            self.line_deadline = Some(Instant::now() + self.shared.config.frame_timeout());
        }
        let mut scratch = scratch::take();
        let read = self.read_and_execute(cx, &mut scratch);
        scratch::give_back(scratch);
        match ready!(read)? {
            0 => self.peer_has_ended(),
            n => {
                self.stats.bytes_in += n as u64;
                add(&self.shared.metrics.bytes_in, n as u64);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read_and_execute(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.input.len() > scratch.len() / 2 {
            // A long line: it gathers in place, with no copy to and fro.
            let room = self.shared.config.frame_bytes_max.saturating_add(2).saturating_sub(self.input.len());
            self.input.reserve_exact(room.clamp(1, scratch.len()));
            let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input))?;
            let mut input = mem::take(&mut self.input);
            let consumed = self.execute(cx, &input);
            input.drain(..consumed);
            self.input = input;
            return Poll::Ready(Ok(read));
        }
        // The usual case: lines are executed out of the thread's buffer, and only the part of a
        // line at the end is kept.
        let held = self.input.len();
        scratch[..held].copy_from_slice(&self.input);
        let mut buffer = ReadBuf::new(&mut scratch[held..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        let bytes = &scratch[..held + read];
        let consumed = self.execute(cx, bytes);
        self.input.clear();
        self.input.extend_from_slice(&bytes[consumed..]);
        Poll::Ready(Ok(read))
    }

    /// Executes the whole lines at the front of `bytes`, as far as there is room, and says how many
    /// bytes they were.
    fn execute(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
        if self.phase == Phase::Lingering {
            return bytes.len();
        }
        if !self.has_spoken && strangers::is_tls_hello(bytes) {
            tracing::warn!(peer = %self.peer, "a TLS client hello on a port without TLS; closed");
            self.enter(Phase::Finishing, None);
            return bytes.len();
        }
        let mut consumed = 0;
        let mut frames = 0;
        let received = Instant::now();
        let read = memchr::memchr_iter(b'\n', bytes).count();
        let frames_per_write = (read / 4).clamp(*FRAMES_PER_WRITE.start(), *FRAMES_PER_WRITE.end());
        loop {
            if !self.phase.takes_requests() {
                self.line_deadline = None;
                return bytes.len();
            }
            if !self.has(Room::InOutput) {
                self.lines_wait_for = Some(Room::InOutput);
                self.line_deadline = None;
                return consumed;
            }
            match self.lines.step(&bytes[consumed..]) {
                Step::Line { line, .. } if !self.has(Room::ForACall) && needs_room(line) => {
                    self.lines_wait_for = Some(Room::ForACall);
                    self.line_deadline = None;
                    return consumed;
                }
                Step::Line { line, consumed: length } => {
                    consumed += length;
                    self.line_deadline = None;
                    if !line.is_empty() {
                        self.frame(cx, line, received);
                        frames += 1;
                        if frames % frames_per_write == 0 && self.poll_write(cx).is_err() {
                            self.enter(Phase::Closed, None);
                        }
                    }
                }
                Step::TooLong { start, consumed: length } => {
                    consumed += length;
                    self.too_long(start);
                }
                Step::Partial { consumed: length } => {
                    consumed += length;
                    if consumed == bytes.len() {
                        self.line_deadline = None;
                    } else if self.line_deadline.is_none() {
                        self.line_deadline = Some(received + self.shared.config.frame_timeout());
                    }
                    return consumed;
                }
            }
        }
    }

    /// Replies that wait and calls in flight are both bounded.
    fn has(&self, room: Room) -> bool {
        let config = &self.shared.config;
        self.waiting_output() < config.output_bytes_soft_max
            && (room == Room::InOutput
                || self.in_flight() < config.in_flight_per_connection
                    && self.ordered_bytes < config.waiting_params_bytes_max)
    }

    fn in_flight(&self) -> usize {
        self.parked.as_ref().map_or(0, |parked| parked.len()) + self.ordered.len()
    }

    /// The call with this id, if it is not over.
    fn handle(&self, id: u64) -> Option<&Handle> {
        self.parked.as_ref()?.ids.get(&id)
    }

    /// The peer ended its side, perhaps only that one: what it asked for is still answered.
    fn peer_has_ended(&mut self) {
        if self.phase == Phase::Lingering {
            self.phase = Phase::Closed;
            return;
        }
        if !self.input.is_empty() {
            let id = id_of_part(&self.input);
            self.count_bad_frame();
            self.verdict(
                id,
                &Status::invalid_argument("the stream ended in the middle of a line; a frame ends with \\n"),
            );
            self.input.clear();
        }
        self.has_peer_ended = true;
        self.enter(Phase::Finishing, None);
    }

    // ---- frames ----

    fn frame(&mut self, cx: &mut Context<'_>, line: &[u8], received: Instant) {
        if self.usual_frame(cx, line, received) {
            return;
        }
        match Request::decode(line) {
            Ok(request) => {
                self.count_good_frame();
                self.admit(cx, request, received);
            }
            Err(bad) => self.bad_frame(line, &bad),
        }
    }

    /// The short way of a line that looks usual, to a call that may start at once: the handler's
    /// decoding of the params is what checks them. False where the line needs the long way.
    fn usual_frame(&mut self, cx: &mut Context<'_>, line: &[u8], received: Instant) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        let Some(usual) = UsualRequest::read(line) else { return false };
        let mut request = usual.request();
        let may_start = match request.id {
            Some(id) => self.handle(id).is_none(),
            None => !self.ordered_runs && self.ordered.is_empty(),
        };
        if !may_start || request.cmdid.is_built_in() || request.timeout == Some(Duration::ZERO) {
            return false;
        }
        self.set_deadline(&mut request, received);
        let terms = Terms::of(&request, received);
        let call = self.call(request, terms);
        if !usual.is_sound() {
            return false;
        }
        self.has_used_id |= terms.place.id().is_some();
        self.count_good_frame();
        self.poll_call(cx, call);
        true
    }

    fn count_good_frame(&mut self) {
        self.has_spoken = true;
        self.bad_in_a_row = 0;
        self.stats.requests += 1;
        self.unpublished.requests += 1;
    }

    fn bad_frame(&mut self, line: &[u8], bad: &BadFrame) {
        self.count_bad_frame();
        if !self.has_spoken && strangers::is_http(line) {
            tracing::warn!(peer = %self.peer, "an HTTP request on an RPC port; refused and closed");
            self.output.extend_from_slice(strangers::HTTP_REFUSAL);
            self.enter(Phase::Finishing, None);
            return;
        }
        tracing::debug!(peer = %self.peer, fault = %bad, "bad frame");
        self.verdict(bad.id, &Status::invalid_argument(bad.message.clone()));
        if bad.kind == BadFrameKind::Id {
            return;
        }
        self.bad_in_a_row += 1;
        if !self.has_spoken || self.bad_in_a_row >= self.shared.config.bad_frames_in_a_row_max {
            tracing::info!(peer = %self.peer, in_a_row = self.bad_in_a_row, "closed after bad frames");
            self.enter(Phase::Finishing, None);
        }
    }

    fn too_long(&mut self, start: &[u8]) {
        self.count_bad_frame();
        let limit = self.shared.config.frame_bytes_max;
        tracing::info!(peer = %self.peer, limit, "closed after a frame over the limit");
        let message = format!("the frame is longer than the limit `frame_bytes_max` of {limit} bytes");
        self.verdict(id_of_part(start), &Status::resource_exhausted(message));
        self.enter(Phase::Finishing, None);
    }

    fn count_bad_frame(&mut self) {
        self.stats.bad_frames += 1;
        add(&self.shared.metrics.bad_frames, 1);
    }

    fn admit(&mut self, cx: &mut Context<'_>, mut request: Request<'_>, received: Instant) {
        if request.id.is_some() {
            if !mem::replace(&mut self.has_used_id, true) {
                // It was accepted too late to be told with the others, or is only now known to understand.
                match self.phase {
                    Phase::Draining => self.say_goaway(SHUTTING_DOWN),
                    Phase::Retiring => self.say_goaway(SERVED_LONG_ENOUGH),
                    Phase::Open | Phase::Finishing | Phase::Lingering | Phase::Closed => {}
                }
            }
            if request.id.is_some_and(|id| self.handle(id).is_some()) {
                self.verdict(
                    None,
                    &Status::invalid_argument(
                        "this `id` is still in flight on this connection; each call needs its own",
                    ),
                );
                self.enter(Phase::Finishing, None);
                return;
            }
        }
        if self.control(&request) {
            return;
        }
        if self.phase == Phase::Retiring && self.has_used_id {
            self.phase_deadline = Some(Instant::now() + self.shared.config.goaway_grace());
        }
        if self.phase == Phase::Draining && !request.cmdid.is_built_in() {
            let status = Status::unavailable("the server is shutting down and did not run the call");
            match request.oneway {
                true => self.count_reply(status.code(), true),
                false => self.verdict(request.id, &status.with_rejected()),
            }
            return;
        }
        self.set_deadline(&mut request, received);
        if request.id.is_none() && (self.ordered_runs || !self.ordered.is_empty()) {
            self.ordered_bytes += request.params.as_bytes().len();
            self.ordered.push_back(Ordered::Call(request.into_owned(), received));
        } else {
            self.start(cx, request, received, false);
        }
    }

    fn set_deadline(&self, request: &mut Request<'_>, received: Instant) {
        let handler_timeout = self.shared.config.handler_timeout();
        let timeout = request.timeout.map_or(handler_timeout, |timeout| timeout.min(handler_timeout));
        request.scope.deadline = Some((received + timeout).into_std());
    }

    /// The built-in commands that act on the connection itself and have no reply.
    fn control(&mut self, request: &Request<'_>) -> bool {
        match request.cmdid {
            CmdId::CANCEL => {
                if let Some(id) = builtin::id_in(request) {
                    self.cancel(id);
                }
            }
            CmdId::CREDIT => {
                if let Some((id, items)) = builtin::credit_in(request) {
                    self.give_credit(id, items);
                }
            }
            _ => return false,
        }
        true
    }

    // ---- calls ----

    /// Starts a call, and ends it at once where it is ready. `has_waited`: it stood in the order.
    fn start(&mut self, cx: &mut Context<'_>, request: Request<'_>, received: Instant, has_waited: bool) {
        let terms = Terms::of(&request, received);
        if request.cmdid.is_built_in() {
            self.unpublished.publish(&self.shared.metrics);
        }
        if let Some(outcome) = self.outcome_without_handler(&request, has_waited) {
            self.end(&terms, outcome);
            return;
        }
        let call = self.call(request, terms);
        self.poll_call(cx, call);
    }

    fn poll_call(&mut self, cx: &mut Context<'_>, mut call: Call) {
        match Pin::new(&mut call).poll(cx) {
            Poll::Ready((terms, outcome)) => self.end(&terms, outcome),
            Poll::Pending => {
                let (abort, registration) = AbortHandle::new_pair();
                self.occupy(call.place(), abort, None);
                add(&self.shared.metrics.in_flight, 1);
                self.park().calls.push(Abortable::new(call, registration));
            }
        }
    }

    /// The calls that no handler sees: built-in ones, and those that come too late.
    fn outcome_without_handler(&self, request: &Request<'_>, has_waited: bool) -> Option<Outcome> {
        let is_late =
            || request.scope.deadline.is_some_and(|deadline| Instant::from_std(deadline) <= Instant::now());
        if request.timeout == Some(Duration::ZERO) || has_waited && is_late() {
            return Some(Err(Status::deadline_exceeded(
                "the time of the call was up before it could start; it did not run",
            )));
        }
        if request.cmdid.is_built_in() {
            let stats = ConnectionStats { in_flight: self.in_flight() as u64, ..self.stats };
            return Some(builtin::answer(request, &self.shared, stats));
        }
        None
    }

    fn call(&self, request: Request<'_>, terms: Terms) -> Call {
        let cancellation = LazyCancellation::default();
        let deadline = request.scope.deadline;
        let scope = Scope::new(&self.peer, deadline, &cancellation);
        let future = self.shared.routes.dispatch(request.with_scope(scope));
        Call::new(terms, future, cancellation)
    }

    /// Notes that a call is not over: its id is taken, or its turn in the order.
    fn occupy(&mut self, place: Place, abort: AbortHandle, credit: Option<Arc<Credit>>) {
        match place {
            Place::Multiplexed(id) => {
                self.park().ids.insert(id, Handle { abort, credit });
            }
            Place::Ordered => self.ordered_runs = true,
            Place::Unanswered => {}
        }
    }

    fn park(&mut self) -> &mut Parked {
        self.parked.get_or_insert_default()
    }

    fn take_handle(&mut self, id: u64) -> Option<Handle> {
        self.parked.as_mut()?.ids.remove(&id)
    }

    fn vacate(&mut self, place: Place) {
        match place {
            Place::Multiplexed(id) => drop(self.take_handle(id)),
            Place::Ordered => self.ordered_runs = false,
            Place::Unanswered => {}
        }
    }

    /// Ends the calls that became ready.
    fn end_calls(&mut self, cx: &mut Context<'_>) {
        while self.has(Room::InOutput) && self.phase != Phase::Closed {
            let Some(parked) = &mut self.parked else { return };
            let Poll::Ready(Some(ended)) = parked.calls.poll_next_unpin(cx) else { return };
            subtract(&self.shared.metrics.in_flight, 1);
            // One that was aborted was answered when it was cancelled.
            let Ok((terms, outcome)) = ended else { continue };
            self.vacate(terms.place);
            self.end(&terms, outcome);
            // Replies that come together are no sign of a peer that does not read them.
            if !self.has(Room::InOutput) && self.poll_write(cx).is_err() {
                self.enter(Phase::Closed, None);
            }
        }
    }

    /// Starts what stands next in the order, until one is not ready at once or the peer must read first.
    fn continue_ordered(&mut self, cx: &mut Context<'_>) {
        while !self.ordered_runs && self.has(Room::InOutput) && self.phase != Phase::Closed {
            match self.ordered.pop_front() {
                Some(Ordered::Line(line)) => self.output.extend_from_slice(&line),
                Some(Ordered::Call(request, received)) => {
                    self.ordered_bytes -= request.params.as_bytes().len();
                    self.start(cx, request, received, true);
                }
                None => return,
            }
            if !self.has(Room::InOutput) && self.poll_write(cx).is_err() {
                self.enter(Phase::Closed, None);
            }
        }
    }

    /// Sends the reply of a call that is over, or begins to send its stream.
    fn end(&mut self, terms: &Terms, outcome: Outcome) {
        let id = terms.place.id();
        let limit = self.shared.config.reply_bytes_max;
        let body = outcome.map(Reply::into_body).and_then(|body| match body {
            Body::Data(data) => check_length(data, limit).map(Body::Data),
            other => Ok(other),
        });
        let code = body.as_ref().map_or_else(Status::code, |_| Code::OK);
        match body {
            _ if terms.oneway => {
                if !code.is_ok() {
                    tracing::info!(peer = %self.peer, code = code.number(), "a oneway call failed");
                }
            }
            Ok(Body::Stream(items)) => {
                let (abort, registration) = AbortHandle::new_pair();
                let stream = StreamCall::new(items, terms, limit);
                let credit = stream.credit();
                if let (Phase::Finishing, Some(credit)) = (self.phase, &credit) {
                    credit.close();
                }
                self.occupy(terms.place, abort, credit);
                self.park().streams.push(Abortable::new(stream, registration));
                return;
            }
            Ok(Body::Data(data)) => encode_reply(&mut self.output, id, Some(&data)),
            Ok(Body::Empty) => encode_reply(&mut self.output, id, None),
            Err(status) => encode_failure(&mut self.output, id, &status),
        }
        self.count_reply(code, terms.oneway);
    }

    /// A reply that no call stands behind. Without an id it takes its place in the order.
    fn verdict(&mut self, id: Option<u64>, status: &Status) {
        if id.is_none() && (self.ordered_runs || !self.ordered.is_empty()) {
            let mut line = Vec::new();
            encode_failure(&mut line, None, status);
            self.ordered.push_back(Ordered::Line(line));
        } else {
            encode_failure(&mut self.output, id, status);
        }
        self.count_reply(status.code(), false);
    }

    fn count_reply(&mut self, code: Code, oneway: bool) {
        if code.is_ok() {
            self.unpublished.successes += 1;
        } else {
            self.shared.metrics.count_replies(code, 1);
        }
        self.stats.replies += u64::from(!oneway);
        let limit = self.shared.config.output_bytes_hard_max;
        if self.waiting_output() > limit {
            tracing::warn!(peer = %self.peer, limit, "cut: more replies wait than `output_bytes_hard_max` allows");
            self.enter(Phase::Closed, None);
        }
    }

    fn cancel(&mut self, id: u64) {
        if let Some(handle) = self.take_handle(id) {
            handle.abort.abort();
            self.verdict(Some(id), &Status::cancelled("the caller cancelled the call"));
        }
    }

    fn give_credit(&mut self, id: u64, items: u64) {
        if let Some(Handle { credit: Some(credit), .. }) = self.handle(id) {
            credit.add(items);
        }
    }

    /// Sends the items of streams that are ready, while the peer keeps up.
    fn send_items(&mut self, cx: &mut Context<'_>) {
        while self.waiting_output() < self.stream_output_max() {
            let Some(parked) = &mut self.parked else { return };
            let Poll::Ready(Some((terms, step))) = parked.streams.poll_next_unpin(cx) else { return };
            let end = match step {
                StreamStep::Item(item) => {
                    encode_item(&mut self.output, terms.place.id(), &item);
                    continue;
                }
                StreamStep::End(end) => end,
            };
            self.vacate(terms.place);
            self.end(&terms, end.map(|()| Reply::empty()));
            self.continue_ordered(cx);
        }
    }

    /// How much output may wait before streams pause.
    fn stream_output_max(&self) -> usize {
        STREAM_OUTPUT_BYTES.min(self.shared.config.output_bytes_soft_max.div_ceil(2))
    }

    // ---- writing ----

    fn waiting_output(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what the socket takes; what it does not take waits.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.waiting_output() > 0 {
            match Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.needs_flush = true;
                    self.stall_deadline = None;
                    self.stats.bytes_out += n as u64;
                    add(&self.shared.metrics.bytes_out, n as u64);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.begin_to_stall();
                    // Dropped once it is the larger part: each byte is moved once at most.
                    if self.written > self.output.len() / 2 {
                        self.output.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
            }
        }
        self.output.clear();
        self.written = 0;
        // A stream with a buffer of its own, as TLS has, keeps what it has taken until it is told.
        if self.needs_flush {
            if Pin::new(&mut self.io).poll_flush(cx)?.is_ready() {
                self.needs_flush = false;
                self.stall_deadline = None;
            } else {
                self.begin_to_stall();
            }
        }
        Ok(())
    }

    fn begin_to_stall(&mut self) {
        let limit = self.shared.config.write_stall_timeout();
        self.stall_deadline.get_or_insert_with(|| Instant::now() + limit);
    }

    // ---- phases and time ----

    fn enter(&mut self, phase: Phase, limit: Option<Duration>) {
        // What was cut stays cut, whatever the line at hand leads to.
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = phase;
        if !phase.takes_requests() {
            self.line_deadline = None;
        }
        if phase == Phase::Finishing {
            let handles = self.parked.iter().flat_map(|parked| parked.ids.values());
            handles.filter_map(|handle| handle.credit.as_deref()).for_each(Credit::close);
        }
        self.phase_deadline = limit.map(|limit| Instant::now() + limit);
    }

    /// Whether everything that was accepted is answered and written.
    fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.waiting_output() == 0 && !self.needs_flush
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if self.drain.as_mut().is_some_and(|drain| drain.as_mut().poll(cx).is_ready()) {
            self.drain = None;
            if self.phase == Phase::Open {
                self.say_goaway(SHUTTING_DOWN);
            }
            if matches!(self.phase, Phase::Open | Phase::Retiring) {
                self.retire_deadline = None;
                self.enter(Phase::Draining, Some(self.shared.config.goaway_grace()));
            }
        }
    }

    /// A client that uses no ids would take the notice for a reply.
    fn say_goaway(&mut self, message: &str) {
        if self.has_used_id {
            encode_notice(&mut self.output, "goaway", message);
        }
    }

    /// Ends the connection's service at its last request.
    fn count_down(&mut self) {
        let limit = self.shared.config.requests_per_connection_max;
        if limit > 0 && self.stats.requests >= limit && self.phase == Phase::Open {
            self.retire();
        }
    }

    /// One step on the way out: first with manners, then as in a drain, then without.
    fn retire(&mut self) {
        let config = &self.shared.config;
        let (grace, limit) = (config.goaway_grace(), config.drain_timeout());
        self.retire_deadline = Some(Instant::now() + limit);
        match self.phase {
            Phase::Open => {
                tracing::debug!(peer = %self.peer, requests = self.stats.requests, "the connection retires");
                add(&self.shared.metrics.connections_retired, 1);
                self.say_goaway(SERVED_LONG_ENOUGH);
                self.enter(Phase::Retiring, self.has_used_id.then_some(grace));
            }
            Phase::Retiring => self.enter(Phase::Draining, Some(grace)),
            Phase::Draining => {
                tracing::info!(peer = %self.peer, in_flight = self.in_flight(), "cut: not done within `drain_timeout_ms`");
                self.enter(Phase::Closed, None);
            }
            // These have limits of their own.
            Phase::Finishing | Phase::Lingering | Phase::Closed => self.retire_deadline = None,
        }
    }

    /// Whether nothing is under way, in either direction.
    fn is_between_calls(&self) -> bool {
        self.phase_deadline.is_none() && self.is_idle() && self.input.is_empty()
    }

    /// Does what it is time for. Ready where that changed something.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadlines = [self.line_deadline, self.stall_deadline, self.phase_deadline, self.retire_deadline];
        let next = deadlines.into_iter().flatten().min();
        let Some(next) = next else {
            self.timer = None;
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        // A timer that fires too early is set anew then: cheaper than moving it with every line.
        if next < timer.deadline() {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        self.expire(Instant::now());
        Poll::Ready(())
    }

    fn expire(&mut self, now: Instant) {
        let is_past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_past(self.stall_deadline) {
            tracing::info!(peer = %self.peer, "cut: the peer took no bytes for `write_stall_timeout_ms`");
            self.phase = Phase::Closed;
        } else if is_past(self.line_deadline) {
            self.line_deadline = None;
            let id = id_of_part(&self.input);
            self.input.clear();
            self.count_bad_frame();
            let limit = self.shared.config.frame_timeout_ms;
            let message = format!("the line was not ended within `frame_timeout_ms` of {limit} ms");
            self.verdict(id, &Status::deadline_exceeded(message));
            self.enter(Phase::Finishing, None);
        } else if is_past(self.phase_deadline) {
            self.phase_deadline = None;
            if matches!(self.phase, Phase::Finishing | Phase::Lingering) {
                self.phase = Phase::Closed;
            }
        } else if is_past(self.retire_deadline) {
            self.retire();
        }
    }

    /// An idle connection keeps nothing that it can do without.
    fn release(&mut self) {
        if self.output.is_empty() {
            scratch::give_back_output(mem::take(&mut self.output));
        }
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        if self.parked.as_ref().is_some_and(|parked| parked.len() == 0) {
            self.parked = None;
        }
    }
}

/// Whether a line has to wait for a place among the calls in flight: not one that ends a call, or lets
/// it go on.
fn needs_room(line: &[u8]) -> bool {
    let is_control = |request: Request<'_>| matches!(request.cmdid, CmdId::CANCEL | CmdId::CREDIT);
    !line.is_empty() && !Request::decode(line).is_ok_and(is_control)
}

impl<IO> Drop for Connection<IO> {
    fn drop(&mut self) {
        self.unpublished.publish(&self.shared.metrics);
        subtract(&self.shared.metrics.connections_open, 1);
        let parked = self.parked.as_ref().map_or(0, |parked| parked.calls.len());
        subtract(&self.shared.metrics.in_flight, parked as u64);
    }
}
