//! Calls that end without their results: their callers have cancelled them, or their connection ends.

use rpc_core::Status;
use tokio::io::{AsyncRead, AsyncWrite};

use super::call::Terms;
use super::order::Ordered;
use super::session::Session;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Ends the call with this id, and answers it.
    pub(super) fn cancel(&mut self, id: u64) {
        if let Some(terms) = self.in_flight.abort(id) {
            self.stats.unparked(terms.command);
            self.end(
                &terms,
                Err(Status::cancelled("the caller cancelled the call")),
            );
        }
    }

    /// Ends a stream that cannot send its next item.
    pub(super) fn end_stream(&mut self, terms: &Terms, status: Status) {
        if let Some(terms) = self.in_flight.abort_at(terms.place) {
            self.stats.unparked(terms.command);
            self.end(&terms, Err(status));
        }
    }

    /// Ends the streams that go on behind their last item in a further call, which is made elsewhere. All others go
    /// on to their ends.
    pub(super) fn end_resumable_streams(&mut self) {
        let routes = &self.host.routes;
        let resumable = self
            .in_flight
            .abort_all(|terms| routes.is_resumable(terms.cmdid));
        for terms in resumable {
            self.stats.unparked(terms.command);
            let status = Status::unavailable(
                "this connection ends; call again from the last cursor, over another connection",
            );
            self.end(&terms, Err(status));
        }
    }

    /// Ends what a drain has no time for any more: callers are told, also those whose calls wait for their turn and
    /// have not run.
    pub(super) fn end_unfinished(&mut self) {
        let status = Status::unavailable(
            "the connection ends: the call was not done within `drain.timeout_ms`",
        );
        self.end_all_calls(&status);
    }

    /// Ends all calls with this status; those that wait for their turn have not run. Returns how many there were.
    pub(super) fn end_all_calls(&mut self, status: &Status) -> u64 {
        let mut ended = 0;
        for terms in self.in_flight.abort_all(|_| true) {
            self.stats.unparked(terms.command);
            self.end(&terms, Err(status.clone()));
            ended += 1;
        }

        while let Some(next) = self.in_flight.next_in_order() {
            match next {
                Ordered::Line(line) => self.output.buffer().extend_from_slice(&line),
                Ordered::Call(request, arrival) => {
                    let terms = self.terms_of(&request, arrival);
                    self.end(&terms, Err(status.clone().with_rejected()));
                    ended += 1;
                }
            }
        }

        ended
    }
}
