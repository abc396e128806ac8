//! Calls under way, and their replies.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use rpc_core::frame::{Body, encode_failure, encode_item, encode_reply};
use rpc_core::scope::{LazyCancellation, Scope};
use rpc_core::{CmdId, Code, Outcome, Reply, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::access_log::trace_of;
use super::call::{Call, Credit, Place, StreamCall, StreamStep, Terms, is_late, too_long};
use super::{
    Connection, ENVELOPE_BYTES, Handle, Ordered, Parked, Phase, Room, STREAM_OUTPUT_BYTES,
};
use crate::dispatch::builtin;
use crate::layers::Fault;
use crate::metrics::add;

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Starts a call, and ends it at once where it is ready. `has_waited`: it stood in the order.
    pub(super) fn start(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<'_>,
        received: Instant,
        has_waited: bool,
    ) {
        let mut terms = Terms::of(&request, received, request.params.as_bytes().len());

        // A usual line, which does not come by here, has no metadata.
        if self.access_log.is_on() {
            terms.trace = trace_of(&request);
        }

        if request.cmdid.is_built_in() {
            terms.command = builtin::command(request.cmdid);
            self.spend_cheap();
            self.publish();
        }

        if has_waited {
            self.stats
                .shard()
                .waited_in_order
                .record(self.clock.saturating_duration_since(received), 1);
        }

        if request.cmdid == CmdId::AUTHENTICATE {
            self.authenticate(cx, &request, terms);
            return;
        }

        if let Some(outcome) = self.outcome_without_handler(&request) {
            // No handler was looked for; the call is one of this command all the same.
            terms.command = builtin::command_of(&self.host.routes, request.cmdid);
            self.end(&terms, outcome);
            return;
        }

        let cancellation = LazyCancellation::default();
        let future = self.call(request, &mut terms, &cancellation);
        self.poll_call(cx, &terms, future, cancellation);
    }

    /// Polls a call in place, and parks it where it is not ready.
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
                let terms = Terms {
                    started: self.clock,
                    ..*terms
                };

                let (abort, registration) = AbortHandle::new_pair();
                self.occupy(&terms, abort, None);
                let call = Call::new(terms, future, cancellation);
                self.park().calls.push(Abortable::new(call, registration));
            }
        }
    }

    /// The calls that no handler sees: built-in ones, and those that come too late.
    pub(super) fn outcome_without_handler(&self, request: &Request<'_>) -> Option<Outcome> {
        if is_late(request, self.clock) {
            add(&self.host.metrics.limits.calls_expired, 1);
            return Some(Err(Status::deadline_exceeded(
                "the time of the call was up before it could start; it did not run",
            )));
        }

        if request.cmdid.is_built_in() {
            let stats = self.stats.stats(self.in_flight());
            return Some(builtin::answer(
                request,
                &self.host.routes,
                &self.host.reporter,
                stats,
                &self.door.gate,
            ));
        }

        None
    }

    /// The handler's future, and what the call is counted as.
    pub(super) fn call<'a>(
        &'a self,
        mut request: Request<'a>,
        terms: &mut Terms,
        cancellation: &'a LazyCancellation,
    ) -> BoxFuture<'static, Outcome> {
        request.scope = Scope::new(&self.peer, request.scope.deadline, cancellation);
        let (service, command) = self.host.routes.find(request.cmdid);
        terms.command = command;
        service.call_boxed(request)
    }

    /// Notes that a call is not over: its id is taken, or its turn in the order.
    pub(super) fn occupy(
        &mut self,
        terms: &Terms,
        abort: AbortHandle,
        credit: Option<Arc<Credit>>,
    ) {
        self.stats.parked(terms.command);
        self.params_bytes += terms.params_bytes as usize;

        match terms.place {
            Place::Multiplexed(id) => {
                self.park().ids.insert(
                    id,
                    Handle {
                        abort,
                        terms: *terms,
                        credit,
                    },
                );
            }
            Place::Ordered => self.ordered_runs = true,
            Place::Unanswered => {}
        }
    }

    fn release_call(&mut self, terms: &Terms) {
        self.stats.unparked(terms.command);
        self.params_bytes -= terms.params_bytes as usize;
    }

    pub(super) fn park(&mut self) -> &mut Parked {
        self.parked.get_or_insert_default()
    }

    pub(super) fn take_handle(&mut self, id: u64) -> Option<Handle> {
        self.parked.as_mut()?.ids.remove(&id)
    }

    /// Notes that a call is over, and gives back what it has taken.
    pub(super) fn vacate(&mut self, terms: &Terms) {
        self.release_call(terms);
        match terms.place {
            Place::Multiplexed(id) => drop(self.take_handle(id)),
            Place::Ordered => self.ordered_runs = false,
            Place::Unanswered => {}
        }
    }

    /// Ends the calls that became ready.
    pub(super) fn end_calls(&mut self, cx: &mut Context<'_>) {
        let is_adaptive = self.host.admission.is_adaptive();

        while self.has(Room::InOutput) && self.phase != Phase::Closed {
            let Some(parked) = &mut self.parked else {
                return;
            };

            let Poll::Ready(Some(ended)) = parked.calls.poll_next_unpin(cx) else {
                return;
            };

            // One that was aborted was answered when it was cancelled.
            let Ok((terms, outcome)) = ended else {
                continue;
            };

            if is_adaptive {
                let now = Instant::now();
                self.host
                    .admission
                    .record(now.saturating_duration_since(terms.started), now);
            }

            self.vacate(&terms);
            self.end(&terms, outcome);

            // Replies that come together are no sign of a peer that does not read them.
            if !self.has(Room::InOutput) && self.poll_write(cx).is_err() {
                self.enter(Phase::Closed, None);
            }
        }
    }

    /// Starts what stands next in the order, until one is not ready at once or the peer must read first.
    pub(super) fn continue_ordered(&mut self, cx: &mut Context<'_>) {
        if self.ordered_runs || self.ordered.is_empty() {
            return;
        }

        while !self.ordered_runs && self.has(Room::InOutput) && self.phase != Phase::Closed {
            // The one before may have taken its time, in which the others' has passed.
            self.clock = Instant::now();

            match self.ordered.pop_front() {
                Some(Ordered::Line(line)) => self.output.extend_from_slice(&line),
                Some(Ordered::Call(request, received)) => {
                    self.params_bytes -= request.params.as_bytes().len();
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
    pub(super) fn end(&mut self, terms: &Terms, outcome: Outcome) {
        let id = terms.place.id();
        let limit = self.host.config.reply_bytes_max;

        let body = match outcome.map(Reply::into_body) {
            Ok(Body::Data(data)) if data.as_bytes().len() > limit => Err(too_long(&data, limit)),
            body => body,
        };

        let code = body.as_ref().map_or_else(Status::code, |_| Code::OK);
        let mut data_bytes = 0;
        match body {
            failed if terms.oneway => {
                if let Err(status) = failed {
                    self.count_fault(&status, terms);
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

                self.occupy(terms, abort, credit);
                self.park()
                    .streams
                    .push(Abortable::new(stream, registration));
                return;
            }

            Ok(Body::Data(data)) => {
                data_bytes = data.as_bytes().len();
                encode_reply(&mut self.output, id, Some(&data));
            }
            Ok(Body::Empty) => encode_reply(&mut self.output, id, None),
            Err(status) => {
                self.count_fault(&status, terms);
                encode_failure(&mut self.output, id, &status);
            }
        }

        if code == Code::UNIMPLEMENTED {
            self.spend_cheap();
        }

        self.stats.ended(terms.ended(), code, data_bytes);
        if self.access_log.is_on() {
            self.log_call(terms, code, data_bytes);
        }

        self.limit_output();
    }

    /// Counts what the server, not the handler, has against a call.
    fn count_fault(&self, status: &Status, terms: &Terms) {
        let limits = &self.host.metrics.limits;
        match Fault::behind(status) {
            Some(Fault::Panicked) => add(&limits.handler_panics, 1),
            // Otherwise it was the caller's own time.
            Some(Fault::TimeUp)
                if terms
                    .deadline()
                    .is_none_or(|deadline| deadline > Instant::now()) =>
            {
                tracing::warn!(peer = %self.peer, cmdid = %terms.cmdid, "a handler was dropped at `handler_timeout_ms`");
                add(&limits.handler_timeouts, 1);
            }
            Some(Fault::TimeUp) => {}
            Some(Fault::TooLong) => add(&limits.replies_too_long, 1),
            None => add(&limits.calls_rejected, u64::from(status.is_rejected())),
        }
    }

    /// Answers a call that is not started.
    pub(super) fn turn_away(&mut self, request: &Request<'_>, received: Instant, status: &Status) {
        if self.access_log.is_on() {
            self.log_turned_away(request, received, status.code());
        }

        if request.oneway || matches!(request.cmdid, CmdId::CANCEL | CmdId::CREDIT) {
            self.host.metrics.verdict(status.code());
        } else {
            self.verdict(request.id, status);
        }
    }

    /// A reply that no call stands behind. Without an id it takes its place in the order.
    pub(super) fn verdict(&mut self, id: Option<u64>, status: &Status) {
        if id.is_none() && !self.is_next_in_order() {
            let mut line = Vec::new();
            encode_failure(&mut line, None, status);
            self.ordered.push_back(Ordered::Line(line));
        } else {
            encode_failure(&mut self.output, id, status);
        }

        self.stats.replies += 1;
        self.host.metrics.verdict(status.code());
        self.limit_output();
    }

    /// Cuts a connection whose peer takes nothing.
    pub(super) fn limit_output(&mut self) {
        let limit = self.host.config.output_bytes_hard_max;
        if self.waiting_output() > limit.saturating_add(ENVELOPE_BYTES) {
            add(&self.host.metrics.limits.output_cuts, 1);
            tracing::warn!(peer = %self.peer, limit, "cut: more replies wait than `output_bytes_hard_max` allows");
            self.enter(Phase::Closed, None);
        }
    }

    pub(super) fn cancel(&mut self, id: u64) {
        if let Some(Handle { abort, terms, .. }) = self.take_handle(id) {
            abort.abort();
            self.release_call(&terms);
            self.end(
                &terms,
                Err(Status::cancelled("the caller cancelled the call")),
            );
        }
    }

    pub(super) fn give_credit(&mut self, id: u64, items: u64) {
        if let Some(Handle {
            credit: Some(credit),
            ..
        }) = self.handle(id)
        {
            credit.add(items);
        }
    }

    /// Sends the items of streams that are ready, while the peer keeps up.
    pub(super) fn send_items(&mut self, cx: &mut Context<'_>) {
        while self.waiting_output() < self.stream_output_max() {
            let Some(parked) = &mut self.parked else {
                return;
            };

            let Poll::Ready(Some((terms, step))) = parked.streams.poll_next_unpin(cx) else {
                return;
            };

            let end = match step {
                StreamStep::Item(item) => {
                    encode_item(&mut self.output, terms.place.id(), &item);
                    continue;
                }
                StreamStep::End(end) => end,
            };

            self.vacate(&terms);
            self.end(&terms, end.map(|()| Reply::empty()));
            self.continue_ordered(cx);
        }
    }

    /// How much output may wait before streams pause.
    pub(super) fn stream_output_max(&self) -> usize {
        STREAM_OUTPUT_BYTES.min(self.host.config.output_bytes_soft_max.div_ceil(2))
    }
}
