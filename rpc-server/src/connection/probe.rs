//! A look for the peer of a connection that is not read from: it may be gone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::lifecycle::Phase;
use super::session::Session;
use super::timers::Timer;

/// Time between two looks for a peer that is not read from.
pub(super) const PROBE_PAUSE: Duration = Duration::from_secs(1);

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Has the peer looked for in a while, as it is not read from now: a connection that is full, or paused, waits for
    /// nothing that its socket has to say.
    pub(super) fn look_for_peer_later(&mut self) {
        self.timers
            .set_once(Timer::Probe, || Instant::now() + PROBE_PAUSE);
    }

    /// Looks whether a peer that is not read from is still there: a reset says that it is not, and then its calls end.
    pub(super) fn look_for_peer(&mut self, cx: &mut Context<'_>) {
        let looked = match self.lifecycle.phase() {
            Phase::Finishing => {
                // A connection that takes no more requests does not begin to read again.
                self.look_for_peer_later();
                self.look_for_reset(cx).and_then(|()| self.drop_input(cx))
            }
            Phase::Open | Phase::Retiring | Phase::Draining | Phase::Breached => {
                self.look_for_reset(cx)
            }
            Phase::Lingering | Phase::Closed => return,
        };

        if let Err(error) = looked {
            let in_flight = self.in_flight.len();
            self.host.log.lost_peers.write(|| {
                tracing::debug!(peer = %self.peer, %error, in_flight, "the peer is gone; its calls end");
            });
            self.enter(Phase::Closed, None);
            return;
        }

        self.send_heartbeat();
    }

    /// Sends an empty line to a peer that waits for replies. One that is gone looks the same, until something is sent to
    /// it: then its system answers with a reset. A peer without ids may know nothing of empty lines.
    fn send_heartbeat(&mut self) {
        let waits = self.in_flight.len() > 0 && self.output.is_done();
        if waits && self.lifecycle.has_used_id() {
            self.output.buffer().push(b'\n');
        }
    }

    /// Asks the socket for a reset, whatever there is to read of it. A plain stream says that when it is to write nothing.
    /// TLS does not ask it then, but hands a flush on.
    fn look_for_reset(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.io).poll_write(cx, &[]) {
            return Err(error);
        }

        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}
