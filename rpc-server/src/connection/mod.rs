//! The one room of the server that moves bytes: a connection from its first byte to its last.
//!
//! A connection is one task and one state machine. Each turn ends calls that are done, reads what
//! the socket has, starts a call for each whole line, and writes what has gathered; nothing in it
//! waits for one of these while another could go on. A handler is polled once in place, and only
//! one that is not ready is parked. Its twin is rpc-client's `connection`.

mod access_log;
mod admission;
pub(crate) mod call;
mod calls;
mod cheap;
mod frames;
mod gate;
mod host;
mod leave;
mod read;
mod scratch;
mod sniff;
mod timers;
mod write;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{AbortHandle, Abortable};
use futures::stream::{FuturesUnordered, SelectAll};
use rpc_core::codec::LineDecoder;
use rpc_core::frame::LastHead;
use rpc_core::{Peer, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::access::Policy;
use crate::limit::InFlight;
use crate::metrics::Ledger;
use crate::shutdown::{Stage, StopWatch};
use call::{Call, Credit, StreamCall, Terms};
pub(crate) use host::Host;
use timers::{Alarm, Timer, TimerTable};

/// Frames that are executed before their replies are written: a quarter of those that were read, or half of
/// them on a runtime of one thread, within these bounds. So the peer works on the first replies while this
/// side works on the next requests, instead of each waiting for the other's whole window.
const FRAMES_PER_WRITE: RangeInclusive<usize> = 16..=128;

/// Frames after which a connection looks whether its share of the thread's time is used up.
const FRAMES_PER_LOOK: usize = 16;

/// Replies that are made before they are written, and time is looked at, however few frames they belong to.
const BYTES_PER_WRITE: usize = 64 * 1024;

/// How long a connection may execute what it has read before the other tasks of its thread have their turn:
/// one that asks for much by little must not keep the others waiting.
const SHARE: Duration = Duration::from_millis(1);

/// Output that waits before streams pause. Well below `output_bytes_soft_max`, at which reading stops:
/// a stream that could fill the output to there would keep the server from reading its cancel.
const STREAM_OUTPUT_BYTES: usize = 64 * 1024;

/// What stands around the data of a reply, at most; `output_bytes_hard_max` does not count it.
const ENVELOPE_BYTES: usize = 256;

/// Turns of one connection before the other tasks of its thread have theirs. A TCP stream yields by
/// itself; a stream of the user's may not.
const TURNS_PER_POLL: usize = 32;

/// What a draining server says with `goaway`.
const SHUTTING_DOWN: &str = "the server is shutting down; open the next connection elsewhere";

/// What it says with `goaway` to a connection that is past its age or its number of requests.
const SERVED_LONG_ENOUGH: &str =
    "this connection has served long enough; open the next one elsewhere";

/// What it says to one that has had nothing to do.
const IDLE: &str =
    "the connection was idle for `idle_timeout_ms`; open one again when there is something to call";

/// Runs a connection to its end. The server's `stop` asks it to finish, and cuts it.
pub(crate) fn run<IO>(
    io: IO,
    peer: Arc<Peer>,
    host: Arc<Host>,
    policy: Arc<Policy>,
) -> impl Future<Output = ()> + Send + use<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    #[cfg(feature = "admin")]
    let mut pages = None;
    let mut watch = StopWatch::new(&host.stop);
    let stop = Arc::clone(&host.stop);
    let mut connection = Some(Connection::new(io, peer, host, policy));

    // No `async`: that would hold the connection twice.
    poll_fn(move |cx| {
        let stage = watch.poll(&stop, cx);
        if stage == Stage::Aborted {
            return Poll::Ready(());
        }

        if let Some(open) = &mut connection
            && !open.wants_pages
        {
            let ended = ready!(open.poll(cx, stage));

            let Connection {
                peer,
                stats,
                wants_pages,
                ..
            } = &*open;

            if !wants_pages {
                let error = ended.err().map(tracing::field::display);
                tracing::debug!(%peer, connection = peer.connection, requests = stats.requests, error, "connection closed");
                return Poll::Ready(());
            }
        }

        #[cfg(feature = "admin")]
        return pages
            .get_or_insert_with(|| {
                let Connection {
                    io,
                    input,
                    peer,
                    host,
                    stats,
                    ..
                } = connection.take().expect("it is handed over once");
                let pages = host.pages.as_ref().expect("only where there are any");
                Box::pin(crate::admin::serve(
                    io,
                    input,
                    peer,
                    Arc::clone(pages),
                    stats,
                ))
            })
            .as_mut()
            .poll(cx);

        // Nobody wants any where there are none.
        #[cfg(not(feature = "admin"))]
        Poll::Ready(())
    })
}

struct Connection<IO> {
    io: IO,
    peer: Arc<Peer>,
    host: Arc<Host>,
    /// What its listener asks of it.
    policy: Arc<Policy>,
    door: gate::Door,
    access_log: access_log::AccessLog,

    lines: LineDecoder,
    last_head: LastHead,
    /// How many writes one read's replies are divided into.
    writes_per_read: usize,
    /// What was read and not executed: a part of a line, or whole lines that wait for room.
    input: Vec<u8>,
    /// What the whole line at the front of `input` waits for, and since when; without one, `input` is a part of a line.
    lines_wait_for: Option<(Room, Instant)>,
    /// The line at hand is over the limit of calls in flight, and cannot wait for a place.
    sheds_line: bool,
    /// The time as of the last look: once for a chunk of lines, not once for each.
    clock: Instant,
    /// When this turn has used up its share of the thread's time; none before it has executed anything.
    share_ends: Option<Instant>,
    cheap: cheap::CheapFrames,
    /// Whether a good line has come: before it, one bad line ends the connection.
    has_spoken: bool,
    has_used_id: bool,
    /// Whether its first bytes ask for a page: it is handed over with them.
    wants_pages: bool,
    bad_in_a_row: u32,

    output: Vec<u8>,
    /// How much of `output` has been written.
    written: usize,
    /// Whether something was written and may not have left yet.
    needs_flush: bool,

    /// The calls that were not ready at once. Most connections never have any.
    parked: Option<Box<Parked>>,
    ordered: VecDeque<Ordered>,
    /// Bytes of the params of all calls in flight, those in `ordered` among them.
    params_bytes: usize,
    ordered_runs: bool,

    phase: Phase,
    /// Whether the peer has ended its side of the stream.
    has_peer_ended: bool,
    /// What it had done when it began to do nothing.
    idle_since_work: u64,
    timers: TimerTable,
    alarm: Alarm,
    /// Since when it has been kept awake without anything to do.
    spinning_since: Option<std::time::Instant>,
    stats: Ledger,
    /// Its calls in flight as the server's count has them.
    in_flight_published: InFlight,
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

/// How to reach a call by its id.
struct Handle {
    abort: AbortHandle,
    terms: Terms,
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
    /// The thread's time, which others come first for.
    InTime,
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

fn is_on_one_thread() -> bool {
    tokio::runtime::Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() == 1)
}

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    fn new(io: IO, peer: Arc<Peer>, host: Arc<Host>, policy: Arc<Policy>) -> Self {
        let wants_pages = policy.is_for_pages;
        let in_flight_published = InFlight::none(&host.admission);
        let stats = Ledger::open(&host.metrics, &peer);
        tracing::debug!(peer = %peer, connection = peer.connection, "connection opened");

        let now = Instant::now();

        let mut timers = TimerTable::default();
        if let Some(age) = host.config.connection_age() {
            timers.set(Timer::Retire, now + age);
        }
        if let Some(limit) = policy.first_frame_timeout(host.config.first_frame_timeout()) {
            timers.set(Timer::FirstFrame, now + limit);
        }

        let cheap = cheap::CheapFrames::new(host.config.cheap_frames_per_second, now);

        Self {
            io,
            peer,
            lines: LineDecoder::new(host.config.frame_bytes_max),
            last_head: LastHead::default(),
            writes_per_read: if is_on_one_thread() { 2 } else { 4 },
            access_log: access_log::AccessLog::of(&host.config),
            host,
            policy,
            door: gate::Door::default(),
            input: Vec::new(),
            lines_wait_for: None,
            sheds_line: false,
            clock: now,
            share_ends: None,
            cheap,
            has_spoken: false,
            has_used_id: false,
            wants_pages,
            bad_in_a_row: 0,
            output: Vec::new(),
            written: 0,
            needs_flush: false,
            parked: None,
            ordered: VecDeque::new(),
            params_bytes: 0,
            ordered_runs: false,
            phase: Phase::Open,
            has_peer_ended: false,
            idle_since_work: 0,
            timers,
            alarm: Alarm::default(),
            spinning_since: None,
            stats,
            in_flight_published,
        }
    }

    /// Turns until there is nothing to do. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, stage: Stage) -> Poll<io::Result<()>> {
        if self.output.capacity() == 0 {
            self.output = scratch::take_output();
        }

        self.share_ends = None;
        if stage == Stage::Draining {
            self.drain();
        }

        for _ in 0..TURNS_PER_POLL {
            self.look_after_gate();
            self.end_calls(cx);
            self.continue_ordered(cx);
            self.send_items(cx);

            let read = self.poll_read(cx)?;
            self.count_down();
            self.publish();

            let waited = self.waiting_output();
            self.poll_write(cx)?;
            let has_room_again = |limit| waited >= limit && self.waiting_output() < limit;
            if has_room_again(self.stream_output_max())
                || has_room_again(self.host.config.output_bytes_soft_max)
            {
                // Nothing wakes what was held back for want of room.
                continue;
            }

            if self.phase == Phase::Closed {
                return Poll::Ready(Ok(()));
            }
            if self.leave(cx, read.is_pending())? {
                continue;
            }

            if read.is_ready() {
                self.spinning_since = None;
                if self.share_is_used_up() {
                    break;
                }
                continue;
            }

            self.watch_idleness();
            if self.poll_timer(cx).is_pending() {
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
        let limit = self.host.config.spin_us;
        if limit == 0 {
            return false;
        }

        // The real clock: one that is paused would never let it end.
        let since = *self
            .spinning_since
            .get_or_insert_with(std::time::Instant::now);
        let is_awake = since.elapsed() < Duration::from_micros(limit);
        if is_awake {
            // The runtime looks at its sockets, without sleeping, and comes back.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }

        is_awake
    }

    /// Adds to the server's counts what this connection has done since it last did so.
    fn publish(&mut self) {
        let in_flight = self.in_flight();
        self.stats.tell(in_flight);
        self.in_flight_published.publish(in_flight);
    }

    /// An idle connection keeps nothing that it can do without.
    fn release(&mut self) {
        if self.output.is_empty() {
            scratch::give_back_output(mem::take(&mut self.output));
        }

        if self.input.is_empty() {
            scratch::give_back_long(mem::take(&mut self.input));
        }

        if self.parked.as_ref().is_some_and(|parked| parked.len() == 0) {
            self.parked = None;
            self.stats.release();
        }
    }
}
