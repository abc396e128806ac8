//! The closing of a connection: gracefully if there is time, then as in a drain, then by force.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::lifecycle::{Phase, SHUTTING_DOWN};
use super::probe::PROBE_PAUSE;
use super::session::Session;
use super::timers::Timer;

/// What has become of what the peer has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Neither the socket nor the input has anything to execute.
    Executed,
    /// Some of it waits.
    Waiting,
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Enters a phase, for so long at most.
    pub(super) fn enter(&mut self, phase: Phase, limit: Option<Duration>) {
        if !self.lifecycle.enter(phase) {
            return;
        }

        if !phase.takes_requests() {
            self.timers.stop(Timer::Line);
        }
        if phase == Phase::Finishing {
            self.in_flight.close_credits();
            self.timers.set(Timer::Probe, Instant::now() + PROBE_PAUSE);
        }

        match limit {
            Some(limit) => self.timers.set(Timer::Phase, Instant::now() + limit),
            None => self.timers.stop(Timer::Phase),
        }
    }

    /// Reads once, for the end of the stream; what comes is too late to be executed.
    pub(super) fn drop_input(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.lifecycle.has_peer_ended() {
            return Ok(());
        }

        let mut bytes = [0; 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => return Ok(()),
        }
        if buffer.filled().is_empty() {
            self.lifecycle.peer_has_ended();
        }

        Ok(())
    }

    /// Takes the next step on the way out, once everything is done that comes before it. Returns whether it was
    /// taken: then the turn begins anew.
    pub(super) fn advance_closing(
        &mut self,
        cx: &mut Context<'_>,
        received: Received,
    ) -> io::Result<bool> {
        let has_read_all = received == Received::Executed;
        let is_time_up = !self.timers.is_set(Timer::Phase);

        match self.lifecycle.phase() {
            // The time in which requests may still be on their way is over, and all that came is read.
            // A peer that floods is not waited for.
            Phase::Draining if has_read_all && is_time_up && self.is_idle() => {
                self.enter(Phase::Finishing, None);
                Ok(true)
            }

            Phase::Retiring
                if has_read_all && is_time_up && !self.throttle.is_paused() && self.is_idle() =>
            {
                self.enter(Phase::Finishing, None);
                Ok(true)
            }

            // What is in flight is answered; the peers that share the connection have had time to hear that it ends.
            Phase::Breached if has_read_all && is_time_up => {
                self.enter(Phase::Finishing, None);
                Ok(true)
            }

            Phase::Finishing if self.is_idle() => self.say_goodbye(cx),

            Phase::Open
            | Phase::Retiring
            | Phase::Draining
            | Phase::Breached
            | Phase::Finishing
            | Phase::Lingering
            | Phase::Closed => Ok(false),
        }
    }

    /// Ends this side of the stream. Returns whether that is done.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let limit = self.host.config.timeouts.linger_timeout();
        if Pin::new(&mut self.io).poll_shutdown(cx)?.is_pending() {
            // A stream that still has to say goodbye, as TLS does, may have a peer that does not listen.
            self.timers
                .set_once(Timer::Phase, || Instant::now() + limit);
            return Ok(false);
        }

        // With nothing of the peer's unread, closing takes nothing back.
        if self.lifecycle.has_peer_ended() {
            self.enter(Phase::Closed, None);
            return Ok(true);
        }

        self.enter(Phase::Lingering, Some(limit));
        let limit = self.host.config.timeouts.frame_timeout();
        self.timers.set(Timer::Line, Instant::now() + limit);
        Ok(true)
    }

    /// Gives a peer that still sends, as the rest of a line that was refused, its time anew: to close now would take back
    /// what it has not read. In all it has the time of a line.
    pub(super) fn linger_on(&mut self) {
        if self.lifecycle.phase() == Phase::Lingering && self.timers.is_set(Timer::Line) {
            let limit = self.host.config.timeouts.linger_timeout();
            self.timers.set(Timer::Phase, Instant::now() + limit);
        }
    }

    /// The server drains. Does nothing where the connection is on its way out already.
    pub(super) fn drain(&mut self) {
        let phase = self.lifecycle.phase();
        if phase == Phase::Open {
            self.say_goaway(SHUTTING_DOWN);
        }

        if matches!(phase, Phase::Open | Phase::Retiring) {
            self.timers.stop(Timer::Retire);
            self.enter(Phase::Draining, Some(self.host.config.drain.goaway_grace()));
            self.end_resumable_streams();
        }

        match phase {
            // Its peer hears of no goaway, and goes on elsewhere once they end.
            Phase::Finishing => self.end_resumable_streams(),
            // A peer that goes on sending does not hold up the end.
            Phase::Lingering => self.timers.stop(Timer::Line),
            Phase::Open | Phase::Retiring | Phase::Draining | Phase::Breached | Phase::Closed => {}
        }
    }

    /// The last turn of a connection that the server cuts: its callers are told as far as the socket takes it now.
    pub(super) fn cut(&mut self, cx: &mut Context<'_>) {
        self.end_unfinished();
        self.publish();

        if self.poll_write(cx).is_ok() && self.output.is_done() {
            // With nothing of the peer's unread, closing takes nothing back.
            let _ = self.drop_input(cx);
            let _ = Pin::new(&mut self.io).poll_shutdown(cx);
        }
    }
}
