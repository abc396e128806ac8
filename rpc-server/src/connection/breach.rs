//! Lines that break the protocol: what their peer is told, and what they end.

use rpc_core::frame::{BadFrame, BadFrameKind, id_of_part};
use rpc_core::{Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};

use super::call::Arrival;
use super::lifecycle::Phase;
use super::session::Session;
use super::sniff;
use crate::metrics::add;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn bad_line(&mut self, line: &[u8], bad: &BadFrame) {
        self.stats.bad_frame();

        if !self.lifecycle.has_spoken() && sniff::is_http(line) {
            tracing::warn!(peer = %self.peer, "an HTTP request on an RPC port; refused and closed");
            self.output.buffer().extend_from_slice(sniff::HTTP_REFUSAL);
            self.enter(Phase::Finishing, None);
            return;
        }

        tracing::debug!(peer = %self.peer, fault = %bad, "bad frame");
        self.verdict(bad.id, &Status::invalid_argument(bad.message.clone()));
        if bad.kind == BadFrameKind::Id {
            return;
        }

        let most = self.host.config.bad_frames_in_a_row_max;
        if let Some(in_a_row) = self.lifecycle.note_bad_line(most) {
            add(&self.host.metrics.limits.bad_frame_closures, 1);
            tracing::info!(peer = %self.peer, in_a_row, "closed after bad frames");
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

    pub(super) fn end_for_id(&mut self, request: &Request<'_>, arrival: Arrival) {
        let status = Status::invalid_argument(
            "this `id` is still in flight on this connection; each call needs its own",
        );
        if self.access_log.is_on() {
            self.log_turned_away(request, arrival, status.code());
        }

        self.verdict(None, &status);
        self.enter(Phase::Finishing, None);
    }
}
