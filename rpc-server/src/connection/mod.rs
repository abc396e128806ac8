//! The one room of the server that moves bytes: a connection from its first byte to its last.
//!
//! A connection is one task. It owns small state machines, each in a file of its own, that know nothing of each
//! other; each turn asks them in a fixed order: it ends calls that are done, reads what the socket has, starts a call
//! for each whole line, and writes what has gathered. Nothing in it waits for one of these while another could go on.
//! A handler is polled once in place, and only one that is not ready is parked. Its twin is rpc-client's
//! `connection`.

mod access_log;
mod admission;
mod ahead;
mod auth;
mod back_pressure;
mod breach;
mod budget;
mod call;
mod calls;
mod closing;
mod credit;
mod crowd;
mod due;
mod ending;
mod execute;
mod host;
mod in_flight;
mod input;
mod items;
mod lifecycle;
mod order;
mod output;
mod pace;
mod pieces;
mod probe;
mod read;
mod reply;
mod requests;
mod reserve;
mod retiring;
mod room;
mod run;
mod scratch;
mod session;
mod sniff;
mod spin;
mod stream;
mod throttle;
mod timers;

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use rpc_core::Peer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::access::Policy;
use crate::shutdown::Stage;
use access_log::AccessLog;
use closing::Received;
use crowd::{InCrowd, Turn};
use input::Input;
use lifecycle::Phase;
use session::Session;
use timers::Alarm;

pub(crate) use host::Host;
pub(crate) use reserve::{Ended, run_at_reserve};
pub(crate) use run::run;

/// Turns of one connection before the other tasks of its thread have theirs. A TCP stream yields by
/// itself; a stream of the user's may not.
const TURNS_PER_POLL: usize = 32;

/// A connection: what was read, and what it leads to.
struct Connection<IO> {
    input: Input,
    session: Session<IO>,
    alarm: Alarm,
    /// Its place among those that have much to do.
    in_crowd: InCrowd,
    /// Since when it has been kept awake without anything to do.
    spinning_since: Option<std::time::Instant>,
    /// Whether its first bytes are an HTTP request that is answered: it is handed over with them.
    speaks_http: bool,
}

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    fn new(
        in_crowd: InCrowd,
        io: IO,
        peer: Arc<Peer>,
        host: Arc<Host>,
        policy: Arc<Policy>,
    ) -> Self {
        host.log.connections.write(
            || tracing::debug!(peer = %peer, connection = peer.connection, "connection opened"),
        );

        Self {
            input: Input::default(),
            speaks_http: policy.is_for_pages,
            in_crowd,
            session: Session::new(io, peer, host, policy),
            alarm: Alarm::default(),
            spinning_since: None,
        }
    }

    /// Turns until there is nothing to do, or others come first. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, stage: Stage) -> Poll<io::Result<()>> {
        let has_much_to_do = self.in_crowd.is_inside() || self.input.is_long();
        let is_urgent = stage == Stage::Aborted || self.session.stats.will_have_to_shed();
        if has_much_to_do && !is_urgent && self.in_crowd.poll_turn(cx.waker()) == Turn::Later {
            return Poll::Pending;
        }

        self.session.look_at_limits();
        self.session.take_buffers();
        self.session.clock.begin_turn();
        self.session.access_log = AccessLog::of(&self.session.host.changeable);
        if stage != Stage::Serving {
            self.session.drain();
        }
        if self.session.stats.is_to_make_room() && self.input.is_empty() {
            self.session.make_room();
        }
        if stage == Stage::Aborted {
            self.session.cut(cx);
            return Poll::Ready(Ok(()));
        }

        for _ in 0..TURNS_PER_POLL {
            let room_at_first = self.session.room();

            // What was accepted comes before what is new.
            self.session.look_after_auth();
            self.shed_for_memory(cx);
            self.session.end_calls(cx);
            self.session.continue_ordered(cx);
            self.session.send_items(cx);

            let read = self.poll_read(cx)?;
            self.session.count_down();
            self.session.publish();

            let room_before = self.session.room().and(room_at_first);
            self.session.poll_write(cx)?;
            self.session.tell_held_bytes(cx.waker());
            if self.session.room().is_more_than(room_before) {
                // Nothing wakes what was held back for want of room.
                if self.session.clock.is_share_used_up() {
                    break;
                }
                continue;
            }

            if self.session.lifecycle.phase() == Phase::Closed {
                return Poll::Ready(Ok(()));
            }
            let received = match read.is_pending() && self.has_executed_all() {
                true => Received::Executed,
                false => Received::Waiting,
            };
            if self.session.advance_closing(cx, received)? {
                continue;
            }

            if read.is_ready() {
                self.spinning_since = None;
            }
            if self.session.clock.is_share_used_up() {
                break;
            }
            if read.is_ready() {
                continue;
            }

            if self.session.wait_for_room(cx.waker()) {
                continue;
            }

            self.watch_idleness();
            if self.poll_timer(cx).is_pending() {
                self.in_crowd.leave();
                if !self.spin(cx) {
                    self.release(cx);
                }
                return Poll::Pending;
            }
        }

        // Whatever comes in, it does not put off what it is time for.
        let _ = self.poll_timer(cx);

        // Others come first for once: those for whom something has come meanwhile, and those that have waited longer.
        self.in_crowd.wait_again(cx.waker());
        Poll::Pending
    }

    /// Whether nothing that was read waits to be executed, where the way out has to wait for that.
    fn has_executed_all(&self) -> bool {
        match self.session.lifecycle.phase() {
            Phase::Retiring => self.input.is_empty(),
            Phase::Breached => self.input.wait().is_none() && self.session.reads_on(),
            _ => true,
        }
    }

    /// Gives up memory where all connections together hold too much, and this one the most.
    fn shed_for_memory(&mut self, cx: &mut Context<'_>) {
        if !self.session.stats.is_to_shed() {
            return;
        }

        let has_calls = self.session.in_flight.len() > 0;
        self.session.shed_calls(cx);
        if !has_calls && !self.input.is_empty() {
            let refusal = self.session.host.memory.refusal();
            self.refuse_part(&refusal);
        }
    }

    /// An idle connection keeps nothing that it can do without.
    fn release(&mut self, cx: &mut Context<'_>) {
        let held_before = self.session.held_bytes();
        self.session.release();
        self.input.release();

        self.session.input_bytes = self.input.held_bytes();
        if self.session.held_bytes() != held_before {
            self.session.tell_held_bytes(cx.waker());
        }

        // What was given back here wakes no stream that waits for room.
        if self.session.wait_for_room(cx.waker()) {
            cx.waker().wake_by_ref();
        }
    }
}
