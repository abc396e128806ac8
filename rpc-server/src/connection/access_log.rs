//! The access log: an event for each call at its end, with the target `rpc_server::access`. Never params, data or tokens.

use rpc_core::trace::TraceParent;
use rpc_core::{Code, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::call::{Arrival, Terms, TraceId};
use super::session::Session;
use crate::config::PER_MILLION_MAX;
use crate::dispatch::builtin;
use crate::limit::Changeable;
use rpc_core::printable::Printable;

const TARGET: &str = "rpc_server::access";

/// Which calls are logged. A connection has its copy, renewed whenever it is polled, so that a call that is not
/// logged costs one look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccessLog {
    per_million: u32,
    has_all_failures: bool,
}

impl AccessLog {
    #[inline]
    pub(super) fn of(settings: &Changeable) -> Self {
        Self {
            per_million: settings.access_log_per_million(),
            has_all_failures: settings.access_log_failures(),
        }
    }

    pub(super) fn is_on(self) -> bool {
        self.per_million > 0
    }

    /// Whether a call that ended so is logged, at random if the settings ask for a sample.
    fn takes(self, code: Code) -> bool {
        self.per_million == PER_MILLION_MAX
            || self.has_all_failures && code != Code::OK
            || fastrand::u32(..PER_MILLION_MAX) < self.per_million
    }
}

/// The trace of a call, where it has a sound one.
pub(super) fn trace_of(request: &Request<'_>) -> Option<TraceId> {
    Some(TraceParent::of(request)?.trace_id().to_be_bytes())
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Logs a call that is over, if it is one of those that are logged.
    #[cold]
    pub(super) fn log_call(&self, terms: &Terms, code: Code, data_bytes: usize) {
        if self.access_log.takes(code) {
            self.write_access(terms, code, data_bytes);
        }
    }

    /// As [`log_call`](Self::log_call), for one that was answered without being started.
    #[cold]
    pub(super) fn log_turned_away(&self, request: &Request<'_>, arrival: Arrival, code: Code) {
        if self.access_log.takes(code) {
            let mut terms = Terms::of(request, arrival, 0);
            terms.trace = trace_of(request);
            self.write_access(&terms, code, 0);
        }
    }

    fn write_access(&self, terms: &Terms, code: Code, data_bytes: usize) {
        // Names are looked up here, and not kept with each call.
        let name = &self.host.metrics.commands
            [builtin::command_of(&self.host.routes, terms.cmdid).index()];

        // Without a cmdid of its own it stands for commands that there are not.
        let is_known = name.cmdid.is_some();

        let latency = Instant::now().saturating_duration_since(terms.received);
        let trace = terms.trace.map(u128::from_be_bytes);

        tracing::info!(
            target: TARGET,
            peer = %Printable(&self.peer.address),
            connection = self.peer.connection,
            connection_requests = self.stats.requests,
            identity = self.peer.identity().map(Printable).map(tracing::field::display),
            id = terms.place.id(),
            cmdid = terms.cmdid.number(),
            service = is_known.then_some(&*name.service),
            method = is_known.then_some(&*name.method),
            code = code.number(),
            latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            data_bytes,
            oneway = terms.oneway,
            trace = trace.map(|id| tracing::field::display(format!("{id:032x}"))),
            "call"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_it_is_said_to_be_and_failures_are_no_part_of_it() {
        fastrand::seed(7);
        let log = |per_million, has_all_failures| AccessLog {
            per_million,
            has_all_failures,
        };
        let taken = |log: AccessLog, code| (0..100_000).filter(|_| log.takes(code)).count();

        let tenth = taken(log(100_000, true), Code::OK);
        assert!((9_500..=10_500).contains(&tenth), "{tenth}");

        let tenth = taken(log(100_000, false), Code::INTERNAL);
        assert!((9_500..=10_500).contains(&tenth), "{tenth}");

        assert_eq!(taken(log(1, true), Code::INTERNAL), 100_000);
        assert_eq!(taken(log(PER_MILLION_MAX, false), Code::OK), 100_000);
    }
}
