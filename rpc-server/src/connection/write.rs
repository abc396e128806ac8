//! From the output to the socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::timers::Timer;

impl<IO> Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn waiting_output(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what the socket takes; what it does not take waits.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.stats.tell_runs();

        while self.waiting_output() > 0 {
            match Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.needs_flush = true;
                    self.timers.stop(Timer::Write);
                    self.stats.wrote(n);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.begin_to_stall();

                    // Dropped once it is the larger part: each byte is moved once at most.
                    if self.written > self.output.len() / 2 {
                        self.output.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(());
                }
            }
        }

        self.output.clear();
        self.written = 0;

        // A stream with a buffer of its own, as TLS has, keeps what it has taken until it is told.
        if self.needs_flush {
            if Pin::new(&mut self.io).poll_flush(cx)?.is_ready() {
                self.needs_flush = false;
                self.timers.stop(Timer::Write);
            } else {
                self.begin_to_stall();
            }
        }

        Ok(())
    }

    pub(super) fn begin_to_stall(&mut self) {
        let limit = self.host.config.write_stall_timeout();
        self.timers
            .set_once(Timer::Write, || Instant::now() + limit);
    }
}
