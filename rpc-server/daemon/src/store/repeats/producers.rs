//! Batches of producers, by their numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_core::Fingerprint;
use rpc_core::api::log::{BATCH_ENTRIES_MAX, PRODUCER_BYTES_MAX};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::new_entries::NewBatch;
use super::super::queue::{Appended, Outcome, Tell};
use super::super::{StoreError, lock};
use super::hash::folded;
use super::keys::Once;
use super::progress::Progress;

/// Number of batches that are remembered of a producer.
const BATCHES_MAX: usize = 64;

/// Number of producers that are remembered. Beyond it, the one that was silent for longest is forgotten.
const PRODUCERS_MAX: usize = 10_000;

/// Time after which a silent producer is forgotten.
pub(super) const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A batch, as the line of its first entry has it: `producer/number/count/hash/check`.
///
/// The hash is over what the entries say. The check is over all before it: a count that was damaged on the disk
/// would make a whole batch look like one that was not written to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct BatchOf {
    pub(in crate::store) producer: String,
    pub(in crate::store) number: u64,
    /// Number of its entries.
    pub(in crate::store) count: u64,
    pub(in crate::store) hash: u64,
    /// What an older version has written as the hash, if that was asked for.
    pub(in crate::store) text_hash: Option<u64>,
}

impl BatchOf {
    pub(in crate::store) fn new(producer: String, number: u64, entries: &NewBatch) -> Self {
        Self {
            producer,
            number,
            count: entries.len() as u64,
            hash: entries.hash(),
            text_hash: entries.text_hash(),
        }
    }

    fn has_hash(&self, hash: u64) -> bool {
        hash == self.hash || Some(hash) == self.text_hash
    }
}

impl fmt::Display for BatchOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!(
            "{}/{}/{}/{:016x}",
            self.producer, self.number, self.count, self.hash
        );
        let check = folded(Fingerprint::of(head.as_bytes())) & 0xffff_ffff;
        write!(f, "{head}/{check:08x}")
    }
}

impl FromStr for BatchOf {
    type Err = ();

    /// Takes only what it has written itself.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(());
        let batch = Self {
            producer: part()?.to_owned(),
            number: part()?.parse().map_err(drop)?,
            count: part()?.parse().map_err(drop)?,
            hash: u64::from_str_radix(part()?, 16).map_err(drop)?,
            text_hash: None,
        };

        let is_sound = batch.producer.len() <= PRODUCER_BYTES_MAX
            && (1..=BATCH_ENTRIES_MAX as u64).contains(&batch.count)
            && batch.to_string() == text;
        is_sound.then_some(batch).ok_or(())
    }
}

/// What is remembered of all producers.
pub(in crate::store) struct Producers {
    /// Held for a few operations on maps, and to give a batch its place in the queue.
    state: Mutex<State>,
}

struct State {
    began: Instant,
    producers: HashMap<String, Producer>,
    /// By when they were heard of last, the longest silence first.
    silent: BTreeMap<u64, String>,
    ticks: u64,
}

struct Producer {
    /// Its place among `silent`.
    tick: u64,
    /// When it was heard of last, in milliseconds since the store was opened.
    heard: i64,
    batches: BTreeMap<u64, Batch>,
    /// The highest number that was forgotten; 0 if none was.
    forgotten: u64,
}

struct Batch {
    hash: u64,
    /// The number of its first entry.
    progress: Progress<u64>,
}

/// What is written down of a producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownProducer {
    pub(super) producer: String,
    forgotten: u64,
    /// For how long it was silent, in milliseconds.
    age_ms: i64,
    batches: Vec<KnownBatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KnownBatch {
    number: u64,
    first: u64,
    hash: u64,
}

impl Producers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                began: now,
                producers: HashMap::new(),
                silent: BTreeMap::new(),
                ticks: 0,
            }),
        }
    }

    /// Does something with a batch once: `push` begins it, unless it was begun before. The outcome is the number of its
    /// first entry.
    ///
    /// # Errors
    /// [`BatchConflict`](StoreError::BatchConflict) and [`BatchStale`](StoreError::BatchStale);
    /// [`Overloaded`](StoreError::Overloaded) if all batches that are remembered are under way; and those of `push`.
    pub(in crate::store) fn once(
        self: &Arc<Self>,
        batch: &BatchOf,
        now: Instant,
        push: impl FnOnce(&dyn Fn() -> Tell) -> Result<(), StoreError>,
    ) -> Result<Once, StoreError> {
        let mut state = lock(&self.state);
        let now = state.since_began(now);
        state.drop_expired(now);

        if let Some(producer) = state.producers.get_mut(&batch.producer) {
            if let Some(known) = producer.batches.get_mut(&batch.number) {
                if !batch.has_hash(known.hash) {
                    return Err(StoreError::BatchConflict);
                }

                let outcome = known.progress.join();
                state.hear(&batch.producer, now);
                return Ok(Once {
                    outcome: Appended::told_by(outcome),
                    is_repetition: true,
                });
            }
            producer.make_room(batch.number)?;
        } else if !state.make_room() {
            return Err(StoreError::Overloaded);
        }

        push(&|| {
            Tell::Batch(BatchRun {
                producers: Arc::clone(self),
                producer: batch.producer.clone(),
                number: batch.number,
                has_ended: false,
            })
        })?;

        // Its outcome waits for the lock, so that it finds the batch.
        let (progress, outcome) = Progress::begin();
        state.insert(batch, progress, now);
        Ok(Once {
            outcome: Appended::told_by(outcome),
            is_repetition: false,
        })
    }

    /// Whether the producer has a batch with this number, and another hash.
    pub(in crate::store) fn has_other(&self, producer: &str, number: u64, hash: u64) -> bool {
        let state = lock(&self.state);
        let known = state.producers.get(producer);
        let known = known.and_then(|producer| producer.batches.get(&number));
        known.is_some_and(|batch| batch.hash != hash)
    }

    /// Notes a batch that the process before has written, whose first entry has this number.
    pub(super) fn replay(&self, batch: &BatchOf, first: u64) {
        let mut state = lock(&self.state);
        let known = state.producers.get_mut(&batch.producer);
        let has_room = match known {
            // Making room for it would forget another one.
            Some(producer) if producer.batches.contains_key(&batch.number) => return,
            Some(producer) => producer.make_room(batch.number).is_ok(),
            None => state.make_room(),
        };
        if has_room {
            state.insert(batch, Progress::Done(first), 0);
        }
    }

    /// Notes the producers of a snapshot.
    pub(super) fn load(&self, known: Vec<KnownProducer>) {
        let mut state = lock(&self.state);
        for known in known {
            let heard = known.age_ms.max(0).saturating_neg();
            let batches = known.batches.iter().map(|batch| {
                let (hash, progress) = (batch.hash, Progress::Done(batch.first));
                (batch.number, Batch { hash, progress })
            });
            let producer = Producer {
                tick: 0,
                heard,
                batches: batches.collect(),
                forgotten: known.forgotten,
            };

            state.producers.insert(known.producer.clone(), producer);
            state.hear(&known.producer, heard);
        }
    }

    /// What a later process has to know, the longest silence first.
    pub(super) fn snapshot(&self, now: Instant) -> Vec<KnownProducer> {
        let mut state = lock(&self.state);
        let now = state.since_began(now);
        state.drop_expired(now);

        let known = |name: &String| {
            let producer = state.producers.get(name)?;
            let batches = producer.batches.iter().filter_map(|(number, batch)| {
                let (number, hash) = (*number, batch.hash);
                match batch.progress {
                    Progress::Done(first) => Some(KnownBatch {
                        number,
                        first,
                        hash,
                    }),
                    Progress::Runs(_) | Progress::Failed(_) => None,
                }
            });
            let known = KnownProducer {
                producer: name.clone(),
                forgotten: producer.forgotten,
                age_ms: now - producer.heard,
                batches: batches.collect(),
            };
            // One whose first batch is under way is known by its line.
            (known.forgotten > 0 || !known.batches.is_empty()).then_some(known)
        };
        state.silent.values().filter_map(known).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.state).producers.len()
    }
}

impl State {
    fn since_began(&self, now: Instant) -> i64 {
        super::ms(now.saturating_duration_since(self.began))
    }

    fn insert(&mut self, batch: &BatchOf, progress: Progress<u64>, now: i64) {
        let producer = self
            .producers
            .entry(batch.producer.clone())
            .or_insert_with(|| Producer {
                tick: 0,
                heard: now,
                batches: BTreeMap::new(),
                forgotten: 0,
            });

        let hash = batch.hash;
        producer
            .batches
            .insert(batch.number, Batch { hash, progress });
        self.hear(&batch.producer, now);
    }

    /// Notes that a producer was heard of.
    fn hear(&mut self, name: &str, now: i64) {
        self.ticks += 1;
        if let Some(producer) = self.producers.get_mut(name) {
            self.silent.remove(&producer.tick);
            self.silent.insert(self.ticks, name.to_owned());
            (producer.tick, producer.heard) = (self.ticks, now);
        }
    }

    fn drop_expired(&mut self, now: i64) {
        let age_max = super::ms(AGE_MAX);
        while let Some((tick, name)) = self.silent.first_key_value()
            && let Some(producer) = self.producers.get(name)
            && now - producer.heard >= age_max
            && !producer.has_running()
        {
            let tick = *tick;
            self.forget(tick);
        }
    }

    /// Makes room for another producer; false where each has a batch under way.
    fn make_room(&mut self) -> bool {
        if self.producers.len() < PRODUCERS_MAX {
            return true;
        }

        let mut silent = self.silent.iter();
        let oldest = silent.find(|(_, name)| {
            let producer = self.producers.get(*name);
            producer.is_some_and(|producer| !producer.has_running())
        });
        let Some((&tick, _)) = oldest else {
            return false;
        };
        self.forget(tick);
        true
    }

    fn forget(&mut self, tick: u64) {
        if let Some(name) = self.silent.remove(&tick) {
            self.producers.remove(&name);
        }
    }
}

impl Producer {
    fn has_running(&self) -> bool {
        self.batches.values().any(|batch| batch.progress.runs())
    }

    /// Makes room for a batch that is not known.
    fn make_room(&mut self, number: u64) -> Result<(), StoreError> {
        let is_full = self.batches.len() >= BATCHES_MAX;
        let lowest = self.batches.first_key_value().map(|(lowest, _)| *lowest);

        let is_stale = is_full && lowest.is_some_and(|lowest| number < lowest);
        if is_stale || number <= self.forgotten {
            let last = self.batches.last_key_value().map(|(last, _)| *last);
            let last_batch = last.unwrap_or(self.forgotten);
            return Err(StoreError::BatchStale { last_batch });
        }

        if let Some(lowest) = self.batches.first_entry().filter(|_| is_full) {
            if lowest.get().progress.runs() {
                return Err(StoreError::Overloaded);
            }
            self.forgotten = self.forgotten.max(*lowest.key());
            lowest.remove();
        }
        Ok(())
    }
}

/// A batch on its way to the disk. Dropped without an outcome, it has failed.
pub(in crate::store) struct BatchRun {
    producers: Arc<Producers>,
    producer: String,
    number: u64,
    has_ended: bool,
}

impl BatchRun {
    /// Tells all that wait for it.
    pub(in crate::store) fn finish(mut self, outcome: &Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: &Outcome) {
        self.has_ended = true;

        let mut state = lock(&self.producers.state);
        let Some(producer) = state.producers.get_mut(&self.producer) else {
            return;
        };
        let Some(batch) = producer.batches.get_mut(&self.number) else {
            return;
        };

        let callers = batch.progress.end(outcome);
        let is_left_behind = matches!(outcome, Err(StoreError::LeftBehind { .. }));
        if outcome.is_err() && !is_left_behind {
            // It was taken back, and may be sent again as if it had never been here.
            producer.batches.remove(&self.number);
        }
        drop(state);

        for caller in callers {
            // A caller that has gone away does not want to know.
            let _ = caller.send(outcome.clone());
        }
    }
}

impl Drop for BatchRun {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(&Err(StoreError::Closed));
        }
    }
}
