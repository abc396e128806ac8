//! Writing what callers have left.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::Driver;

impl<IO> Driver<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Writes what callers have left, as far as the system takes it. True when there will never be
    /// more.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.write_error.is_some() {
            return false;
        }

        match self.try_write(cx) {
            Ok(is_finished) => is_finished,
            Err(error) => {
                self.write_error = Some(error);
                false
            }
        }
    }

    pub(super) fn try_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        loop {
            if self.at == self.writing.len() {
                self.writing.clear();
                self.at = 0;

                let is_flushed = self.poll_flush(cx)?.is_ready();
                let mut state = self.shared.lock();
                if is_flushed {
                    state.reached.is_written_to(self.written);
                }

                if state.output.is_empty() {
                    let is_finished = state.is_closing || state.is_done();
                    return Ok(is_flushed && is_finished);
                }

                mem::swap(&mut state.output, &mut self.writing);
                state.tell_of_room(&self.shared.room);
            }

            match Pin::new(&mut self.io).poll_write(cx, &self.writing[self.at..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.at += n;
                    self.written += n as u64;
                    self.needs_flush = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
    }

    /// A stream with a buffer of its own, as TLS has, keeps what it has taken until it is told.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the judge of the peer whether it takes what is sent.
    pub(super) fn watch_writing(&mut self) {
        if self.at == self.writing.len() && !self.needs_flush {
            self.liveness.is_not_stalled();
        } else {
            self.liveness.is_stalled(self.written);
        }
    }
}
