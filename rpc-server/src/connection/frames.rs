//! From a line to a call: what it is, and whether it may start.

use std::mem;
use std::task::Context;

use rpc_core::frame::{BadFrame, BadFrameKind, UsualRequest, id_of_part};
use rpc_core::scope::LazyCancellation;
use rpc_core::{CmdId, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::admission::{Decision, View, decide};
use super::call::{Terms, is_late};
use super::timers::Timer;
use super::{Connection, Ordered, Phase, SERVED_LONG_ENOUGH, SHUTTING_DOWN, sniff};
use crate::dispatch::builtin;
use crate::metrics::add;

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn frame(&mut self, cx: &mut Context<'_>, line: &[u8], received: Instant) {
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
    pub(super) fn usual_frame(
        &mut self,
        cx: &mut Context<'_>,
        line: &[u8],
        received: Instant,
    ) -> bool {
        if self.phase != Phase::Open {
            return false;
        }

        let Some(usual) = UsualRequest::read_after(&mut self.last_head, line) else {
            return false;
        };

        let mut request = usual.request();
        if request.cmdid.is_built_in() || decide(&request, &self.view(&request)) != Decision::Start
        {
            return false;
        }

        self.set_deadline(&mut request, received);
        if is_late(&request, self.clock) {
            return false;
        }

        let mut terms = Terms::of(&request, received, usual.params_bytes());
        let cancellation = LazyCancellation::default();
        let future = self.call(request, &mut terms, &cancellation);
        if !usual.is_sound() {
            return false;
        }

        self.has_used_id |= terms.place.id().is_some();
        self.count_good_frame();
        self.poll_call(cx, &terms, future, cancellation);
        true
    }

    pub(super) fn count_good_frame(&mut self) {
        self.has_spoken = true;
        self.bad_in_a_row = 0;
        self.stats.requests += 1;
    }

    pub(super) fn bad_frame(&mut self, line: &[u8], bad: &BadFrame) {
        self.stats.bad_frame();

        if !self.has_spoken && sniff::is_http(line) {
            tracing::warn!(peer = %self.peer, "an HTTP request on an RPC port; refused and closed");
            self.output.extend_from_slice(sniff::HTTP_REFUSAL);
            self.enter(Phase::Finishing, None);
            return;
        }

        tracing::debug!(peer = %self.peer, fault = %bad, "bad frame");
        self.verdict(bad.id, &Status::invalid_argument(bad.message.clone()));
        if bad.kind == BadFrameKind::Id {
            return;
        }

        self.bad_in_a_row += 1;
        if !self.has_spoken || self.bad_in_a_row >= self.host.config.bad_frames_in_a_row_max {
            add(&self.host.metrics.limits.bad_frame_closures, 1);
            tracing::info!(peer = %self.peer, in_a_row = self.bad_in_a_row, "closed after bad frames");
            self.enter(Phase::Finishing, None);
        }
    }

    pub(super) fn too_long(&mut self, start: &[u8]) {
        self.stats.bad_frame();
        add(&self.host.metrics.limits.frames_too_long, 1);

        let limit = self.host.config.frame_bytes_max;
        tracing::info!(peer = %self.peer, limit, "closed after a frame over the limit");

        let message =
            format!("the frame is longer than the limit `frame_bytes_max` of {limit} bytes");
        self.verdict(id_of_part(start), &Status::resource_exhausted(message));
        self.enter(Phase::Finishing, None);
    }

    /// Carries out what is decided about a request.
    pub(super) fn admit(
        &mut self,
        cx: &mut Context<'_>,
        mut request: Request<'_>,
        received: Instant,
    ) {
        if request.id.is_some() {
            self.note_id();
        }

        let decision = decide(&request, &self.view(&request));
        if self.phase == Phase::Retiring && self.has_used_id && decision.is_work() {
            let end = Instant::now() + self.host.config.goaway_grace();
            self.timers.set(Timer::Phase, end);
        }

        match decision {
            Decision::Start => {
                self.set_deadline(&mut request, received);
                self.start(cx, request, received, false);
            }
            Decision::Wait => {
                self.set_deadline(&mut request, received);
                self.params_bytes += request.params.as_bytes().len();
                self.ordered
                    .push_back(Ordered::Call(request.into_owned(), received));
            }
            Decision::Control => self.control(&request),
            Decision::EndForId => self.end_for_id(&request, received),
            Decision::Refuse => self.refuse(&request, received),
            Decision::RefuseDraining => {
                let status =
                    Status::unavailable("the server is shutting down and did not run the call");
                self.turn_away(&request, received, &status.with_rejected());
            }
            Decision::Shed => self.shed(&request, received),
        }
    }

    /// What a decision about this request depends on.
    fn view(&self, request: &Request<'_>) -> View<'_> {
        View {
            gate: &self.door.gate,
            phase: self.phase,
            has_id_in_flight: request.id.is_some_and(|id| self.handle(id).is_some()),
            is_order_free: self.is_next_in_order(),
            is_full: self.server_is_full(),
        }
    }

    /// Notes that the peer uses ids. One that has not used any before was not told that the connection is to end: a
    /// client without ids would take that for a reply.
    fn note_id(&mut self) {
        if mem::replace(&mut self.has_used_id, true) {
            return;
        }

        match self.phase {
            Phase::Draining => self.say_goaway(SHUTTING_DOWN),
            Phase::Retiring => self.say_goaway(SERVED_LONG_ENOUGH),
            Phase::Open | Phase::Finishing | Phase::Lingering | Phase::Closed => {}
        }
    }

    fn end_for_id(&mut self, request: &Request<'_>, received: Instant) {
        let status = Status::invalid_argument(
            "this `id` is still in flight on this connection; each call needs its own",
        );
        if self.access_log.is_on() {
            self.log_turned_away(request, received, status.code());
        }

        self.verdict(None, &status);
        self.enter(Phase::Finishing, None);
    }

    /// Says that a call is not run because there are enough.
    fn shed(&mut self, request: &Request<'_>, received: Instant) {
        add(&self.host.metrics.limits.calls_shed, 1);
        self.spend_cheap();

        let config = &self.host.config;
        let status = if self.sheds_line {
            let (calls, bytes) = (config.in_flight_per_connection, config.connection_bytes_max);
            let message = if self.in_flight() < calls {
                format!("not run: streams take all room of `connection_bytes_max`, {bytes} bytes")
            } else {
                format!(
                    "not run: streams take all places of `in_flight_per_connection`, {calls} calls"
                )
            };
            Status::resource_exhausted(message)
                .with_rejected()
                .with_retry_after(config.shed_retry_after())
        } else {
            self.host.admission.refusal(config)
        };

        self.turn_away(request, received, &status);
    }

    pub(super) fn set_deadline(&self, request: &mut Request<'_>, received: Instant) {
        let handler_timeout = self.host.config.handler_timeout();
        let timeout = request
            .timeout
            .map_or(handler_timeout, |timeout| timeout.min(handler_timeout));
        request.scope.deadline = Some((received + timeout).into_std());
    }

    /// Carries out a built-in command that acts on the connection itself and has no reply.
    fn control(&mut self, request: &Request<'_>) {
        self.spend_cheap();

        if request.cmdid == CmdId::CANCEL {
            if let Some(id) = builtin::id_in(request) {
                self.cancel(id);
            }
        } else if let Some((id, items)) = builtin::credit_in(request) {
            self.give_credit(id, items);
        }
    }

    /// Whether a line has to wait for a place among the calls in flight: not one that ends a call or lets
    /// it go on, and not a ping, which asks whether there is still somebody.
    pub(super) fn needs_room(&self, line: &[u8]) -> bool {
        let may_pass = |request: Request<'_>| match request.cmdid {
            CmdId::CANCEL | CmdId::CREDIT => true,
            cmdid => cmdid.is_built_in() && (request.id.is_some() || self.is_next_in_order()),
        };
        !line.is_empty() && !Request::decode(line).is_ok_and(may_pass)
    }

    /// Whether a call without id may start at once.
    pub(super) fn is_next_in_order(&self) -> bool {
        !self.ordered_runs && self.ordered.is_empty()
    }
}
