//! Outcomes of entries, and the callers that wait for them. Entries that are written together have one outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use super::super::{StoreError, lock};

/// What becomes of an entry: its number once it is on the disk.
pub(in crate::store) type Outcome = Result<u64, StoreError>;

/// The outcome of an append: the sequence number of the entry once it is on the disk.
///
/// # Errors
///
/// [`Full`](StoreError::Full) or [`Io`](StoreError::Io) if the entry was not made durable, and
/// [`Closed`](StoreError::Closed) if the writer died before it came to it.
///
/// # Cancel safety
///
/// Dropping it does not take the entry back.
#[derive(Debug)]
#[must_use = "an entry is on the disk only once this has resolved"]
pub(crate) struct Appended(Told);

/// How a caller is told.
#[derive(Debug)]
enum Told {
    /// With all entries of its group.
    WithGroup(Member),
    /// By itself.
    Alone(oneshot::Receiver<Outcome>),
}

impl Appended {
    /// The outcome that is sent over this channel.
    pub(in crate::store) fn told_by(channel: oneshot::Receiver<Outcome>) -> Self {
        Self(Told::Alone(channel))
    }
}

impl Future for Appended {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Told::WithGroup(member) => member.poll(cx),
            Told::Alone(channel) => Pin::new(channel)
                .poll(cx)
                .map(|sent| sent.unwrap_or(Err(StoreError::Closed))),
        }
    }
}

/// A caller of a group.
#[derive(Debug)]
struct Member {
    group: Arc<Group>,
    /// The number of its entry.
    seq: u64,
    /// The place of its waker, once it waits.
    place: Option<usize>,
}

impl Member {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *lock(&self.group.state) {
            State::Ended(outcome) => return Poll::Ready(outcome.clone().map(|()| self.seq)),
            State::Waiting(wakers) => {
                if let Some(place) = self.place {
                    wakers[place].clone_from(cx.waker());
                } else {
                    self.place = Some(wakers.len());
                    wakers.push(cx.waker().clone());
                }
            }
        }
        Poll::Pending
    }
}

/// Entries that have one outcome. A channel for each of them would be an allocation, and more work than to write it.
#[derive(Debug, Default)]
struct Group {
    /// Held for a look, never while a caller is woken.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The callers that wait.
    Waiting(Vec<Waker>),
    Ended(Result<(), StoreError>),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

/// The end of a group. If it is dropped, the writer has ended, and the callers get [`StoreError::Closed`].
#[derive(Debug, Default)]
pub(super) struct GroupEnd {
    group: Arc<Group>,
}

impl GroupEnd {
    /// A caller of the entry `seq`.
    pub(super) fn join(&self, seq: u64) -> Appended {
        Appended(Told::WithGroup(Member {
            group: Arc::clone(&self.group),
            seq,
            place: None,
        }))
    }

    /// Tells all callers what has become of their entries.
    pub(super) fn tell(self, outcome: &Result<(), StoreError>) {
        self.end(outcome.clone());
    }

    fn end(&self, outcome: Result<(), StoreError>) {
        let wakers = match &mut *lock(&self.group.state) {
            State::Ended(_) => return,
            state @ State::Waiting(_) => std::mem::replace(state, State::Ended(outcome)),
        };

        if let State::Waiting(wakers) = wakers {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for GroupEnd {
    fn drop(&mut self) {
        self.end(Err(StoreError::Closed));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::task::noop_waker_ref;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_waits_in_another_task_than_before_is_woken_there() {
        let end = GroupEnd::default();
        let (mut moved, stays) = (end.join(7), end.join(8));
        let mut nowhere = Context::from_waker(noop_waker_ref());
        assert!(moved.poll_unpin(&mut nowhere).is_pending());

        let waiting = tokio::spawn(async move { (moved.await, stays.await) });
        tokio::task::yield_now().await;
        end.tell(&Ok(()));
        let (moved, stays) = waiting.await.unwrap();
        assert_eq!((moved.unwrap(), stays.unwrap()), (7, 8));
    }

    #[tokio::test]
    async fn callers_on_several_runtimes_are_all_told() {
        let end = GroupEnd::default();
        let threads: Vec<_> = (0..4)
            .map(|seq| {
                let (appended, (tell, waits)) = (end.join(seq), oneshot::channel());
                let thread = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let mut appended = appended;
                        let is_pending = futures::poll!(&mut appended).is_pending();
                        tell.send(is_pending).unwrap();
                        appended.await
                    })
                });
                (thread, waits)
            })
            .collect();

        let mut all = Vec::new();
        for (thread, waits) in threads {
            assert!(waits.await.unwrap());
            all.push(thread);
        }
        end.tell(&Ok(()));
        let told = all
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap());
        assert_eq!(told.collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn callers_learn_that_the_writer_is_gone_and_of_no_outcome_behind_the_first() {
        let end = GroupEnd::default();
        let (first, late) = (end.join(1), end.join(2));
        drop(end);
        assert!(matches!(first.await, Err(StoreError::Closed)));
        assert!(matches!(late.await, Err(StoreError::Closed)));

        let end = GroupEnd::default();
        let appended = end.join(1);
        end.tell(&Ok(()));
        assert_eq!(appended.await.unwrap(), 1);
    }
}
