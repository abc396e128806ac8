//! The session of a connection: all of it but the bytes that are not executed yet.

use std::io;
use std::sync::Arc;
use std::task::Context;

use rpc_core::codec::LineDecoder;
use rpc_core::frame::fast::HeaderCache;
use rpc_core::{Peer, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::access_log::AccessLog;
use super::admission::View;
use super::auth::Auth;
use super::budget::Budget;
use super::call::Terms;
use super::host::Host;
use super::in_flight::InFlight;
use super::lifecycle::{Lifecycle, Phase};
use super::output::{Output, Writing};
use super::pace::Clock;
use super::scratch;
use super::throttle::Throttle;
use super::timers::{Timer, TimerTable};
use crate::access::Policy;
use crate::limit::CallCount;
use crate::metrics::ConnectionMetrics;

/// What lines lead to: the parts of a connection, each a small state machine that knows none of the others.
pub(super) struct Session<IO> {
    pub(super) io: IO,
    pub(super) peer: Arc<Peer>,
    pub(super) host: Arc<Host>,
    /// What its listener asks of it.
    pub(super) policy: Arc<Policy>,

    pub(super) lines: LineDecoder,
    /// The thread's; none before the first line of this turn or the thread.
    pub(super) last_header: Option<Box<HeaderCache>>,
    /// Bytes that the input holds in memory.
    pub(super) input_bytes: usize,
    pub(super) budget: Budget,
    pub(super) output: Output,

    pub(super) in_flight: InFlight,
    /// The line at hand is over the limit of calls in flight, and cannot wait for a place.
    pub(super) sheds_line: bool,

    pub(super) lifecycle: Lifecycle,
    /// Its age was over before its first good line: it retires after that.
    pub(super) is_past_age: bool,
    pub(super) auth: Auth,
    pub(super) throttle: Throttle,
    pub(super) timers: TimerTable,
    pub(super) clock: Clock,

    pub(super) access_log: AccessLog,
    pub(super) stats: ConnectionMetrics,
    /// Its calls in flight as the server's count has them.
    pub(super) call_count: CallCount,
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(io: IO, peer: Arc<Peer>, host: Arc<Host>, policy: Arc<Policy>) -> Self {
        let config = &host.config;
        let now = Instant::now();

        let mut timers = TimerTable::default();
        if let Some(age) = config.drain.connection_age() {
            timers.set(Timer::Retire, now + age);
        }
        if let Some(limit) = policy.first_frame_timeout(config.accept.first_frame_timeout()) {
            timers.set(Timer::FirstFrame, now + limit);
        }

        Self {
            io,
            lines: LineDecoder::new(config.limits.frame_bytes_max),
            last_header: None,
            input_bytes: 0,
            budget: Budget::new(
                &host.memory,
                peer.connection,
                config.limits.connection_bytes_max,
            ),
            output: Output::default(),
            in_flight: InFlight::default(),
            sheds_line: false,
            lifecycle: Lifecycle::new(),
            is_past_age: false,
            auth: Auth::default(),
            throttle: Throttle::new(config.throttle.frames_per_second, now),
            timers,
            clock: Clock::new(now),
            access_log: AccessLog::of(&host.changeable),
            stats: ConnectionMetrics::open(&host.metrics, &peer),
            call_count: CallCount::none(&host.admission, &peer),
            peer,
            host,
            policy,
        }
    }

    /// Writes what the socket takes; what it does not take waits, and not for ever.
    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.stats.tell_runs();
        let written = self.output.poll_write(&mut self.io, cx)?;

        if written.bytes > 0 {
            self.stats.wrote(written.bytes);
        }
        if written.bytes > 0 || written.state == Writing::Done {
            self.timers.stop(Timer::Write);
        }
        if written.state == Writing::Stalled {
            let limit = self.host.config.timeouts.write_stall_timeout();
            self.timers
                .set_once(Timer::Write, || Instant::now() + limit);
        }

        Ok(())
    }

    /// Writes, and cuts a connection that cannot be written to.
    pub(super) fn write_or_cut(&mut self, cx: &mut Context<'_>) {
        if self.poll_write(cx).is_err() {
            self.enter(Phase::Closed, None);
        }
    }

    /// What a decision about this request depends on.
    #[inline]
    pub(super) fn view(&self, request: &Request<'_>) -> View<'_> {
        View {
            authorization: self.auth.authorization(),
            phase: self.lifecycle.phase(),
            has_id_in_flight: request.id.is_some_and(|id| self.in_flight.has(id)),
            is_order_free: self.in_flight.is_next_in_order(),
            // Its own calls that the server's count does not have yet are among them.
            is_full: self.sheds_line || self.call_count.is_full(self.in_flight.calls()),
        }
    }

    /// Whether everything that was accepted is answered and written.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.len() == 0 && self.output.is_done()
    }

    /// Notes that a call is over: its place is free.
    pub(super) fn vacate(&mut self, terms: &Terms) {
        self.stats.unparked(terms.command);
        self.in_flight.vacate(terms.place);
    }

    /// Adds to the server's counts what this connection has done since it last did so.
    pub(super) fn publish(&mut self) {
        self.stats.publish(self.in_flight.len());
        self.call_count.publish(self.in_flight.calls());
    }

    /// Takes what the thread lends to a connection that has something to do.
    #[inline]
    pub(super) fn take_buffers(&mut self) {
        self.output.take_buffer();
        if self.last_header.is_none() {
            self.last_header = scratch::take_last_header();
        }
    }

    /// An idle connection keeps nothing that it can do without.
    pub(super) fn release(&mut self) {
        let rest = self.may_make_room().then(|| self.clock.now());
        self.stats.note_rest(rest);

        self.output.release();
        scratch::give_back_last_header(self.last_header.take());
        self.timers.release();
        if self.in_flight.release() {
            self.stats.release();
        }
    }
}
