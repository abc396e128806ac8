//! Keys of appends: docs/protocol.md, "Repeated calls".

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_server::layers::KeyedCall;
use tokio::time::Instant;

use super::super::queue::{Appended, Outcome, Tell};
use super::super::{StoreError, lock};
use super::known::{KeyOf, KnownKey};
use super::ms;
use super::progress::Progress;

/// How much later than the first try a repetition may have been under way: a connection whose bytes are not
/// acknowledged for so long is given up.
const UNDER_WAY_MAX: Duration = Duration::from_secs(10);

/// Bytes that a key takes beside its own text, about.
const KEY_BYTES: usize = 192;

/// Milliseconds since the store was opened; what was before is negative.
type Ms = i64;

/// The keys of appends, and what has become of them.
pub(in crate::store) struct Keys {
    /// Held for a few operations on maps, and to give an entry its place in the queue.
    state: Mutex<State>,
}

struct State {
    age_max: Ms,
    bytes_max: usize,
    began: Instant,
    /// All keys are known that were received from here on, and not dropped.
    known_since: Ms,
    identities: HashMap<String, OwnKeys>,
    bytes: usize,
    /// The youngest key that was dropped with its whole identity, or in a process before.
    lost: Option<Ms>,
}

/// The keys of one identity.
#[derive(Default)]
struct OwnKeys {
    keys: HashMap<Arc<str>, Key>,
    /// Each with when it was received, the oldest first.
    order: VecDeque<(Ms, Arc<str>)>,
    bytes: usize,
    /// The youngest key that was dropped.
    lost: Option<Ms>,
}

struct Key {
    fingerprint: u128,
    progress: Progress<u64>,
}

/// An append that is done once.
#[derive(Debug)]
pub(crate) struct Once {
    /// What becomes of it, or became of it the first time.
    pub(crate) outcome: Appended,
    /// Whether it was here before.
    pub(crate) is_repetition: bool,
}

/// Makes what tells a key of its outcome, once its entry is taken.
pub(in crate::store) type KeyTell<'a> = &'a dyn Fn() -> Tell;

impl Keys {
    pub(super) fn new(age_max: Duration, bytes_max: usize, now: Instant) -> Self {
        let state = State {
            age_max: ms(age_max),
            bytes_max,
            began: now,
            known_since: 0,
            identities: HashMap::new(),
            bytes: 0,
            lost: None,
        };

        Self {
            state: Mutex::new(state),
        }
    }

    /// Does something with a key once: `push` begins it, unless it was begun before.
    ///
    /// # Errors
    /// [`KeyConflict`](StoreError::KeyConflict) if the key belongs to other params;
    /// [`KeyForgotten`](StoreError::KeyForgotten) if it may have been here and is not known any more;
    /// [`KeysFull`](StoreError::KeysFull) without room for it; and those of `push`.
    pub(in crate::store) fn once(
        self: &Arc<Self>,
        call: &KeyedCall,
        now: Instant,
        push: impl FnOnce(KeyTell<'_>) -> Result<(), StoreError>,
    ) -> Result<Once, StoreError> {
        let mut state = lock(&self.state);
        let now = state.since_began(now);
        let identity = call.identity();
        state.drop_expired(identity, now);

        let own = state.identities.get_mut(identity);
        if let Some(key) = own.and_then(|own| own.keys.get_mut(call.key())) {
            if key.fingerprint != call.fingerprint() {
                return Err(StoreError::KeyConflict {
                    key: call.key().to_owned(),
                });
            }

            let outcome = key.progress.join();
            return Ok(Once {
                outcome: Appended::told_by(outcome),
                is_repetition: true,
            });
        }

        if let Some(age) = call.age()
            && state.may_have_been_here(identity, age, now)
        {
            return Err(StoreError::KeyForgotten);
        }
        if !state.make_room(identity, bytes_of(call.key())) {
            return Err(StoreError::KeysFull);
        }

        let key: Arc<str> = call.key().into();
        push(&|| {
            Tell::Key(KeyRun {
                keys: Arc::clone(self),
                identity: identity.to_owned(),
                key: Arc::clone(&key),
                has_ended: false,
            })
        })?;

        // Its outcome waits for the lock, so that it finds the key.

        let (progress, outcome) = Progress::begin();
        state.insert(identity, key, call.fingerprint(), progress, now);
        Ok(Once {
            outcome: Appended::told_by(outcome),
            is_repetition: false,
        })
    }

    /// Notes the key of an entry that the process before has written. When that was is not known: it counts from now.
    pub(super) fn replay(&self, of: &KeyOf<'_>, seq: u64) {
        lock(&self.state).learn(of, seq, 0);
    }

    /// Notes the keys of a snapshot.
    pub(super) fn load(&self, known: Snapshot) {
        let mut state = lock(&self.state);
        state.lost = state.lost.max(known.lost);
        for KnownKey { key, seq, age_ms } in known.keys {
            state.learn(&key, seq, age_ms.max(0).saturating_neg());
        }
    }

    /// Notes that all keys are known that the process before has not dropped for their age.
    pub(super) fn are_complete(&self) {
        let mut state = lock(&self.state);
        state.known_since = -state.age_max;
    }

    /// Notes that the process before may have known keys that this one does not. A snapshot of this one tells of it.
    pub(super) fn may_have_been_lost(&self) {
        let mut state = lock(&self.state);
        state.lost = state.lost.max(Some(0));
    }

    /// What a later process has to know: keys of entries that are on the disk.
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let state = lock(&self.state);
        let now = state.since_began(now);
        let mut lost = state.lost;
        let mut keys = Vec::new();

        for (identity, own) in &state.identities {
            lost = lost.max(own.lost);
            for (seen, id) in &own.order {
                let key = own.keys.get(id);
                if let Some((key, Progress::Done(seq))) = key.map(|key| (key, &key.progress)) {
                    let key = KeyOf {
                        id: id.to_string().into(),
                        by: identity.clone().into(),
                        hash: key.fingerprint,
                    };
                    let (seq, age_ms) = (*seq, now - seen);
                    keys.push(KnownKey { key, seq, age_ms });
                }
            }
        }

        // The later process begins no earlier than now.
        let lost = lost.map(|lost| lost - now);
        Snapshot { keys, lost }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        lock(&self.state).bytes
    }
}

/// What is written down of all keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) keys: Vec<KnownKey<'static>>,
    /// When the youngest key was received that was dropped, in milliseconds since the snapshot: a negative number.
    pub(super) lost: Option<Ms>,
}

impl State {
    fn since_began(&self, now: Instant) -> Ms {
        ms(now.saturating_duration_since(self.began))
    }

    fn learn(&mut self, of: &KeyOf<'_>, seq: u64, seen: Ms) {
        let known = self.identities.get_mut(&*of.by);
        if let Some(key) = known.and_then(|own| own.keys.get_mut(&*of.id)) {
            // An append that was resent after an error of the disk, and is there twice: the later one counts, also if the
            // earlier one is read behind it.
            if matches!(key.progress, Progress::Done(known) if known > seq) {
                return;
            }
            key.fingerprint = of.hash;
            key.progress = Progress::Done(seq);
            return;
        }

        if self.make_room(&of.by, bytes_of(&of.id)) {
            let key = Arc::from(&*of.id);
            self.insert(&of.by, key, of.hash, Progress::Done(seq), seen);
        } else {
            self.lost = self.lost.max(Some(seen));
        }
    }

    fn insert(
        &mut self,
        identity: &str,
        key: Arc<str>,
        fingerprint: u128,
        progress: Progress<u64>,
        seen: Ms,
    ) {
        let bytes = bytes_of(&key);
        let own = self.identities.entry(identity.to_owned()).or_default();
        own.order.push_back((seen, Arc::clone(&key)));
        own.bytes += bytes;
        self.bytes += bytes;

        let entry = Key {
            fingerprint,
            progress,
        };
        own.keys.insert(key, entry);
    }

    /// Whether a call of this age could have had a key here that is not known any more.
    fn may_have_been_here(&self, identity: &str, age: Duration, now: Ms) -> bool {
        let sent_first = now.saturating_sub(ms(age.saturating_add(UNDER_WAY_MAX)));
        let own = self.identities.get(identity).and_then(|own| own.lost);
        let is_older = |lost: &Ms| sent_first <= *lost;
        sent_first < self.known_since || [self.lost, own].iter().flatten().any(is_older)
    }

    fn drop_expired(&mut self, identity: &str, now: Ms) {
        while let Some(own) = self.identities.get(identity)
            && let Some((seen, _)) = own.order.front()
            && now - seen >= self.age_max
        {
            if !self.drop_oldest(identity) {
                break;
            }
        }
        self.forget_if_empty(identity);
    }

    /// Drops keys until there is room for `bytes` more, the oldest of the identity that has the most of them.
    /// False where all that is left is on its way to the disk.
    fn make_room(&mut self, identity: &str, bytes: usize) -> bool {
        while self.bytes + bytes > self.bytes_max {
            let droppable = self
                .identities
                .iter()
                .filter(|(_, own)| own.oldest_has_ended());
            let largest = droppable
                .max_by_key(|(_, own)| own.bytes)
                .map(|(name, _)| name.clone());

            let Some(largest) = largest else {
                return false;
            };
            self.drop_oldest(&largest);
            if largest != identity {
                self.forget_if_empty(&largest);
            }
        }

        true
    }

    /// Drops the oldest key of an identity, unless it is on its way to the disk.
    fn drop_oldest(&mut self, identity: &str) -> bool {
        let Some(own) = self.identities.get_mut(identity) else {
            return false;
        };
        if !own.oldest_has_ended() {
            return false;
        }

        if let Some((seen, key)) = own.order.pop_front() {
            let bytes = bytes_of(&key);
            own.keys.remove(&key);
            own.lost = own.lost.max(Some(seen));
            own.bytes -= bytes;
            self.bytes -= bytes;
        }
        true
    }

    /// Forgets an identity without keys; what it has lost counts for all, since only that is known of it.
    fn forget_if_empty(&mut self, identity: &str) {
        if let Some(own) = self.identities.get(identity)
            && own.keys.is_empty()
        {
            self.lost = self.lost.max(own.lost);
            self.identities.remove(identity);
        }
    }
}

impl OwnKeys {
    fn oldest_has_ended(&self) -> bool {
        let oldest = self.order.front().and_then(|(_, key)| self.keys.get(key));
        oldest.is_some_and(|key| !key.progress.runs())
    }
}

/// An append with a key on its way to the disk. Dropped without an outcome, it has failed.
pub(in crate::store) struct KeyRun {
    keys: Arc<Keys>,
    identity: String,
    key: Arc<str>,
    has_ended: bool,
}

impl KeyRun {
    /// Tells all that wait for it.
    pub(in crate::store) fn finish(mut self, outcome: &Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: &Outcome) {
        self.has_ended = true;

        let mut state = lock(&self.keys.state);
        let Some(own) = state.identities.get_mut(&self.identity) else {
            return;
        };
        let Some(key) = own.keys.get_mut(&self.key) else {
            return;
        };

        let callers = key.progress.end(outcome);
        if outcome.as_ref().is_err_and(StoreError::did_not_run) {
            // It may be sent again, as if it had never been here.
            own.keys.remove(&self.key);
            own.order.retain(|(_, key)| *key != self.key);
            let bytes = bytes_of(&self.key);
            own.bytes -= bytes;
            state.bytes -= bytes;
            state.forget_if_empty(&self.identity);
        }
        drop(state);

        for caller in callers {
            // A caller that has gone away does not want to know.
            let _ = caller.send(outcome.clone());
        }
    }
}

impl Drop for KeyRun {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(&Err(StoreError::Closed));
        }
    }
}

fn bytes_of(key: &str) -> usize {
    KEY_BYTES + 2 * key.len()
}
