//! The task that drives a connection: it writes what callers have left, and delivers what comes.

mod cut;
mod end;
mod input;
mod output;
mod timers;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rpc_core::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use self::cut::Replies;
use self::end::Ended;
use self::input::READ_BYTES_MIN;
use super::liveness::Liveness;
use super::shared::{Leaving, Shared};

/// How long a stream may take to end, once everything is written and no caller waits for anything.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Replies after which the deadlines are looked at, where replies never pause: with fewer calls in flight a look
/// for each chunk would be one for each few calls.
const REPLIES_PER_TIMER: usize = 64;

/// What moves the bytes: owns the byte stream, and is run as a task.
pub(in crate::connection) struct Driver<IO> {
    io: IO,
    shared: Arc<Shared>,
    /// What is being written, and how far it is.
    writing: Vec<u8>,
    at: usize,
    replies: Replies,
    /// What was read: `input[start..end]` is not delivered yet.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// How much one read should take: more once a read has filled what there was.
    room_wanted: usize,
    /// What the server last said without a call to say it to: why it closed, as a rule.
    close_reason: Option<Status>,
    /// Why nothing can be written any more. What has been received is still delivered.
    write_error: Option<io::Error>,
    liveness: Liveness,
    /// Bytes that the stream has taken, ever.
    written: u64,
    /// What had been sent when something was last known to be received.
    appended_when_heard: u64,
    pings: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// Replies that were delivered since the timer was last looked at.
    replies_since_timer: usize,
    /// With `timeouts.idle_timeout_ms`: when to look whether there was a call since the last look.
    idle_timer: Option<Pin<Box<Sleep>>>,
    admitted_at_last_look: u64,
    /// Since when it has been kept awake without anything to do.
    spinning_since: Option<std::time::Instant>,
    /// Whether something was written and may not have left yet.
    needs_flush: bool,
    /// Where the last ping ends in the count of `ConnectionState::appended`.
    ping_end: u64,
    /// The time that a stream may take to close, once all else is done.
    closing: Option<Pin<Box<Sleep>>>,
    woken: Vec<Waker>,
    /// Whether the runtime has but one thread.
    is_on_one_thread: bool,
}

impl<IO> Driver<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(io: IO, shared: Arc<Shared>) -> Self {
        let now = Instant::now();

        Self {
            io,
            writing: Vec::new(),
            at: 0,
            replies: Replies::of(&shared.common.config),
            liveness: Liveness::new(&shared.common.config, now),
            written: 0,
            appended_when_heard: 0,
            pings: 0,
            shared,
            input: Vec::new(),
            start: 0,
            end: 0,
            room_wanted: READ_BYTES_MIN,
            close_reason: None,
            write_error: None,
            timer: None,
            replies_since_timer: 0,
            idle_timer: None,
            admitted_at_last_look: 0,
            spinning_since: None,
            needs_flush: false,
            ping_end: 0,
            closing: None,
            woken: Vec::new(),
            is_on_one_thread: Handle::try_current()
                .is_ok_and(|runtime| runtime.metrics().num_workers() == 1),
        }
    }

    /// One turn: write what has gathered, deliver what came. Ready when the connection is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Ended>> {
        {
            let mut state = self.shared.lock();
            // Registered before anything is looked at, so that no caller's wake is lost.
            if !state
                .driver
                .as_ref()
                .is_some_and(|driver| driver.will_wake(cx.waker()))
            {
                state.driver = Some(cx.waker().clone());
            }

            state.begin_time();
            if let Some(Leaving::Nonsense(what)) = &state.leaving {
                return Poll::Ready(Ok(Ended::Nonsense(what.clone())));
            }
        }

        let mut writes = true;
        loop {
            if writes {
                if self.poll_write(cx) {
                    return self.poll_close(cx).map_ok(|()| Ended::Done);
                }
                self.watch_writing();
            }

            match self.deliver() {
                Ok(0) => {}
                Ok(replies) => {
                    self.replies_since_timer += replies;
                    // However many replies come, no deadline waits for their end.
                    if self.replies_since_timer >= REPLIES_PER_TIMER
                        && let Poll::Ready(Err(dead)) = self.poll_timer(cx)
                    {
                        return Poll::Ready(Ok(Ended::Dead(dead)));
                    }

                    // The callers that were woken come first: what they send leaves in one write.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(nonsense) => return Poll::Ready(Ok(Ended::Nonsense(nonsense))),
            }

            if let Poll::Ready(read) = self.poll_read(cx)? {
                if read == 0 {
                    return Poll::Ready(self.end_of_input());
                }

                // What was read is delivered first; where it was no whole reply, writing has its turn again.
                writes = !writes;
                continue;
            }

            writes = true;
            if let Some(error) = self.write_error.take() {
                return Poll::Ready(Err(error));
            }

            match self.poll_timer(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(dead)) => return Poll::Ready(Ok(Ended::Dead(dead))),
                Poll::Pending if self.poll_idle(cx).is_ready() => {}
                Poll::Pending => {
                    self.spin(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ends the stream. One that still has to say goodbye, as TLS does, may have a peer that does not
    /// listen.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.io).poll_shutdown(cx) {
            return Poll::Ready(closed);
        }

        let limit = self
            .closing
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        limit.as_mut().poll(cx).map(Ok)
    }

    /// Stays awake for a reply that is about to come, where the user wants that.
    fn spin(&mut self, cx: &mut Context<'_>) {
        let limit = self.shared.common.config.timeouts.spin_us;
        if limit == 0 || self.shared.lock().calls.is_empty() {
            self.spinning_since = None;
            return;
        }

        // The real clock: one that is paused would never let it end.
        let since = *self
            .spinning_since
            .get_or_insert_with(std::time::Instant::now);
        if since.elapsed() < Duration::from_micros(limit) {
            // The runtime looks at its sockets, without sleeping, and comes back.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
    }
}
