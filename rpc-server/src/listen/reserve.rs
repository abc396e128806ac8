//! A connection over a limit that may still ask for pages and call built-in commands.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::refusal::{Refusal, Refusals};
use crate::limit::Seat;
use crate::linger;

/// Time for all that a connection asks: long enough for a page over a slow line, short enough for the next one.
const TIME: Duration = Duration::from_secs(2);

/// What a connection at the reserve has, and what it is told where it asks for anything else.
pub(crate) struct Reserved {
    pub(crate) seat: Seat,
    /// For all that it asks.
    pub(crate) time: Duration,
    /// For its peer to read the last of it.
    linger: Duration,
    refusal: Refusal,
    refusals: Arc<Refusals>,
}

impl Reserved {
    pub(super) fn new(seat: Seat, refusal: Refusal, refusals: Arc<Refusals>) -> Self {
        Self {
            seat,
            time: TIME,
            linger: refusals.linger(),
            refusal,
            refusals,
        }
    }

    /// With other times than usual.
    pub(super) fn within(self, time: Duration, linger: Duration) -> Self {
        Self {
            time,
            linger,
            ..self
        }
    }

    /// Closes a connection that was served.
    pub(crate) async fn close<IO>(self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.refusals.note_served();
        linger::close(io, self.linger).await;
    }

    /// Tells a connection why it is not served; where too many are being told, it is closed without a word.
    pub(crate) async fn refuse<IO>(self, io: IO, peer: &str, words: fn(Refusal) -> Vec<u8>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            seat,
            linger,
            refusal,
            refusals,
            ..
        } = self;

        let turn = refusals.refuse(peer, refusal);
        drop(seat);
        if turn.is_some() {
            linger::send_last_line(io, &words(refusal), linger).await;
        }
    }

    /// Closes a connection that cannot be told why it is not served.
    #[cfg(feature = "tls")]
    pub(crate) fn refuse_unsaid(self, peer: &str) {
        self.refusals.refuse_unsaid(peer, self.refusal);
    }
}
