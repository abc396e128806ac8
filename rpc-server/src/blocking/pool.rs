//! The threads of a pool, and the futures that wait for them.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::Span;

use super::queue::{GroupId, PieceId, Queue, Taken};
use super::{BlockingError, CallToken, Caller, CallerId};
use crate::config::Blocking;
use crate::limit::{Memory, ResultBytes, Results};
use crate::metrics::BlockingReport;

/// A bounded pool of threads for work that blocks. Clones share the threads; see the [module](super).
///
/// Its threads are tokio's threads for blocking work, of the runtime that the work is handed over in: they end with
/// it, and are there for as long as there is work.
///
/// ```
/// use rpc_server::blocking::{BlockingError, BlockingPool, Caller};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BlockingError> {
/// // At most 4 pieces run, and at most 100 of a connection wait.
/// let pool = BlockingPool::new(4, 100);
/// let sum = pool.run(Caller::default(), |_| (1..=10).sum::<u32>()).await?;
/// assert_eq!(sum, 55);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlockingPool {
    inner: Arc<Inner>,
    group: GroupId,
}

struct Inner {
    threads_max: usize,
    waiting_max: usize,
    /// Results wait here to be taken.
    results: Results,
    /// Held for a few steps, never while work is done or an await is pending.
    state: Mutex<State>,
    /// The number of pieces at work.
    at_work: watch::Sender<usize>,
}

struct State {
    queue: Queue<Piece>,
    /// Threads that are there or about to be: each takes one piece after another, and ends when it finds none.
    threads: usize,
    started: u64,
    refused: u64,
    abandoned: u64,
}

/// A piece of work with all that it needs. It panics only where its result does when it is dropped.
type Piece = Box<dyn FnOnce() + Send>;

impl BlockingPool {
    /// A pool with at most `threads_max` threads at work (at least one), where at most `waiting_per_connection`
    /// pieces of one connection wait.
    pub fn new(threads_max: usize, waiting_per_connection: usize) -> Self {
        let mut queue = Queue::new(waiting_per_connection);
        let group = queue.add_group(usize::MAX);

        let state = State {
            queue,
            threads: 0,
            started: 0,
            refused: 0,
            abandoned: 0,
        };

        Self {
            inner: Arc::new(Inner {
                threads_max: threads_max.max(1),
                waiting_max: waiting_per_connection,
                results: Results::default(),
                state: Mutex::new(state),
                at_work: watch::Sender::new(0),
            }),
            group,
        }
    }

    /// A pool with these limits.
    pub fn with(config: &Blocking) -> Self {
        Self::new(config.threads_max, config.waiting_per_connection)
    }

    /// Counts results in the memory of a server, unless another server counts them already.
    pub(crate) fn bind(&self, memory: &Arc<Memory>) {
        self.inner.results.bind(memory);
    }

    /// The same threads for another kind of work, of which at most `pieces` (at least one) run at the same time. It
    /// has a queue of its own with turns of its own; the queues of a pool take turns as well.
    ///
    /// The queue is there for as long as the pool is: make one for each kind of work, and not for each call.
    #[must_use]
    pub fn limited(&self, pieces: usize) -> Self {
        let group = self.inner.state().queue.add_group(pieces);
        Self {
            inner: Arc::clone(&self.inner),
            group,
        }
    }

    /// Does the work in a thread of the pool, when its turn has come. A panic of the work goes on in the future.
    ///
    /// # Errors
    /// [`Refused`](BlockingError::Refused) where as many pieces of the caller's connection wait as may;
    /// [`ShuttingDown`](BlockingError::ShuttingDown) where the runtime ends before the work.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Work whose future is dropped before it begins is not begun. Work that has begun learns of the drop by its
    /// [`CallToken`], and keeps its thread until it returns.
    pub fn run<T, F>(
        &self,
        caller: Caller,
        work: F,
    ) -> impl Future<Output = Result<T, BlockingError>> + Send + 'static + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&CallToken) -> T + Send + 'static,
    {
        self.run_sized(caller, ResultSize::UNKNOWN, work)
    }

    /// Does the work as [`run`](Self::run) does. The bytes of its result count among those that the caller's
    /// connection holds until the result is taken, and work does not begin without memory for them.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`NoMemory`](BlockingError::NoMemory) at `limits.memory_bytes_max`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub fn run_sized<T, F>(
        &self,
        caller: Caller,
        size: ResultSize<T>,
        work: F,
    ) -> impl Future<Output = Result<T, BlockingError>> + Send + 'static + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&CallToken) -> T + Send + 'static,
    {
        let (pool, span) = (self.clone(), Span::current());

        async move {
            let id = caller.id();
            let (tell, told) = oneshot::channel();
            let token = CallToken::default();

            let (call, inner) = (token.clone(), Arc::clone(&pool.inner));
            let piece = Box::new(move || {
                // A call that is over takes no result, here and below.
                let mut held = match inner.hold(&caller, size.bytes_max) {
                    Ok(held) => held,
                    Err(error) => return drop(tell.send(Err(error))),
                };

                // Unwind safety: the panic goes on where the result is taken.
                let done = catch_unwind(AssertUnwindSafe(|| span.in_scope(|| work(&call))));
                if let (Some(held), Ok(done)) = (&mut held, &done) {
                    held.set((size.of)(done));
                }
                let _ = tell.send(Ok((done, held)));
            });

            let _call = pool.hand_over(id, size.bytes_max, token, piece)?;
            let (done, _held) = told.await.map_err(|_| BlockingError::ShuttingDown)??;
            done.map_or_else(|panic| resume_unwind(panic), Ok)
        }
    }

    /// Returns once no work is in a thread. Work that waits does not count.
    ///
    /// # Cancel safety
    /// It only looks.
    pub async fn at_rest(&self) {
        let mut at_work = self.inner.at_work.subscribe();
        // The pool, which sends, is here: it does not end.
        let _ = at_work.wait_for(|at_work| *at_work == 0).await;
    }

    /// The figures of the pool now.
    pub fn report(&self) -> BlockingReport {
        let state = self.inner.state();
        BlockingReport {
            threads_max: self.inner.threads_max as u64,
            running: state.queue.at_work() as u64,
            waiting: state.queue.waiting() as u64,
            started: state.started,
            refused: state.refused,
            abandoned: state.abandoned,
        }
    }

    /// Puts a piece into the queue, and starts a thread where one may be started for it.
    fn hand_over(
        &self,
        caller: CallerId,
        result_bytes_max: usize,
        token: CallToken,
        piece: Piece,
    ) -> Result<Handed, BlockingError> {
        let mut state = self.inner.state();
        let piece_id = match state
            .queue
            .push(self.group, caller, result_bytes_max, piece)
        {
            Ok(piece_id) => piece_id,
            Err(piece) => {
                state.refused += 1;
                drop(state);
                // What it holds is dropped without the lock.
                drop(piece);
                return Err(BlockingError::Refused {
                    waiting_max: self.inner.waiting_max,
                });
            }
        };

        let needs_thread = !state.queue.is_full(caller) && self.inner.adds_thread(&mut state);
        drop(state);

        let handed = Handed {
            inner: Arc::clone(&self.inner),
            piece_id,
            token,
            runtime: Handle::current(),
        };
        if needs_thread {
            handed.start_thread();
        }

        Ok(handed)
    }
}

impl Default for BlockingPool {
    /// A pool with the limits of the default settings.
    fn default() -> Self {
        Self::with(&Blocking::default())
    }
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingPool").field(&self.report()).finish()
    }
}

/// The size of a result, for work whose result may be large.
pub struct ResultSize<T> {
    /// Bytes that it has at most; 0 where that is not known.
    pub bytes_max: usize,
    /// Bytes that it has.
    pub of: fn(&T) -> usize,
}

impl<T> ResultSize<T> {
    const UNKNOWN: Self = Self {
        bytes_max: 0,
        of: |_| 0,
    };
}

impl<T> fmt::Debug for ResultSize<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultSize")
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Counts the bytes that a result may have, from before it is built until it is taken.
    fn hold(&self, caller: &Caller, bytes: usize) -> Result<Option<ResultBytes>, BlockingError> {
        let held = caller.0.as_ref().map(|peer| self.results.hold(peer, bytes));
        held.transpose().map_err(|memory| BlockingError::NoMemory {
            limit: memory.limit(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a further thread is to be started for the pieces that wait; it is counted then.
    fn adds_thread(&self, state: &mut State) -> bool {
        // Threads that are about to begin take a piece each; a busy one takes the next when it has done its own.
        let beginning = state.threads - state.queue.at_work();
        let needs_thread = state.threads < self.threads_max && state.queue.startable() > beginning;
        state.threads += usize::from(needs_thread);
        needs_thread
    }
}

/// A piece that was handed over. Its drop takes the piece out of the queue, or ends its token and gives back the place
/// of its result.
struct Handed {
    inner: Arc<Inner>,
    piece_id: PieceId,
    token: CallToken,
    /// The runtime whose threads do the work.
    runtime: Handle,
}

impl Handed {
    fn start_thread(&self) {
        let thread = Thread::new(&self.inner);
        self.runtime.spawn_blocking(move || thread.work());
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        self.token.end();

        let mut state = self.inner.state();
        let piece = state.queue.remove(&self.piece_id);
        state.abandoned += u64::from(piece.is_some());

        state.queue.release(&self.piece_id);
        let needs_thread = self.inner.adds_thread(&mut state);
        drop(state);

        if needs_thread {
            self.start_thread();
        }
        // What it holds is dropped without the lock.
        drop(piece);
    }
}

/// A thread of the pool.
struct Thread {
    /// None once it has ended as it should.
    inner: Option<Arc<Inner>>,
    /// The group and the connection of the piece at work.
    at_work: Option<(GroupId, CallerId)>,
}

impl Thread {
    fn new(inner: &Arc<Inner>) -> Self {
        Self {
            inner: Some(Arc::clone(inner)),
            at_work: None,
        }
    }

    /// Does one piece after another.
    fn work(mut self) {
        while let Some(piece) = self.next() {
            // A result without a receiver is dropped here: its panic must not end the thread.
            let _ = catch_unwind(AssertUnwindSafe(piece));
        }
    }

    /// Notes the end of the piece at work, and takes the next one; the end of the thread if none waits.
    fn next(&mut self) -> Option<Piece> {
        let inner = self.inner.as_deref()?;
        let mut state = inner.state();

        if let Some((group, caller)) = self.at_work.take() {
            state.queue.finish(group, caller);
        }

        let taken = state.queue.take();
        if taken.is_some() {
            state.started += 1;
        } else {
            state.threads -= 1;
        }

        inner.at_work.send_replace(state.queue.at_work());
        drop(state);

        if let Some(Taken {
            group,
            caller,
            piece,
        }) = taken
        {
            self.at_work = Some((group, caller));
            return Some(piece);
        }

        self.inner = None;
        None
    }
}

impl Drop for Thread {
    /// Ends a thread that was never begun, because its runtime shuts down. Where it was the last one, the pieces that
    /// wait fail.
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };

        let mut state = inner.state();
        if let Some((group, caller)) = self.at_work.take() {
            state.queue.finish(group, caller);
        }

        state.threads -= 1;
        let left = if state.threads == 0 {
            state.queue.clear()
        } else {
            Vec::new()
        };

        inner.at_work.send_replace(state.queue.at_work());
        drop(state);

        // Their senders go with them.
        drop(left);
    }
}
