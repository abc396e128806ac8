//! From a line to a call: what it asks for, and whether it may start.

use std::task::Context;

use rpc_core::frame::{encode_notice, fast};
use rpc_core::scope::LazyCancellation;
use rpc_core::{CmdId, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};

use super::admission::{Decision, decide};
use super::call::{Arrival, Terms, is_late};
use super::lifecycle::{FirstId, Phase};
use super::order::Ordered;
use super::session::Session;
use super::timers::Timer;
use crate::dispatch::builtin;
use crate::limit::Full;
use crate::metrics::add;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    #[inline]
    pub(super) fn line(&mut self, cx: &mut Context<'_>, line: &[u8], arrival: Arrival) {
        if self.fast_line(cx, line, arrival) {
            return;
        }

        match Request::decode(line) {
            Ok(mut request) => {
                self.count_good_line();
                request.scope.set_line(line);
                self.carry_out(cx, request, arrival);
            }
            Err(bad) => self.bad_line(line, &bad),
        }
    }

    /// The short way of a line that looks usual, to a call that may start at once: the handler's
    /// decoding of the params is what checks them. False where the line needs the long way.
    fn fast_line(&mut self, cx: &mut Context<'_>, line: &[u8], arrival: Arrival) -> bool {
        if self.lifecycle.phase() != Phase::Open {
            return false;
        }

        let last_header = self.last_header.get_or_insert_default();
        let Some(usual) = fast::Request::read_after(last_header, line) else {
            return false;
        };

        let mut request = usual.request();
        request.scope.set_line(line);
        if request.cmdid.is_built_in() || decide(&request, &self.view(&request)) != Decision::Start
        {
            return false;
        }

        self.set_deadline(&mut request, arrival);
        if is_late(&request, self.clock.now()) {
            return false;
        }

        let mut terms = Terms::of(&request, arrival, usual.params_bytes());
        let cancellation = LazyCancellation::default();
        let has_id = request.id.is_some();
        let handler = self.handler_of(&mut request, &mut terms, &cancellation);
        let future = handler.call_boxed(request);
        if !usual.is_sound() {
            return false;
        }

        if has_id {
            self.note_id();
        }
        self.count_good_line();
        self.poll_call(cx, &terms, future, cancellation);
        true
    }

    #[inline]
    fn count_good_line(&mut self) {
        self.lifecycle.note_good_line();
        self.stats.requests += 1;
        if self.lifecycle.phase() == Phase::Breached {
            let end = self.clock.now() + self.host.config.drain.goaway_grace();
            self.timers.set(Timer::Phase, end);
        }
    }

    /// Decides about a request, and carries out the decision.
    fn carry_out(&mut self, cx: &mut Context<'_>, mut request: Request<'_>, arrival: Arrival) {
        if request.id.is_some() {
            self.note_id();
        }

        let decision = decide(&request, &self.view(&request));
        if self.lifecycle.phase() == Phase::Retiring
            && self.lifecycle.has_used_id()
            && decision.is_work()
        {
            let end = self.clock.now() + self.retirement_grace();
            self.timers.set(Timer::Phase, end);
        }

        match decision {
            Decision::Start => {
                self.set_deadline(&mut request, arrival);
                self.start(cx, request, arrival);
            }
            Decision::Wait => {
                self.set_deadline(&mut request, arrival);
                let request = self.to_wait(request);
                self.in_flight
                    .wait_in_order(Ordered::Call(Box::new(request), arrival));
            }
            Decision::Control => self.control(&request),
            Decision::EndForId => self.end_for_id(&request, arrival),
            Decision::Refuse => self.refuse(&request, arrival),
            Decision::Reject => {
                let status = match self.lifecycle.phase() {
                    Phase::Breached => {
                        "this connection ends, because a peer on it has broken the protocol"
                    }
                    _ => "the server is shutting down",
                };
                let status = Status::unavailable(format!("{status}; the call did not run"));
                self.turn_away(&request, arrival, &status.with_rejected());
            }
            Decision::Shed => self.shed(&request, arrival),
        }
    }

    /// The request of a call that waits for its turn, free of the input. Its line stays with it where it is wanted, and
    /// counts with the peer.
    fn to_wait<'a>(&'a self, mut request: Request<'a>) -> Request<'static> {
        if self.host.routes.find(request.cmdid).keeps_line {
            request.scope.keep_line();
            request.scope.set_peer(&self.peer);
        }
        request.into_owned()
    }

    /// Notes that the peer uses ids, and tells it what it could not be told before.
    #[inline]
    fn note_id(&mut self) {
        if let FirstId::IsToHear(message) = self.lifecycle.note_id() {
            self.say_goaway(message);
        }
    }

    /// A client that uses no ids would take the notice for a reply.
    pub(super) fn say_goaway(&mut self, message: &str) {
        if self.lifecycle.has_used_id() {
            encode_notice(self.output.buffer(), "goaway", message);
        }
    }

    /// Says that a call is not run because there are enough.
    fn shed(&mut self, request: &Request<'_>, arrival: Arrival) {
        add(&self.host.metrics.limits.calls_shed, 1);
        self.spend_throttle();

        let config = &self.host.config;
        let status = if self.sheds_line {
            let (calls, bytes) = (
                config.admission.in_flight_per_connection,
                config.limits.connection_bytes_max,
            );
            let message = if self.in_flight.len() < calls {
                format!("not run: streams take all of `limits.connection_bytes_max`, {bytes} bytes")
            } else {
                format!(
                    "not run: streams take all places of `admission.in_flight_per_connection`, {calls} calls"
                )
            };
            Status::resource_exhausted(message)
                .with_rejected()
                .with_retry_after(config.admission.retry_after())
        } else if self.call_count.full(self.in_flight.calls()) == Some(Full::OfPeer) {
            let limit = config.admission.in_flight_per_peer;
            Status::resource_exhausted(format!(
                "this peer has {limit} calls in flight, the maximum (`admission.in_flight_per_peer`); this call did not run"
            ))
            .with_rejected()
            .with_retry_after(config.admission.retry_after())
        } else {
            self.host.admission.refusal(config)
        };

        self.turn_away(request, arrival, &status);
    }

    #[inline]
    fn set_deadline(&self, request: &mut Request<'_>, arrival: Arrival) {
        let handler_timeout = self.host.config.timeouts.handler_timeout();
        let timeout = request
            .timeout
            .map_or(handler_timeout, |timeout| timeout.min(handler_timeout));
        request.scope.deadline = Some((arrival.received + timeout).into_std());
    }

    /// Carries out a built-in command that acts on the connection itself and has no reply.
    fn control(&mut self, request: &Request<'_>) {
        match request.cmdid {
            CmdId::CANCEL => {
                self.spend_throttle();
                if let Some(id) = builtin::id_in(request) {
                    self.cancel(id);
                }
            }
            CmdId::CREDIT => {
                self.spend_credit();
                if let Some(credit) = builtin::credit_in(request) {
                    self.in_flight.give_credit(credit.id, credit.n);
                }
            }
            _ => self.spend_throttle(),
        }
    }
}
