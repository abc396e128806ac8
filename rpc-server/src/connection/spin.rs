//! Connections that stay awake: for a request that is about to come, or to be polled again soon.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Stays awake for a request that is about to come, where the operator wants that. False where it
    /// may sleep.
    pub(super) fn spin(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.session.host.config.timeouts.spin_us;
        if limit == 0 {
            return false;
        }

        // The real clock: one that is paused would never let it end.
        let since = *self
            .spinning_since
            .get_or_insert_with(std::time::Instant::now);
        let is_awake = since.elapsed() < Duration::from_micros(limit);
        if is_awake {
            come_back(cx);
        }

        is_awake
    }
}

/// Has the task polled again, once its runtime has looked at its sockets. Where a few tasks only wake themselves, the
/// runtime does not look before the sixty-first turn.
pub(super) fn come_back(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}
