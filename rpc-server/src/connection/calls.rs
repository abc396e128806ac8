//! Calls under way: how they start, and how they end.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use rpc_core::scope::LazyCancellation;
use rpc_core::{BoxService, CmdId, Outcome, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::access_log::trace_of;
use super::call::{Arrival, Terms, is_late};
use super::lifecycle::Phase;
use super::order::Ordered;
use super::session::Session;
use crate::dispatch::builtin;
use crate::metrics::add;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Starts a call, and ends it at once where it is ready.
    pub(super) fn start(&mut self, cx: &mut Context<'_>, request: Request<'_>, arrival: Arrival) {
        let mut terms = Terms::of(&request, arrival, request.params.as_bytes().len());

        // A usual line, which does not come by here, has no metadata.
        if self.access_log.is_on() {
            terms.trace = trace_of(&request);
        }

        if !request.oneway && request.meta.asks_for_timing() {
            terms.time_from(Instant::now());
        }

        if request.cmdid.is_built_in() {
            terms.command = builtin::command(request.cmdid);
            self.spend_throttle();
            self.publish();
        }

        if request.cmdid == CmdId::AUTHENTICATE {
            self.authenticate(cx, &request, terms);
            return;
        }

        if let Some(outcome) = self.outcome_without_handler(&request) {
            if is_late(&request, self.clock.now()) && !request.cmdid.is_built_in() {
                self.spend_throttle();
            }

            // No handler was looked for; the call still counts as one of this command.
            terms.command = builtin::command_of(&self.host.routes, request.cmdid);
            self.end(&terms, outcome);
            return;
        }

        let cancellation = LazyCancellation::default();
        // It borrows what lives no longer than this function.
        let mut request = request;
        let handler = self.handler_of(&mut request, &mut terms, &cancellation);
        let future = handler.call_boxed(request);
        self.poll_call(cx, &terms, future, cancellation);
    }

    /// Polls a call in place, and parks it where it is not ready.
    #[inline]
    pub(super) fn poll_call(
        &mut self,
        cx: &mut Context<'_>,
        terms: &Terms,
        mut future: BoxFuture<'static, Outcome>,
        cancellation: LazyCancellation,
    ) {
        match future.as_mut().poll(cx) {
            Poll::Ready(outcome) => self.end(terms, outcome),
            Poll::Pending => {
                let mut terms = *terms;
                if !terms.is_timed {
                    terms.started = self.clock.now();
                }

                self.stats.parked(terms.command);
                self.in_flight
                    .add_call(&self.peer, terms, future, cancellation);
            }
        }
    }

    /// The calls that no handler sees: built-in ones, and those that come too late.
    fn outcome_without_handler(&self, request: &Request<'_>) -> Option<Outcome> {
        if is_late(request, self.clock.now()) {
            add(&self.host.metrics.limits.calls_expired, 1);
            return Some(Err(Status::deadline_exceeded(
                "the deadline of the call passed before it could start; it did not run",
            )));
        }

        if request.cmdid.is_built_in() {
            let stats = self
                .stats
                .stats(self.in_flight.len(), self.throttle.pauses());
            return Some(builtin::answer(
                request,
                &self.host.routes,
                &self.host.reporter,
                stats,
                self.auth.authorization(),
            ));
        }

        None
    }

    /// The handler of a request, which learns of its connection, and of what the call is counted as.
    // The request stays where it is: to copy it costs a call 30 instructions each time.
    #[inline]
    pub(super) fn handler_of<'a>(
        &'a self,
        request: &mut Request<'a>,
        terms: &mut Terms,
        cancellation: &'a LazyCancellation,
    ) -> &'a BoxService {
        request.scope.set_peer(&self.peer);
        request.scope.set_canceller(cancellation);

        let found = self.host.routes.find(request.cmdid);
        if found.keeps_line {
            request.scope.keep_line();
        }
        terms.command = found.command;
        found.service
    }

    /// Whether what was accepted is gone on with: there is room for it, and time in this turn.
    #[inline]
    pub(super) fn may_go_on(&self) -> bool {
        self.has_room_for_result()
            && !self.clock.is_share_used_up()
            && self.lifecycle.phase() != Phase::Closed
    }

    /// Counts what was done as a part of this turn; before it there was this much `output`, and these bytes were given
    /// back with it.
    #[inline]
    pub(super) fn count_step(&mut self, output: usize, given_back: usize) {
        let bytes = self.output.len().saturating_sub(output);
        self.clock.count_step(bytes + given_back, &self.host.crowd);
    }

    /// Ends the calls that became ready.
    #[inline]
    pub(super) fn end_calls(&mut self, cx: &mut Context<'_>) {
        while self.may_go_on() {
            let Poll::Ready(Some((terms, outcome))) = self.in_flight.poll_call(cx) else {
                return;
            };

            if self.host.admission.is_adaptive() {
                let now = Instant::now();
                self.host
                    .admission
                    .record(now.saturating_duration_since(terms.started), now);
            }

            self.vacate(&terms);
            let output = self.output.len();
            self.end(&terms, outcome);
            self.count_step(output, terms.line_bytes as usize);

            // Replies that come together are no sign of a peer that does not read them.
            if !self.has_room_for_result() {
                self.write_or_cut(cx);
            }
        }
    }

    /// Starts the next calls in the order, until one is not ready at once or the peer must read first.
    #[inline]
    pub(super) fn continue_ordered(&mut self, cx: &mut Context<'_>) {
        while self.may_go_on() {
            let Some(next) = self.in_flight.next_in_order() else {
                return;
            };

            match next {
                Ordered::Line(line) => self.output.buffer().extend_from_slice(&line),
                Ordered::Call(request, arrival) => {
                    // The one before may have taken its time, in which the others' has passed.
                    let waited = self
                        .clock
                        .look()
                        .saturating_duration_since(arrival.received);
                    self.stats.shard().waited_in_order.record(waited, 1);
                    self.clock.begin_share(&self.host.crowd);
                    self.start_in_turn(cx, *request, arrival);
                }
            }

            if !self.has_room_for_result() {
                self.write_or_cut(cx);
            }
        }
    }

    /// Starts a call whose turn in the order has come, unless its caller has lost the right to it.
    fn start_in_turn(&mut self, cx: &mut Context<'_>, request: Request<'_>, arrival: Arrival) {
        let authorization = self.auth.authorization();
        if authorization.allows(request.cmdid) {
            return self.start(cx, request, arrival);
        }

        let refusal = authorization.refusal(&self.peer, request.cmdid);
        let terms = self.terms_of(&request, arrival);
        self.end(&terms, Err(refusal));
    }

    /// The terms of a call that does not reach its handler.
    pub(super) fn terms_of(&self, request: &Request<'_>, arrival: Arrival) -> Terms {
        let mut terms = Terms::of(request, arrival, request.params.as_bytes().len());
        terms.command = builtin::command_of(&self.host.routes, request.cmdid);
        terms
    }
}
