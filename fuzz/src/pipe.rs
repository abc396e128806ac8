//! A byte stream in memory whose far end is in the hands of the target: how much one read gets, how
//! much may be written, when it ends or breaks.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The end that the code under test has.
pub struct Near(Arc<Mutex<State>>);

/// The end that the target has.
#[derive(Clone)]
pub struct Far(Arc<Mutex<State>>);

/// The bytes in the pipe, and the state of its near end.
#[derive(Default)]
pub struct State {
    /// Bytes on their way to the near end; `at` of them have been read.
    incoming: Vec<u8>,
    at: usize,
    /// No more bytes come behind those.
    has_ended: bool,
    is_broken: bool,
    /// What one read gets at most; 0 for any number.
    pub piece: usize,
    /// How many bytes may still be written.
    room: usize,
    /// What the near end has written.
    pub outgoing: Vec<u8>,
    /// The near end has ended its side.
    pub is_shut_down: bool,
    /// The near end is gone.
    pub is_dropped: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A pipe that takes everything at once.
pub fn pipe() -> (Near, Far) {
    let state = Arc::new(Mutex::new(State {
        room: usize::MAX,
        ..State::default()
    }));
    (Near(Arc::clone(&state)), Far(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Far {
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub fn send(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.incoming.extend_from_slice(bytes);
        state.wake_reader();
    }

    /// Ends this side; what was sent before is still read.
    pub fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.wake_reader();
    }

    /// Breaks the stream, in both directions, with an error.
    pub fn reset(&self) {
        let mut state = self.state();
        state.is_broken = true;
        state.wake_reader();
        state.writer.take().inspect(Waker::wake_by_ref);
    }

    /// Lets `room` bytes be written from now on.
    pub fn set_room(&self, room: usize) {
        let mut state = self.state();
        state.room = room;
        state.writer.take().inspect(Waker::wake_by_ref);
    }
}

impl State {
    /// Bytes that the near end has not read.
    pub fn unread(&self) -> usize {
        self.incoming.len() - self.at
    }

    fn wake_reader(&mut self) {
        self.reader.take().inspect(Waker::wake_by_ref);
    }
}

impl AsyncRead for Near {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.0);
        if state.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }

        let mut length = state.unread().min(buffer.remaining());
        if state.piece > 0 {
            length = length.min(state.piece);
        }

        if length == 0 && !state.has_ended && buffer.remaining() > 0 {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }

        buffer.put_slice(&state.incoming[state.at..state.at + length]);
        state.at += length;
        if state.at == state.incoming.len() {
            state.incoming.clear();
            state.at = 0;
        }

        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        assert!(!state.is_shut_down, "written behind its own end");
        if state.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }

        let length = bytes.len().min(state.room);
        if length == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }

        state.room -= if state.room == usize::MAX { 0 } else { length };
        state.outgoing.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).is_shut_down = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        lock(&self.0).is_dropped = true;
    }
}
