//! The task that drives a connection: it writes what callers have left, and delivers what comes.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rpc_core::codec::{LineDecoder, Step};
use rpc_core::frame::{FromServer, encode_request};
use rpc_core::{CmdId, RawJson, Request, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use super::liveness::{Liveness, Verdict};
use super::state::{Answers, Failure, Leaving, Progress};
use super::{Loss, Shared};
use crate::error::Cause;
use crate::time::earliest;

/// What one read takes at most; a connection keeps one buffer of this size, and a larger one only
/// while a longer reply passes through.
const READ_BYTES: usize = 64 * 1024;
/// Room for the first reads: a connection for a few calls never needs more.
const READ_BYTES_MIN: usize = 4 * 1024;

/// How long a stream may take to end, once everything is written and nobody waits for anything.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Replies delivered before the callers that they woke get to run, and so frames in one write: a quarter of
/// the calls in flight, so that four such chunks are under way between the two sides, within these bounds.
const CHUNK_MIN: usize = 4;
const CHUNK_MAX: usize = 128;

/// From so many calls in flight on, half of them where callers and driver share one thread: two long chunks keep
/// both sides at work, and cost fewer system calls. On several threads they would leave some without work.
const CALLS_FOR_LONG_CHUNKS: usize = 96;
const LONG_CHUNK_MAX: usize = 256;

/// Replies after which the deadlines are looked at, where replies never pause: with fewer calls in flight a look
/// for each chunk would be one for each few calls.
const REPLIES_PER_TIMER: usize = 64;

/// The ids of pings, in turn. They are the last ones of the slot table's last slots, which its calls never
/// come to; so an answer finds no call, and a full table does not keep a ping from being sent.
const PING_IDS: [u64; 2] = [rpc_core::frame::ID_MAX, rpc_core::frame::ID_MAX - 1];

/// What moves the bytes: owns the byte stream, and is run as a task.
pub(super) struct Driver<IO> {
    io: IO,
    shared: Arc<Shared>,
    /// What is being written, and how far it is.
    writing: Vec<u8>,
    at: usize,
    lines: LineDecoder,
    /// What was read: `input[start..end]` is not delivered yet.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// How much one read should take: more once a read has filled what there was.
    room_wanted: usize,
    /// What the server last said without a call to say it to: why it closed, as a rule.
    farewell: Option<Status>,
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
    /// With `idle_timeout_ms`: when to look whether there was a call since the last look.
    idle_timer: Option<Pin<Box<Sleep>>>,
    admitted_at_last_look: u64,
    /// Since when it has been kept awake without anything to do.
    spinning_since: Option<std::time::Instant>,
    /// Whether something was written and may not have left yet.
    needs_flush: bool,
    /// Where the last ping ends in the count of `State::appended`.
    ping_end: u64,
    /// The time that a stream has to say goodbye, once there is nothing else to do.
    closing: Option<Pin<Box<Sleep>>>,
    woken: Vec<Waker>,
    /// Whether the runtime has but one thread.
    is_on_one_thread: bool,
}

/// How a connection ended, where it was not an error of the byte stream.
pub(super) enum Ended {
    /// This side was done with it.
    Done,
    /// The server closed it.
    ByServer,
    /// The server's bytes make no sense.
    Nonsense(String),
    /// The server is not there any more.
    Dead(String),
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
            lines: LineDecoder::new(shared.common.config.reply_bytes_max),
            liveness: Liveness::new(&shared.common.config, now),
            written: 0,
            appended_when_heard: 0,
            pings: 0,
            shared,
            input: Vec::new(),
            start: 0,
            end: 0,
            room_wanted: READ_BYTES_MIN,
            farewell: None,
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
        let limit = self.shared.common.config.spin_us;
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

    /// Writes what callers have left, as far as the system takes it. True when there will never be
    /// more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
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

    fn try_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
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
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// There is nothing more to read, and perhaps a reason for it that writing was told already: the
    /// system tells each error once. Where the server closed the connection, writing says no more than that.
    fn end_of_input(&mut self) -> io::Result<Ended> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};

        match self.write_error.take() {
            Some(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset) => Err(error),
            _ => Ok(Ended::ByServer),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }

        if self.end == 0 && self.input.len() > READ_BYTES {
            self.input = Vec::new();
        }

        if self.input.len() - self.end < self.room_wanted / 2 {
            self.input.resize(self.end + self.room_wanted, 0);
        }

        let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();

        self.liveness.has_received();
        self.end += read;
        self.spinning_since = None;
        if self.end == self.input.len() {
            self.room_wanted = READ_BYTES;
        }

        Poll::Ready(Ok(read))
    }

    /// Hands one chunk of replies to their callers, and says how many they were.
    fn deliver(&mut self) -> Result<usize, String> {
        if self.start == self.end {
            return Ok(0);
        }

        let mut delivered = 0;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();

        let chunk = match state.calls.len() {
            many if self.is_on_one_thread && many >= CALLS_FOR_LONG_CHUNKS => {
                (many / 2).min(LONG_CHUNK_MAX)
            }
            some => (some / 4).clamp(CHUNK_MIN, CHUNK_MAX),
        };

        let outcome = loop {
            if delivered >= chunk {
                break Ok(());
            }

            match self.lines.step(&self.input[self.start..self.end]) {
                Step::Line { line, consumed } => {
                    self.start += consumed;
                    if line.is_empty() {
                        continue;
                    }

                    delivered += 1;
                    if state.take_usual_line(line, &mut self.woken) {
                        continue;
                    }

                    let line = FromServer::decode(line);
                    if let Err(nonsense) =
                        state.take_line(line, &shared, &mut self.woken, &mut self.farewell)
                    {
                        break Err(nonsense);
                    }
                }
                Step::TooLong { .. } => {
                    let limit = shared.common.config.reply_bytes_max;
                    break Err(format!(
                        "a reply is longer than `reply_bytes_max` of {limit} bytes"
                    ));
                }
                Step::Partial { .. } => break Ok(()),
            }
        };

        if delivered > 0 {
            // A reply may have taken a tombstone away, or been a goaway.
            state.tell_of_room(&shared.room);
        }

        drop(state);
        for waker in self.woken.drain(..) {
            waker.wake();
        }

        outcome.map(|()| delivered)
    }

    /// Tells the judge of the peer whether it takes what is sent.
    fn watch_writing(&mut self) {
        if self.at == self.writing.len() && !self.needs_flush {
            self.liveness.is_not_stalled();
        } else {
            self.liveness.is_stalled(self.written);
        }
    }

    /// Sleeps until a call's deadline or the next look at whether the server is still there. Ready where
    /// the time of either had come; the error says why the connection is dead.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.replies_since_timer = 0;

        let (deadline, is_watched) = {
            let state = self.shared.lock();
            (
                state.next_deadline,
                state.is_watched(&self.shared.common.config, self.appended_when_heard),
            )
        };

        let Some(next) = earliest(deadline, self.liveness.next_look(is_watched)) else {
            return Poll::Pending;
        };

        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        ready!(timer.as_mut().poll(cx));

        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.expire(now);
        }

        Poll::Ready(self.look(now, is_watched))
    }

    /// Ends the calls that are past their deadline.
    fn expire(&mut self, now: Instant) {
        let mut state = self.shared.lock();
        let mut earliest: Option<Instant> = None;

        for (_, slot) in state.calls.iter_mut() {
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    if matches!(slot.progress, Progress::Waiting) {
                        slot.progress = Progress::Done(Err(Failure::Expired));
                        self.woken.extend(slot.waker.take());
                    }
                }
                Some(deadline) => {
                    earliest = Some(earliest.map_or(deadline, |earliest| earliest.min(deadline)));
                }
                None => {}
            }
        }

        state.next_deadline = earliest;
        drop(state);

        for waker in self.woken.drain(..) {
            waker.wake();
        }
    }

    /// Looks whether the server is still there, and asks it where it is silent.
    fn look(&mut self, now: Instant, is_watched: bool) -> Result<(), String> {
        if self.shared.common.config.write_stall_timeout_ms > 0 && self.written < self.ping_end {
            self.liveness.ping_waits(now);
        }

        match self.liveness.look(now, is_watched) {
            Verdict::Dead(why) => return Err(why),
            Verdict::Ping => {
                let id = PING_IDS[self.pings % PING_IDS.len()];
                self.pings = self.pings.wrapping_add(1);
                let ping = Request::new(CmdId::PING, RawJson::NULL);

                let mut state = self.shared.lock();
                state.append(|output| encode_request(output, Some(id), &ping));
                self.ping_end = state.appended;
            }
            Verdict::Heard => self.appended_when_heard = self.shared.lock().appended,
            Verdict::Fine => {}
        }

        Ok(())
    }
}

impl<IO> Driver<IO> {
    /// Where there was no call since the last look and none is in flight, takes no more calls, so that
    /// the connection ends: a call that comes at this moment opens another one. Ready where it looked.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.shared.common.config.idle_timeout();
        if limit.is_zero() {
            return Poll::Pending;
        }

        let timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + limit);

        let mut state = self.shared.lock();
        if state.calls.is_empty() && state.admitted == self.admitted_at_last_look {
            state.leaving = Some(Leaving::Idle);
            state.ask_whether_read();
        }
        self.admitted_at_last_look = state.admitted;
        Poll::Ready(())
    }

    pub(super) fn finish(&mut self, ended: io::Result<Ended>) -> Loss {
        let farewell = self.farewell.take();
        let because = farewell
            .as_ref()
            .map(|status| format!(" after saying: {status}"))
            .unwrap_or_default();

        // A server that refuses this client's certificate, and then runs nothing of it.
        let was_rejected = matches!(&ended, Err(error) if error.kind() == io::ErrorKind::PermissionDenied && error.get_ref().is_some());
        let is_done = matches!(ended, Ok(Ended::Done));

        let cause = match ended {
            Ok(Ended::Done) => Cause::new("the connection was closed by this side"),
            // An alert of TLS, which no reply begins like (RFC 8446 section 5.1).
            Ok(Ended::ByServer) if self.input[self.start..self.end].starts_with(&[0x15, 0x03]) => {
                Cause::new("the server speaks TLS on this port, and this client does not")
            }
            Ok(Ended::ByServer) => Cause::new(format!("the server closed the connection{because}")),
            Ok(Ended::Nonsense(what) | Ended::Dead(what)) => {
                Cause::new(format!("the connection was given up: {what}"))
            }
            Err(error) => {
                Cause::with_source(format!("the connection was lost{because}: {error}"), error)
            }
        };

        let retry_after = farewell.as_ref().and_then(Status::retry_after);
        let calls = self.end_all(
            &cause,
            was_rejected || farewell.is_some_and(|status| status.is_rejected()),
        );
        let state = self.shared.lock();

        Loss {
            cause,
            calls,
            connection: self.shared.number,
            has_served: state.answers == Answers::Served,
            is_wanted: is_done && !matches!(state.leaving, Some(Leaving::Goaway(_))),
            retry_after,
        }
    }

    /// The one way out for calls that the connection leaves behind. Returns how many there were.
    fn end_all(&mut self, cause: &Cause, was_rejected: bool) -> usize {
        let mut woken = Vec::new();
        let mut state = self.shared.lock();
        if state.ended.is_some() {
            return 0;
        }

        let mut calls = 0;
        let written = self.written;
        state.lose_oneways(&self.shared, cause, written);
        state.ended = Some(cause.clone());
        self.shared.tell_of_the_end(cause);

        // A server that turns the connection away has run none of its calls; one that has answered some
        // may have meant another one.
        let was_rejected = was_rejected && state.answers == Answers::None;

        for (_, slot) in state.calls.iter_mut() {
            if matches!(slot.progress, Progress::Waiting) {
                calls += 1;
                // A frame that did not leave whole was not executed, whatever it looked like.
                let may_have_run = slot.frame_end <= written && !was_rejected;
                slot.progress = Progress::Done(Err(Failure::Lost {
                    may_have_run,
                    cause: cause.clone(),
                }));
                woken.extend(slot.waker.take());
            }
        }

        woken.extend(state.reached.take_waiting());
        drop(state);
        self.shared.room.notify_waiters();
        for waker in woken {
            waker.wake();
        }

        calls
    }
}

impl<IO> Drop for Driver<IO> {
    /// The task was dropped before its end: its runtime is gone, or somebody stopped it.
    fn drop(&mut self) {
        self.end_all(
            &Cause::new("the task that drove the connection was stopped"),
            false,
        );
    }
}
