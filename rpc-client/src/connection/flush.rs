//! Waiting until what was begun has left this process, and until the server has read it.
//!
//! Nothing answers a oneway call. A server reads the lines of a connection one after another, so the answer to any
//! later line shows that it has read the earlier ones: a flush sends a ping behind the last oneway call, one at a time
//! for all that wait.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use rpc_core::frame::{ID_MAX, encode_request};
use rpc_core::{CmdId, RawJson, Request};

use super::Connection;
use super::shared::{ConnectionState, Shared};
use crate::error::{Cause, Error, Kind};

/// The id of the ping behind oneway calls: as those of the driver's pings, one that no call comes to.
pub(super) const ID: u64 = ID_MAX - 2;

/// The first loss of oneway calls that the connections of a client have not told anybody of.
#[derive(Clone, Default)]
pub(crate) struct LostOneways(Arc<Mutex<Option<Error>>>);

impl LostOneways {
    /// What was lost since this was last asked.
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: Error) {
        // One step under the lock, so a panic elsewhere leaves nothing half done.
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }
}

/// How far the bytes of a connection have come, all in the count of `ConnectionState::appended`.
#[derive(Default)]
pub(super) struct Reached {
    /// What the system has.
    pub(super) written: u64,
    /// What the server has read, as its answers show.
    pub(super) read: u64,
    /// The end of the last oneway call.
    pub(super) oneway: u64,
    /// What the answer to the ping that is under way will show to be read.
    asked: Option<u64>,
    waiting: Vec<Waiting>,
    /// Tasks that ever waited.
    numbers: u64,
}

/// A task that waits in [`Connection::flush`].
struct Waiting {
    number: u64,
    target: Target,
    waker: Waker,
}

#[derive(Clone, Copy)]
struct Target {
    written: u64,
    read: u64,
}

impl Reached {
    fn is_at(&self, target: Target) -> bool {
        self.written >= target.written && self.read >= target.read
    }

    /// The system has taken this number of the bytes.
    pub(super) fn is_written_to(&mut self, written: u64) {
        if self.written != written {
            self.written = written;
            self.wake(|waiting| waiting.target.written <= written);
        }
    }

    /// Whether a ping is under way, whose answer a caller may wait for.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// The ping was answered, in whatever way.
    pub(super) fn is_answered(&mut self) {
        if let Some(read) = self.asked.take() {
            self.read = self.read.max(read);
            self.wake(|_| true);
        }
    }

    /// All tasks that wait, to be woken without the lock.
    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Waker> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|waiting| waiting.waker)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn wake(&self, which: impl Fn(&Waiting) -> bool) {
        for waiting in self.waiting.iter().filter(|waiting| which(waiting)) {
            waiting.waker.wake_by_ref();
        }
    }
}

impl ConnectionState {
    /// Asks the server whether it has read the oneway calls so far, where it can be asked and has not shown it:
    /// a server that has seen no ids may know none, and its answer would be taken for that of another call.
    pub(super) fn ask_whether_read(&mut self) {
        let Reached {
            read,
            oneway,
            asked,
            ..
        } = self.reached;
        if !self.uses_ids || read >= oneway || asked.is_some() || self.ended.is_some() {
            return;
        }

        let ping = Request::new(CmdId::PING, RawJson::NULL);
        self.append(|output| encode_request(output, Some(ID), &ping));
        self.reached.asked = Some(oneway);
    }

    /// Notes that it will stay unknown of the oneway calls that the server has not shown to have read.
    pub(super) fn lose_oneways(&mut self, shared: &Shared, cause: &Cause, written: u64) {
        if self.reached.oneway > self.reached.read {
            let error = shared.error(self.end_of_oneways(cause, written));
            shared.common.lost_oneways.note(error);
        }
    }

    fn end_of_oneways(&self, cause: &Cause, written: u64) -> Kind {
        if written > self.reached.read {
            Kind::MayHaveRun(cause.clone())
        } else {
            Kind::NotSent(cause.clone())
        }
    }
}

impl Connection {
    /// Resolves when everything that was begun so far has been handed to the system, and the server has read
    /// the oneway calls of it; without the latter where no call had an id. Of a connection that has ended there is
    /// nothing to wait for: its calls have failed, and its [`LostOneways`] are noted.
    ///
    /// # Cancel safety
    /// A flush that is dropped leaves nothing behind but the ping that may be under way.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let target = {
            let mut state = self.0.lock();
            if state.ended.is_some() {
                return Ok(());
            }

            state.ask_whether_read();
            Target {
                written: state.appended,
                read: if state.uses_ids {
                    state.reached.oneway
                } else {
                    0
                },
            }
        };

        let mut place = FlushWait {
            shared: &self.0,
            target,
            number: None,
        };
        poll_fn(|cx| place.poll(cx)).await
    }
}

/// The place of a task among those that wait, which its drop gives up.
struct FlushWait<'c> {
    shared: &'c Shared,
    target: Target,
    number: Option<u64>,
}

impl FlushWait<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.shared.lock();
        if state.reached.is_at(self.target) {
            return Poll::Ready(Ok(()));
        }

        if let Some(cause) = &state.ended {
            let kind = state.end_of_oneways(cause, state.reached.written);
            return Poll::Ready(Err(self.shared.error(kind)));
        }

        // Another one was under way when this one began.
        if state.reached.read < self.target.read {
            state.ask_whether_read();
        }

        let reached = &mut state.reached;
        let known = self.number.and_then(|number| {
            let mut waiting = reached.waiting.iter_mut();
            waiting.find(|waiting| waiting.number == number)
        });
        if let Some(waiting) = known {
            waiting.waker.clone_from(cx.waker());
            return Poll::Pending;
        }

        reached.numbers += 1;
        self.number = Some(reached.numbers);
        reached.waiting.push(Waiting {
            number: reached.numbers,
            target: self.target,
            waker: cx.waker().clone(),
        });
        Poll::Pending
    }
}

impl Drop for FlushWait<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut state = self.shared.lock();
            let waiting = &mut state.reached.waiting;
            waiting.retain(|waiting| waiting.number != number);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::pin::pin;
    use std::task::Wake;

    use super::*;
    use crate::connection::{CallKind, Common};

    struct Count;

    impl Wake for Count {
        fn wake(self: Arc<Self>) {}
    }

    #[tokio::test]
    async fn a_dropped_flush_leaves_no_waker_behind_and_takes_none_of_another_one() {
        let (near, _far) = tokio::io::duplex(64);
        let (connection, _driver) =
            Connection::new(near, "test".into(), Common::new(Arc::default()));
        let ping = Request::new(CmdId::PING, RawJson::NULL);
        assert!(connection.notify(&ping, CallKind::Multiplexed).is_ok());

        let (first, second) = (Arc::new(Count), Arc::new(Count));
        let poll = |flush: std::pin::Pin<&mut dyn Future<Output = Result<(), Error>>>, task| {
            let waker = Waker::from(Arc::clone(task));
            assert!(flush.poll(&mut Context::from_waker(&waker)).is_pending());
        };

        let mut kept = pin!(connection.flush());
        poll(kept.as_mut(), &first);
        {
            // In one task, and in a task of its own.
            let (mut same, mut own) = (pin!(connection.flush()), pin!(connection.flush()));
            poll(same.as_mut(), &first);
            poll(own.as_mut(), &second);
            poll(own.as_mut(), &second);
            assert_eq!(connection.0.lock().reached.waiting(), 3);
        }

        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&second)),
            (2, 1)
        );
        assert_eq!(connection.0.lock().reached.waiting(), 1);
    }
}
