//! Replies: what a call leaves in the output, and what is counted of it.

use rpc_core::frame::{Body, encode_failure, encode_reply, encode_timing};
use rpc_core::{Code, Outcome, Reply, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::call::{Arrival, Terms, too_long};
use super::credit::Credit;
use super::lifecycle::Phase;
use super::order::Ordered;
use super::output::ENVELOPE_BYTES;
use super::session::Session;
use super::stream::StreamRules;
use crate::layers::Fault;
use crate::limit::Holder;
use crate::metrics::add;

/// Results below this are always affordable: to refuse one takes as much.
const SMALL_RESULT_BYTES: usize = 4 * 1024;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Sends the reply of a call that is over, or begins to send its stream.
    pub(super) fn end(&mut self, terms: &Terms, outcome: Outcome) {
        let id = terms.place.id();
        let limit = self.host.config.limits.reply_bytes_max;

        let body = match outcome.map(Reply::into_body) {
            Ok(Body::Data(data)) if data.as_bytes().len() > limit => Err(too_long(&data, limit)),
            Ok(Body::Data(data)) => self
                .afford(data.as_bytes().len())
                .map(|()| Body::Data(data)),
            body => body,
        };

        let code = body.as_ref().map_or_else(Status::code, |_| Code::OK);
        let mut data_bytes = 0;
        match body {
            failed if terms.oneway => {
                if let Err(status) = failed {
                    self.count_fault(&status, terms);
                    self.host.log.oneway_failures.write(|| {
                        tracing::info!(peer = %self.peer, cmdid = %terms.cmdid, code = code.number(), "a oneway call failed");
                    });
                }
            }

            Ok(Body::Stream(items)) => {
                let credit = terms.credit.map(Credit::new);
                if let (Phase::Finishing, Some(credit)) = (self.lifecycle.phase(), &credit) {
                    credit.close();
                }

                self.stats.parked(terms.command);
                let rules = StreamRules {
                    item_bytes_max: limit,
                    calls_bytes_max: self.calls_bytes_max(),
                    beginnings: self.policy.beginnings,
                };
                self.in_flight
                    .add_stream(&self.peer, *terms, items, credit, rules);
                return;
            }

            Ok(Body::Data(data)) => {
                data_bytes = data.as_bytes().len();
                self.output.make_room_for(data_bytes);
                encode_reply(self.output.buffer(), id, Some(&data));
            }
            Ok(Body::Empty) => encode_reply(self.output.buffer(), id, None),
            Err(status) => {
                self.count_fault(&status, terms);
                encode_failure(self.output.buffer(), id, &status);
            }
        }

        if terms.is_timed {
            encode_timing(self.output.buffer(), terms.timing(Instant::now()));
        }

        // What they ask for is not done, and to say so costs the peer next to nothing.
        if matches!(code, Code::UNIMPLEMENTED | Code::INVALID_ARGUMENT) {
            self.spend_throttle();
        }

        self.stats.ended(terms.ended(), code, data_bytes);
        if self.access_log.is_on() {
            self.log_call(terms, code, data_bytes);
        }

        self.limit_output();
    }

    /// Refuses a result that all connections together have no memory for.
    #[inline]
    pub(super) fn afford(&self, bytes: usize) -> Result<(), Status> {
        if bytes < SMALL_RESULT_BYTES || self.budget.is_enough() {
            return Ok(());
        }

        let holder = Holder::of(self.held_bytes(), self.budget.bytes_max());
        if self.host.memory.has_room_for(bytes, holder) {
            return Ok(());
        }

        add(&self.host.metrics.limits.memory_sheds, 1);
        Err(self.host.memory.refusal())
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
                self.host.log.handler_timeouts.write(|| {
                    tracing::warn!(peer = %self.peer, cmdid = %terms.cmdid, "a handler was dropped at `timeouts.handler_timeout_ms`");
                });
                add(&limits.handler_timeouts, 1);
            }
            Some(Fault::TimeUp) => {}
            Some(Fault::TooLong) => add(&limits.replies_too_long, 1),
            None => add(&limits.calls_rejected, u64::from(status.is_rejected())),
        }
    }

    /// Answers a call that is not started.
    pub(super) fn turn_away(&mut self, request: &Request<'_>, arrival: Arrival, status: &Status) {
        if self.access_log.is_on() {
            self.log_turned_away(request, arrival, status.code());
        }

        if request.oneway || request.cmdid.is_control() {
            self.host.metrics.verdict(status.code());
        } else {
            self.verdict(request.id, status);
        }
    }

    /// A reply that does not belong to a call. Without an id it takes its place in the order.
    pub(super) fn verdict(&mut self, id: Option<u64>, status: &Status) {
        if id.is_none() && !self.in_flight.is_next_in_order() {
            let mut line = Vec::new();
            encode_failure(&mut line, None, status);
            self.in_flight.wait_in_order(Ordered::Line(line));
        } else {
            encode_failure(self.output.buffer(), id, status);
        }

        self.stats.replies += 1;
        self.host.metrics.verdict(status.code());
        self.limit_output();
    }

    /// Cuts a connection whose peer takes nothing.
    #[inline]
    fn limit_output(&mut self) {
        let limit = self.host.config.limits.output_bytes_hard_max;
        if self.output.waiting() > limit.saturating_add(ENVELOPE_BYTES) {
            add(&self.host.metrics.limits.output_cuts, 1);
            self.host.log.output_cuts.write(|| {
                tracing::warn!(peer = %self.peer, limit, "cut: more replies wait than `limits.output_bytes_hard_max` allows");
            });
            self.enter(Phase::Closed, None);
        }
    }
}
