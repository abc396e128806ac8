//! The room of a connection: whether it may read on, start a call, or build a result.

use tokio::io::{AsyncRead, AsyncWrite};

use super::back_pressure::{BackPressure, Headroom};
use super::session::Session;

/// Output that waits before streams pause. Well below `limits.output_bytes_soft_max`, at which reading stops:
/// a stream that could fill the output to there would keep the server from reading its cancel.
const STREAM_OUTPUT_BYTES: usize = 64 * 1024;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Replies that wait, calls in flight and the bytes of both are bounded. One call always has room, so that a
    /// connection never waits for itself.
    #[inline]
    pub(super) fn has_room(&self, room: BackPressure) -> bool {
        let has_output = || self.output.waiting() < self.host.config.limits.output_bytes_soft_max;

        match room {
            BackPressure::Yield => true,
            BackPressure::Output => has_output(),
            BackPressure::Calls => has_output() && self.has_place(),
            BackPressure::Order => {
                has_output()
                    && (self.has_place() || self.is_held_by_streams() && self.has_room_in_order())
            }
        }
    }

    /// Whether a call may be added to those in flight.
    #[inline]
    pub(super) fn has_place(&self) -> bool {
        let in_flight = self.in_flight.len();
        in_flight == 0
            || in_flight < self.host.config.admission.in_flight_per_connection
                && self.held_bytes() < self.budget.bytes_max()
    }

    /// Whether a further line may take its place in the order of a connection that is full.
    fn has_room_in_order(&self) -> bool {
        self.in_flight.waiting() < self.host.config.admission.in_flight_per_connection
            && self.held_bytes() < self.budget.bytes_max()
    }

    /// Whether the socket is read: where memory is scarce, a connection above its share is read no further than to the
    /// cancels and credits that its calls may wait for.
    #[inline]
    pub(super) fn reads_on(&self) -> bool {
        !self.throttle.is_paused()
            && self.has_room(BackPressure::Output)
            && self.read_bytes_max() > 0
    }

    /// What there is room for now.
    #[inline]
    pub(super) fn room(&self) -> Headroom {
        Headroom {
            in_output: self.has_room(BackPressure::Output),
            for_result: self.has_room_for_result(),
            for_items: self.output.waiting() < self.stream_output_max(),
        }
    }

    /// Whether what was accepted may be finished: replies that wait, and all bytes that the connection holds, are
    /// below their limits. Where nothing waits to be written one result has room in any case, so that calls never
    /// block their own results.
    #[inline]
    pub(super) fn has_room_for_result(&self) -> bool {
        let waiting = self.output.waiting();
        waiting == 0
            || waiting < self.host.config.limits.output_bytes_soft_max
                && self.held_bytes() < self.budget.bytes_max()
    }

    /// How much output may wait before streams pause.
    #[inline]
    pub(super) fn stream_output_max(&self) -> usize {
        STREAM_OUTPUT_BYTES.min(self.host.config.limits.output_bytes_soft_max.div_ceil(2))
    }

    /// Whether a full connection waits for nothing but streams, which need not end by themselves.
    pub(super) fn is_held_by_streams(&self) -> bool {
        self.has_room(BackPressure::Output) && self.in_flight.is_held_by_streams()
    }
}
