//! Lines that break the protocol: what their peer is told, and what they end.

use rpc_core::frame::{BadFrame, BadFrameKind, id_of_part};
use rpc_core::{Request, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::call::Arrival;
use super::lifecycle::{BREACHED, Phase};
use super::session::Session;
use super::sniff;
use super::timers::Timer;
use crate::metrics::add;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Answers a line that is not a request. Enough of them in a row, or one as the first line, end the connection.
    pub(super) fn bad_line(&mut self, line: &[u8], bad: &BadFrame) {
        self.stats.bad_frame();
        self.spend_throttle();
        if self.lifecycle.phase() == Phase::Breached {
            return;
        }

        if !self.lifecycle.has_spoken() && sniff::is_http(line) {
            self.host.log.http_requests.write(|| {
                tracing::warn!(peer = %self.peer, "an HTTP request on an RPC port; refused and closed");
            });
            self.output.buffer().extend_from_slice(sniff::HTTP_REFUSAL);
            self.enter(Phase::Finishing, None);
            return;
        }

        if !self.lifecycle.has_spoken()
            && let Some(version) = sniff::proxy_header(line)
        {
            return self.refuse_proxy_header(version);
        }

        self.host
            .log
            .bad_frames
            .write(|| tracing::debug!(peer = %self.peer, fault = %bad, "bad frame"));
        self.verdict(bad.id, &Status::invalid_argument(bad.message.clone()));
        if bad.kind != BadFrameKind::Id {
            self.count_bad_line();
        }
    }

    /// Ends a connection that begins with a header of the PROXY protocol.
    fn refuse_proxy_header(&mut self, version: &str) {
        self.host.log.proxy_headers.write(|| {
            tracing::warn!(
                peer = %self.peer, version,
                "a header of the PROXY protocol, which this server does not support; closed: turn the header off in \
                 the load balancer"
            );
        });

        let message = format!(
            "this is a header of the PROXY protocol, version {version}, which this server does not support; turn the \
             header off in the load balancer (nginx: `proxy_protocol off`, HAProxy: no `send-proxy`)"
        );
        self.verdict(None, &Status::invalid_argument(message));
        self.count_bad_line();
    }

    /// Answers a line over the limit, of which this is the start. The rest of it is skipped.
    pub(super) fn too_long(&mut self, start: &[u8]) {
        self.stats.bad_frame();
        add(&self.host.metrics.limits.frames_too_long, 1);
        if self.lifecycle.phase() == Phase::Breached {
            return;
        }

        let limit = self.host.config.limits.frame_bytes_max;
        self.host.log.bad_frames.write(|| {
            tracing::debug!(peer = %self.peer, limit, "a frame over the limit is skipped");
        });

        let message = format!(
            "the frame is longer than the limit `limits.frame_bytes_max` of {limit} bytes, and was skipped"
        );
        self.verdict(id_of_part(start), &Status::resource_exhausted(message));
        self.count_bad_line();
    }

    fn count_bad_line(&mut self) {
        let most = self.host.config.throttle.bad_frames_in_a_row_max;
        if let Some(in_a_row) = self.lifecycle.note_bad_line(most) {
            add(&self.host.metrics.limits.bad_frame_closures, 1);
            self.host
                .log
                .bad_frame_closures
                .write(|| tracing::info!(peer = %self.peer, in_a_row, "closed after bad frames"));
            self.breach();
        }
    }

    /// Ends a connection where an id stands for two calls in flight: no reply could say which one it is for.
    pub(super) fn end_for_id(&mut self, request: &Request<'_>, arrival: Arrival) {
        if self.lifecycle.phase() == Phase::Breached {
            return;
        }

        let status = Status::invalid_argument(
            "this `id` is still in flight on this connection; each call needs its own",
        );
        if self.access_log.is_on() {
            self.log_turned_away(request, arrival, status.code());
        }

        self.verdict(None, &status);
        self.breach();
    }

    /// Ends a connection whose peer has broken the protocol. Where calls are in flight, others may share it: they
    /// are told to go elsewhere, and what they have sent in the meantime is rejected instead of left unread.
    pub(super) fn breach(&mut self) {
        let phase = self.lifecycle.phase();
        if self.in_flight.len() == 0 || !phase.takes_requests() {
            self.enter(Phase::Finishing, None);
            return;
        }

        if phase == Phase::Open {
            self.say_goaway(BREACHED);
        }

        let config = &self.host.config;
        let (grace, limit) = (config.drain.goaway_grace(), config.drain.timeout());
        self.timers.set(Timer::Retire, Instant::now() + limit);
        self.enter(Phase::Breached, Some(grace));
    }
}
