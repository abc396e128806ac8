//! The keys that are known: which calls run, and what the others came to. Nothing in here waits or reads a clock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use rpc_core::Status;
use serde_json::json;
use tokio::time::Instant;

use super::DeduplicateConfig;
use super::key::{KeyId, KeyedCall, UNDER_WAY_MAX};
use super::store::KeptOutcome;
use crate::config::jittered;

/// Time after which a call that found no room is to be sent again, in milliseconds, ±50 % at random.
const RETRY_AFTER_MS: u64 = 200;

/// The result of a call that runs, for each of its callers.
pub(super) type Result = Shared<oneshot::Receiver<KeptOutcome>>;

/// What is to be done with a call.
#[derive(Debug)]
pub(super) enum KeyLookup {
    /// It is the first.
    Run(Run),
    /// It runs already.
    Attach(Result),
    /// It has ended.
    Replay(KeptOutcome),
    /// The key belongs to another call.
    Conflict(Status),
    /// It is not run, and nothing is known of it.
    Refuse(Status),
}

/// A call that is to be run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) result: Result,
    /// Takes the result.
    pub(super) done: oneshot::Sender<KeptOutcome>,
}

/// All keys.
pub(super) struct Keys {
    config: DeduplicateConfig,
    began: Instant,
    identities: HashMap<String, OwnKeys>,
    count: usize,
    bytes: usize,
    /// The youngest key that was dropped with its whole identity, by when it was seen first.
    lost: Option<Instant>,
}

/// The keys of one identity.
#[derive(Default)]
struct OwnKeys {
    entries: HashMap<KeyId, Entry>,
    /// Keys of calls that have ended, the oldest first.
    ended: VecDeque<(Instant, KeyId)>,
    bytes: usize,
    /// The youngest key that was dropped, by when it was seen first.
    lost: Option<Instant>,
}

struct Entry {
    fingerprint: u128,
    seen_first: Instant,
    bytes: usize,
    state: State,
}

enum State {
    Runs(Result),
    Ended(KeptOutcome),
}

impl Keys {
    pub(super) fn new(config: DeduplicateConfig, now: Instant) -> Self {
        Self {
            config,
            began: now,
            identities: HashMap::new(),
            count: 0,
            bytes: 0,
            lost: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is to be done with this call; one that is to be run is noted.
    pub(super) fn begin(&mut self, call: &KeyedCall, now: Instant) -> KeyLookup {
        self.drop_expired(&call.identity, now);

        let own = self.identities.get(&call.identity);
        if let Some(entry) = own.and_then(|own| own.entries.get(&call.id)) {
            if entry.fingerprint != call.fingerprint {
                return KeyLookup::Conflict(conflict(call));
            }
            return match &entry.state {
                State::Runs(result) => KeyLookup::Attach(result.clone()),
                State::Ended(kept) => KeyLookup::Replay(kept.clone()),
            };
        }

        if let Some(age) = call.age
            && self.may_have_been_here(call, age, now)
        {
            return KeyLookup::Refuse(may_have_run());
        }

        let bytes = call.key_bytes() + call.params_bytes;
        if !self.make_room(&call.identity, bytes) {
            return KeyLookup::Refuse(no_room());
        }

        let (done, result) = oneshot::channel();
        let result = result.shared();
        let entry = Entry {
            fingerprint: call.fingerprint,
            seen_first: now,
            bytes,
            state: State::Runs(result.clone()),
        };
        let own = self.identities.entry(call.identity.clone()).or_default();
        own.entries.insert(call.id.clone(), entry);
        own.bytes += bytes;
        self.count += 1;
        self.bytes += bytes;

        KeyLookup::Run(Run { result, done })
    }

    /// Notes what a call came to that was to be run.
    pub(super) fn finish(&mut self, call: &KeyedCall, kept: &KeptOutcome, now: Instant) {
        let Some(own) = self.identities.get_mut(&call.identity) else {
            return;
        };

        if kept.did_not_run() {
            self.forget(call);
            return;
        }

        let Some(entry) = own.entries.get_mut(&call.id) else {
            return;
        };
        let bytes = call.key_bytes() + kept.bytes();
        own.bytes = own.bytes - entry.bytes + bytes;
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        entry.state = State::Ended(kept.clone());
        own.ended.push_back((now, call.id.clone()));

        // A large result may leave too little room for others, or for itself.
        self.make_room(&call.identity, 0);
    }

    /// Takes the key of a call that runs away, as if it had never been here: it may be sent again, or a store knows it.
    pub(super) fn forget(&mut self, call: &KeyedCall) {
        if let Some(own) = self.identities.get_mut(&call.identity)
            && let Some(entry) = own.entries.remove(&call.id)
        {
            own.bytes -= entry.bytes;
            self.bytes -= entry.bytes;
            self.count -= 1;
        }
        self.drop_empty(&call.identity);
    }

    /// Whether a call of this age could have had a key here that is not known any more.
    fn may_have_been_here(&self, call: &KeyedCall, age: Duration, now: Instant) -> bool {
        let sent_first = now.checked_sub(age + UNDER_WAY_MAX);
        let Some(sent_first) = sent_first else {
            return true;
        };

        let own = self.identities.get(&call.identity);
        let lost = [self.lost, own.and_then(|own| own.lost)];
        let is_older = |lost: &Instant| sent_first <= *lost;
        sent_first < self.began || lost.iter().flatten().any(is_older)
    }

    fn drop_expired(&mut self, identity: &str, now: Instant) {
        let age_max = Duration::from_millis(self.config.age_max_ms);
        while let Some(own) = self.identities.get(identity)
            && let Some((ended, _)) = own.ended.front()
            && now.saturating_duration_since(*ended) >= age_max
        {
            self.drop_oldest(identity);
        }
        self.drop_empty(identity);
    }

    /// Drops results until there is room for `bytes` more, and a key where it is not 0. False where all that is
    /// left are calls that run.
    fn make_room(&mut self, identity: &str, bytes: usize) -> bool {
        let keys = usize::from(bytes > 0);
        loop {
            let (own_keys, own_bytes) = self
                .identities
                .get(identity)
                .map_or((0, 0), |own| (own.entries.len(), own.bytes));
            let is_own_full = own_keys + keys > self.config.keys_per_identity
                || own_bytes + bytes > self.config.bytes_per_identity;
            let is_full = self.count + keys > self.config.keys_max
                || self.bytes + bytes > self.config.bytes_max;

            let dropped = if is_own_full {
                self.drop_oldest(identity)
            } else if is_full {
                let largest = self
                    .identities
                    .iter()
                    .filter(|(_, own)| !own.ended.is_empty())
                    .max_by_key(|(_, own)| own.bytes)
                    .map(|(name, _)| name.clone());
                largest.is_some_and(|name| {
                    let dropped = self.drop_oldest(&name);
                    if name != identity {
                        self.drop_empty(&name);
                    }
                    dropped
                })
            } else {
                return true;
            };

            if !dropped {
                return false;
            }
        }
    }

    /// Drops the oldest result of an identity, where it has one.
    fn drop_oldest(&mut self, identity: &str) -> bool {
        let Some(own) = self.identities.get_mut(identity) else {
            return false;
        };
        let Some((_, id)) = own.ended.pop_front() else {
            return false;
        };

        if let Some(entry) = own.entries.remove(&id) {
            own.bytes -= entry.bytes;
            own.lost = own.lost.max(Some(entry.seen_first));
            self.bytes -= entry.bytes;
            self.count -= 1;
        }
        true
    }

    /// Forgets an identity without keys; what it has lost counts for all, since only that is known of it.
    fn drop_empty(&mut self, identity: &str) {
        if let Some(own) = self.identities.get(identity)
            && own.entries.is_empty()
        {
            self.lost = self.lost.max(own.lost);
            self.identities.remove(identity);
        }
    }
}

pub(super) fn conflict(call: &KeyedCall) -> Status {
    let status = Status::already_exists(
        "the `idempotency-key` belongs to a call with other params; a new call needs a new key",
    );
    status.with_details(&json!({ "idempotency_key": call.id.key }))
}

/// Without `rejected`: the tries before may have run.
pub(super) fn may_have_run() -> Status {
    Status::failed_precondition(
        "this call was sent before, and the server cannot know whether it has run: the server was restarted since \
         then, or has dropped keys of that age; check before you send it as a new call",
    )
}

fn no_room() -> Status {
    Status::resource_exhausted(
        "too many calls with an `idempotency-key` are under way; this one did not run, send it again later",
    )
    .with_rejected()
    .with_retry_after(jittered(RETRY_AFTER_MS))
}
