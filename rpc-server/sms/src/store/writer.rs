//! The thread that writes. It takes all transitions that wait into one transaction, and answers them behind its commit.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::tables::Tables;
use super::{
    Accepted, AttemptEnd, ClaimRules, Claimed, GatewaySwitch, NewMessage, OptOut, OptOutScope,
    Receipt, Resend, Shared, StoreError, Swept, Transitions, Viewer,
};
use crate::message::MessageId;
use crate::number::Number;
use crate::states::State;

/// Maximum number of transitions that wait. Further ones are refused.
const WAITING_MAX: usize = 16_384;

/// Maximum number of transitions in one transaction: the first of them waits for the last.
const BATCH_MAX: usize = 1_024;

/// A transition that waits; it answers once it knows whether it is on disk.
type Job = Box<dyn FnOnce(&mut Tables) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), &StoreError>) + Send>;

/// Access to the thread that writes. Dropping it ends the thread, after what waits.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Writer {
    pub(super) fn start(
        tables: Tables,
        shared: Arc<Shared>,
        lock: File,
    ) -> Result<Self, StoreError> {
        let queue = Arc::new(Queue::default());
        let closing = CloseOnExit(Arc::clone(&queue));

        let run = move || {
            // In this order: the next process finds the outbox free once all else is closed.
            let _lock = lock;
            let mut tables = tables;
            work(&closing.0, &mut tables, &shared);
        };
        let thread = thread::Builder::new().name("sms-writer".into()).spawn(run);
        let thread = thread.map_err(StoreError::io("start the thread of", "the SMS outbox"))?;

        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Puts a transition behind those that wait.
    pub(super) fn run<T: Send + 'static>(
        &self,
        transition: impl FnOnce(&mut dyn Transitions) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tables| {
            let result = transition(tables);
            Box::new(move |committed| {
                let result = match committed {
                    Ok(()) => result,
                    Err(error) => Err(error.again()),
                };
                // A caller that has gone is told nothing.
                let _ = answer.send(result);
            })
        });

        let mut waiting = self.queue.waiting.lock().expect("no holder panics");
        if waiting.is_closed {
            return Err(StoreError::Closed);
        }
        if waiting.jobs.len() >= WAITING_MAX {
            return Err(StoreError::Busy);
        }
        waiting.jobs.push_back(job);
        drop(waiting);

        self.queue.more.notify_one();
        Ok(answered)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        let thread = self.thread.lock().expect("no holder panics").take();
        // A panic of the thread was reported when it happened.
        thread.map(JoinHandle::join);
    }
}

impl Queue {
    fn close(&self) {
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.is_closed = true;
        }
        self.more.notify_one();
    }

    /// The transitions that wait, at most a batch; none once the queue is closed and empty.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        while waiting.jobs.is_empty() && !waiting.is_closed {
            waiting = self.more.wait(waiting).expect("no holder panics");
        }

        let count = waiting.jobs.len().min(BATCH_MAX);
        waiting.jobs.drain(..count).collect()
    }
}

/// Ends the queue with its thread, also after a panic: callers must not wait for ever.
struct CloseOnExit(Arc<Queue>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
        if let Ok(mut waiting) = self.0.waiting.lock() {
            waiting.jobs.clear();
        }
    }
}

fn work(queue: &Queue, tables: &mut Tables, shared: &Shared) {
    let mut is_broken = false;

    loop {
        let jobs = queue.take();
        if jobs.is_empty() {
            return;
        }

        let (answers, outcome) = if is_broken {
            (discard(jobs, tables), Err(StoreError::Broken))
        } else {
            commit(jobs, tables)
        };

        match &outcome {
            Ok(()) => publish(tables, shared),
            Err(error) if !is_broken => {
                tracing::error!(%error, "the SMS outbox was not written");
                is_broken = error.is_failed_sync() || restore(tables).is_err();
            }
            Err(_) => {}
        }
        for answer in answers {
            answer(outcome.as_ref().copied());
        }
    }
}

/// Runs transitions in one transaction.
fn commit(jobs: Vec<Job>, tables: &mut Tables) -> (Vec<Answer>, Result<(), StoreError>) {
    if let Err(error) = tables.connection.execute_batch("BEGIN IMMEDIATE") {
        return (discard(jobs, tables), Err(error.into()));
    }

    tables.failure = None;
    let answers = jobs.into_iter().map(|job| job(tables)).collect();
    let failure = tables.failure.take();
    let outcome = failure.map_or_else(
        || {
            tables
                .connection
                .execute_batch("COMMIT")
                .map_err(StoreError::from)
        },
        Err,
    );
    (answers, outcome)
}

/// Answers transitions that are not run. They run nevertheless, on tables that refuse them, since only they know how to
/// answer.
fn discard(jobs: Vec<Job>, tables: &mut Tables) -> Vec<Answer> {
    tables.failure = Some(StoreError::Broken);
    jobs.into_iter().map(|job| job(tables)).collect()
}

/// Takes a transaction back, and reads again what is kept in memory.
fn restore(tables: &mut Tables) -> Result<(), StoreError> {
    tables.failure = None;
    if !tables.connection.is_autocommit() {
        tables.connection.execute_batch("ROLLBACK")?;
    }

    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    tables.load(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

fn publish(tables: &Tables, shared: &Shared) {
    *shared.counts.lock().expect("no holder panics") = tables.counts();
    // Behind the counts: a watcher that is told finds them.
    shared.last_event.send_replace(tables.last_event());
}

impl Tables {
    /// Runs a transition, unless the transaction has failed already: then nothing of it may be kept.
    fn step<T>(
        &mut self,
        transition: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(failure) = &self.failure {
            return Err(failure.again());
        }

        let result = transition(self);
        if let Err(error) = &result
            && !error.is_refusal()
        {
            self.failure = Some(error.again());
        }
        result
    }
}

impl Transitions for Tables {
    fn accept(&mut self, message: &NewMessage, now: u64) -> Result<Accepted, StoreError> {
        self.step(|tables| tables.accept_message(message, now))
    }

    fn check(&mut self, message: &NewMessage, now: u64) -> Result<(), StoreError> {
        self.step(|tables| {
            let number_name = tables.numbers.name(&message.to);
            tables.check_message(message, &number_name, now)
        })
    }

    fn claim(
        &mut self,
        gateway: &str,
        limit: usize,
        rules: &ClaimRules,
        now: u64,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.step(|tables| tables.claim_next(gateway, limit, rules, now))
    }

    fn finish(&mut self, end: &AttemptEnd, now: u64) -> Result<State, StoreError> {
        self.step(|tables| tables.end_attempt(end, now))
    }

    fn cancel(&mut self, id: MessageId, viewer: &Viewer, now: u64) -> Result<State, StoreError> {
        self.step(|tables| tables.cancel_message(id, viewer, now))
    }

    fn resend(&mut self, resend: &Resend, viewer: &Viewer, now: u64) -> Result<u32, StoreError> {
        self.step(|tables| tables.resend_message(resend, viewer, now))
    }

    fn receipt(&mut self, receipt: &Receipt, now: u64) -> Result<bool, StoreError> {
        self.step(|tables| tables.take_receipt(receipt, now))
    }

    fn opt_out(
        &mut self,
        number: &Number,
        scope: Option<OptOutScope>,
        now: u64,
    ) -> Result<Option<OptOut>, StoreError> {
        self.step(|tables| tables.set_opt_out(number, scope, now))
    }

    fn switch(&mut self, gateway: &str, to: GatewaySwitch) -> Result<(), StoreError> {
        self.step(|tables| {
            let mut statement = tables
                .connection
                .prepare_cached("INSERT OR REPLACE INTO gateways (name, paused) VALUES (?1, ?2)")?;
            statement.execute(rusqlite::params![gateway, to == GatewaySwitch::Paused])?;
            Ok(())
        })
    }

    fn sweep(&mut self, now: u64, limit: usize) -> Result<Swept, StoreError> {
        self.step(|tables| tables.sweep_due(now, limit))
    }
}
