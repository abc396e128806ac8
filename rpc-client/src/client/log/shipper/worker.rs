//! The worker of a shipper: takes batches from the queue, and sends each until it is known what became of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use rpc_core::api::log::{APPEND_BATCH, BatchAppended};
use rpc_core::backoff::Backoff;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until};

use super::config::WINDOW;
use super::doubt::Doubt;
use super::queue::Queue;
use super::state::{Chunk, Fate};
use super::verdict::Verdict;
use crate::client::Client;
use crate::error::Error;
use crate::time::after;

/// Bounds of the time between tries while the log takes nothing.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Longest part of a service's name in that of its producer.
const PRODUCER_SERVICE_MAX: usize = 40;

/// Sends the batches of one queue, under the name of a producer that no other has.
pub(super) struct Worker {
    client: Client,
    queue: Arc<Queue>,
    producer: Arc<str>,
    /// The number of the next batch.
    next: u64,
    /// Batches that are to be sent again: those that the network or a restart has kept back by their numbers, then the
    /// doubtful ones as their answers came.
    again: VecDeque<Batch>,
    /// What is left of batches of which the log has refused an entry: each gets a number when it is sent.
    rests: VecDeque<Rest>,
    /// Batches that the log has taken.
    taken: u64,
    /// No batch is sent before, since the last one has failed: so they keep their order, and the log is not asked in vain.
    resume_at: Option<Instant>,
    /// Dropped with the worker, even if it never ran.
    _over: Over,
}

/// A batch with its number, and its entries as JSON: the same text each time, by which the log knows it again.
struct Batch {
    number: u64,
    entries: Arc<RawValue>,
    chunk: Chunk,
    doubt: Doubt,
    /// Its own, so that others that are taken do not have it sent at once.
    backoff: Backoff,
}

/// A batch without an entry that the log has refused.
struct Rest {
    entries: Box<RawValue>,
    chunk: Chunk,
}

#[derive(Serialize)]
struct Params<'a> {
    producer: &'a str,
    batch: u64,
    entries: &'a RawValue,
}

impl Worker {
    pub(super) fn new(client: Client, queue: Arc<Queue>) -> Self {
        Self {
            client,
            producer: producer_of(queue.service()).into(),
            _over: Over(Arc::clone(&queue)),
            queue,
            next: 1,
            again: VecDeque::new(),
            rests: VecDeque::new(),
            taken: 0,
            resume_at: None,
        }
    }

    /// Runs until the queue is closed and empty, or until the end that its closing has set.
    pub(super) async fn run(mut self) {
        let mut calls = FuturesUnordered::new();
        // The numbers of the batches under way.
        let mut under_way: Vec<u64> = Vec::new();

        loop {
            while let Some(batch) = self.next_batch(&under_way) {
                under_way.push(batch.number);
                calls.push(send(
                    self.client.clone(),
                    self.producer.clone(),
                    self.timeout(),
                    batch,
                ));
            }
            if self.is_over() {
                return;
            }

            let timer = self.next_time(&under_way);
            let timer = OptionFuture::from(timer.map(sleep_until));
            tokio::select! {
                () = self.queue.woken() => {}
                Some(()) = timer => {}
                Some((batch, result)) = calls.next() => {
                    under_way.retain(|number| *number != batch.number);
                    self.settle(batch, result);
                }
            }
        }
    }

    fn timeout(&self) -> Duration {
        self.queue.config().batch_timeout()
    }

    fn is_over(&self) -> bool {
        let is_late = self.queue.end().is_some_and(|end| Instant::now() >= end);
        is_late || self.queue.is_done()
    }

    /// The next batch to send, if one may be sent now.
    fn next_batch(&mut self, under_way: &[u64]) -> Option<Batch> {
        let now = Instant::now();
        if self.resume_at.is_some_and(|at| now < at) {
            return None;
        }
        self.resume_at = None;

        if !self.has_place(under_way) {
            return None;
        }
        let other = match under_way.is_empty() && self.awaits_others() {
            true => self.new_batch(under_way, now),
            false => None,
        };
        other
            .or_else(|| self.again.pop_front())
            .or_else(|| self.new_batch(under_way, now))
    }

    fn new_batch(&mut self, under_way: &[u64], now: Instant) -> Option<Batch> {
        if !self.may_number(under_way) {
            return None;
        }
        if let Some(rest) = self.rests.pop_front() {
            return Some(self.with_number(rest.chunk, rest.entries));
        }

        let chunk = self.queue.next_batch(now)?;
        Some(self.numbered(chunk))
    }

    /// Whether another batch may be under way.
    fn has_place(&self, under_way: &[u64]) -> bool {
        under_way.len() < self.queue.config().batches_in_flight_max
    }

    /// Whether another batch may get a number. The log remembers the last numbers only, so a batch that takes long is not
    /// left far behind.
    fn may_number(&self, under_way: &[u64]) -> bool {
        let again = self.again.iter().map(|batch| batch.number);
        let oldest = under_way.iter().copied().chain(again).min();
        self.next - oldest.unwrap_or(self.next) < WINDOW
    }

    /// Whether all there is to send again waits to see if the log takes other batches.
    fn awaits_others(&self) -> bool {
        let first = self.again.front();
        first.is_some_and(|batch| batch.doubt.awaits_others(self.taken))
    }

    /// The batch of a chunk, whose text goes over to it: entries that wait for their answer are held once.
    fn numbered(&mut self, mut chunk: Chunk) -> Batch {
        let entries = std::mem::take(&mut chunk.text);
        let mut text = String::with_capacity(entries.len() + 2);
        text.push('[');
        text.push_str(std::str::from_utf8(&entries).expect("entries are written as UTF-8"));
        text.push(']');
        drop(entries);

        let entries = RawValue::from_string(text).expect("entries are written as JSON");
        self.with_number(chunk, entries)
    }

    fn with_number(&mut self, chunk: Chunk, entries: Box<RawValue>) -> Batch {
        let number = self.next;
        self.next += 1;
        Batch {
            number,
            entries: entries.into(),
            chunk,
            doubt: Doubt::default(),
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_MAX),
        }
    }

    /// When to look again, whatever else happens.
    fn next_time(&self, under_way: &[u64]) -> Option<Instant> {
        let next = match self.resume_at {
            Some(resume_at) => Some(resume_at),
            None if self.has_place(under_way) && self.may_number(under_way) => self.queue.due(),
            None => None,
        };

        let end = self.queue.end();
        next.into_iter().chain(end).min()
    }

    /// Finds out what to do with a batch that has ended.
    fn settle(&mut self, mut batch: Batch, result: Result<BatchAppended, Error>) {
        let Err(error) = result else {
            self.taken += 1;
            return self.queue.settle(&batch.chunk, Fate::Sent);
        };

        match Verdict::of(&error) {
            Verdict::Again(shortest) => {
                batch.doubt.forget();
                self.pause(&mut batch, shortest, &error);
                let is_before =
                    |other: &Batch| !other.doubt.is_there() && other.number < batch.number;
                let place = self.again.partition_point(is_before);
                self.again.insert(place, batch);
            }
            Verdict::Doubtful if batch.doubt.is_settled_by(error.code(), self.taken) => {
                self.refuse(&batch, &error);
            }
            Verdict::Doubtful => {
                self.pause(&mut batch, Duration::ZERO, &error);
                self.again.push_back(batch);
            }
            Verdict::Without(index) if batch.chunk.entries > 1 => {
                self.queue.note_refusal(&error.to_string());
                match without(&batch.entries, index) {
                    Some(entries) => {
                        self.queue.refuse_one();
                        batch.chunk.entries -= 1;
                        self.rests.push_back(Rest {
                            entries,
                            chunk: batch.chunk,
                        });
                    }
                    None => self.refuse(&batch, &error),
                }
            }
            Verdict::Without(_) | Verdict::Refused => self.refuse(&batch, &error),
        }
    }

    /// Nothing is sent until the batch may be sent again, after this time at least.
    fn pause(&mut self, batch: &mut Batch, shortest: Duration, error: &Error) {
        self.queue.note_failure(&error.to_string());
        let pause = batch.backoff.next_delay().max(shortest);
        let resume_at = after(Instant::now(), pause);
        self.resume_at = Some(self.resume_at.map_or(resume_at, |at| at.max(resume_at)));
    }

    fn refuse(&self, batch: &Batch, error: &Error) {
        self.queue.note_refusal(&error.to_string());
        self.queue.settle(&batch.chunk, Fate::Refused);
    }
}

/// Sends a batch. It may run twice: the log recognises it by its number.
async fn send(
    client: Client,
    producer: Arc<str>,
    timeout: Duration,
    batch: Batch,
) -> (Batch, Result<BatchAppended, Error>) {
    let params = Params {
        producer: &producer,
        batch: batch.number,
        entries: &batch.entries,
    };
    let command = client.command(APPEND_BATCH).idempotent().timeout(timeout);
    let result = command.call(&params).await;
    (batch, result)
}

/// The entries without one of them.
fn without(entries: &RawValue, index: usize) -> Option<Box<RawValue>> {
    let mut entries: Vec<&RawValue> = serde_json::from_str(entries.get()).ok()?;
    if index >= entries.len() {
        return None;
    }

    entries.remove(index);
    serde_json::value::to_raw_value(&entries).ok()
}

/// A name that no other producer has, and that tells an operator whose it is.
fn producer_of(service: &str) -> String {
    let known = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
    let name = service.chars().filter(known).take(PRODUCER_SERVICE_MAX);
    let name: String = name.collect();

    let separator = if name.is_empty() { "" } else { "-" };
    format!("{name}{separator}{:016x}", fastrand::u64(..))
}

/// Says that the worker has ended, however it does: with its runtime, too.
struct Over(Arc<Queue>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set_over();
    }
}

#[cfg(test)]
mod tests {
    use rpc_core::api::log::{Append, Level};

    use super::super::config::ShipperConfig;
    use super::*;

    #[tokio::test]
    async fn a_batch_holds_its_entries_once() {
        let queue = Arc::new(Queue::new("order".into(), ShipperConfig::default()));
        let entry = Append::new(Level::Info, "order", "a message");
        queue.push(&entry).unwrap();
        queue.begin_flush();

        let chunk = queue.next_batch(Instant::now()).unwrap();
        let mut worker = Worker::new(Client::builder("127.0.0.1:1").build(), queue);
        let batch = worker.numbered(chunk);
        let entries: Vec<Append> = serde_json::from_str(batch.entries.get()).unwrap();
        assert_eq!(entries[0].message, "a message");
        assert_eq!(batch.chunk.text.capacity(), 0);
    }

    #[test]
    fn the_name_of_a_producer_is_one_that_the_log_takes_and_its_own() {
        for (service, begins) in [("order", "order-"), ("", ""), ("größe /2", "gre2-")] {
            let [one, other] = [producer_of(service), producer_of(service)];
            assert!(one.starts_with(begins) && one != other, "{one}");
        }
        assert!(producer_of(&"a".repeat(100)).len() <= 64);
    }
}
