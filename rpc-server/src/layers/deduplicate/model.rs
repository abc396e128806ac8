//! Random orders of calls, repetitions and time against a model that remembers everything.

use std::collections::HashMap;
use std::time::Duration;

use rpc_core::{CmdId, RawJson, Status};
use tokio::time::Instant;

use super::DeduplicateConfig;
use super::key::{KeyId, KeyedCall};
use super::keys::{KeyLookup, Keys};
use super::store::KeptOutcome;

const CONFIG: DeduplicateConfig = DeduplicateConfig {
    age_max_ms: 60_000,
    keys_per_identity: 4,
    bytes_per_identity: 2_000,
    keys_max: 10,
    bytes_max: 5_000,
};

/// A call that the model knows of.
struct Known {
    sent_first: Instant,
    fingerprint: u128,
    /// `None` while it runs.
    came_to: Option<u64>,
}

struct Model {
    random: fastrand::Rng,
    keys: Keys,
    now: Instant,
    known: HashMap<(String, String), Known>,
    running: Vec<KeyedCall>,
    runs: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            random: fastrand::Rng::with_seed(seed),
            // A server that is older than every call.
            keys: Keys::new(CONFIG, now),
            now: now + Duration::from_secs(3_600),
            known: HashMap::new(),
            running: Vec::new(),
            runs: 0,
        }
    }

    fn call(&mut self) -> KeyedCall {
        let identity = format!("identity {}", self.random.u8(0..4));
        let key = format!("key {}", self.random.u8(0..12));
        let known = self.known.get(&(identity.clone(), key.clone()));

        // An honest client: a repetition has the params of its call and says its age; now and then another one has
        // taken the same key.
        let is_other = self.random.u8(0..20) == 0;
        let fingerprint = known.map_or(1, |known| known.fingerprint) + u128::from(is_other);
        KeyedCall {
            id: KeyId {
                cmdid: CmdId::new(100),
                key,
            },
            identity,
            fingerprint,
            params_bytes: self.random.usize(0..300),
            age: known.map(|known| self.now - known.sent_first),
        }
    }

    /// Sends a call, and compares what is done with it with what is known of it.
    fn send(&mut self) {
        let call = self.call();
        let name = (call.identity.clone(), call.id.key.clone());
        let verdict = self.keys.begin(&call, self.now);
        let known = self.known.get(&name);

        match (verdict, known) {
            (KeyLookup::Run(_), known) => {
                assert!(known.is_none(), "{name:?} runs twice");
                self.runs += 1;
                let known = Known {
                    sent_first: self.now,
                    fingerprint: call.fingerprint,
                    came_to: None,
                };
                self.known.insert(name, known);
                self.running.push(call);
            }
            (KeyLookup::Attach(_), Some(known)) => {
                assert!(known.came_to.is_none() && known.fingerprint == call.fingerprint);
            }
            (KeyLookup::Replay(KeptOutcome::Data(data)), Some(known)) => {
                assert_eq!(data.decode::<u64>().ok(), known.came_to, "another's result");
                assert_eq!(known.fingerprint, call.fingerprint);
            }
            (KeyLookup::Conflict(_), Some(known)) => {
                assert_ne!(known.fingerprint, call.fingerprint);
            }
            (KeyLookup::Refuse(status), known) => {
                // Without a promise that is not kept.
                assert!(!status.is_rejected() || known.is_none_or(|known| known.came_to.is_some()));
            }
            (verdict, _) => panic!("{verdict:?} of {name:?}, which was never here"),
        }
    }

    /// Ends one of the calls that run.
    fn finish(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let place = self.random.usize(0..self.running.len());
        let call = self.running.swap_remove(place);
        let name = (call.identity.clone(), call.id.key.clone());

        if self.random.u8(0..4) == 0 {
            // It did not run, and is as if it had never been.
            let kept = KeptOutcome::Failed(Status::unavailable("down"));
            self.keys.finish(&call, &kept, self.now);
            self.known.remove(&name);
        } else {
            let result = self.random.u64(..);
            let data = RawJson::serialize(&result).expect("a number is JSON");
            self.keys.finish(&call, &KeptOutcome::Data(data), self.now);
            self.known.get_mut(&name).expect("it runs").came_to = Some(result);
        }
    }

    fn step(&mut self) {
        match self.random.u8(0..10) {
            0..5 => self.send(),
            5..9 => self.finish(),
            _ => self.now += Duration::from_millis(self.random.u64(0..40_000)),
        }

        assert!(self.keys.len() <= CONFIG.keys_max && self.keys.bytes() <= CONFIG.bytes_max);
    }
}

#[test]
fn in_whatever_order_calls_come_none_runs_twice_and_each_gets_its_own_result() {
    let mut runs = 0;
    for seed in 0..500 {
        let mut model = Model::new(seed);
        for _ in 0..200 {
            model.step();
        }
        runs += model.runs;
    }

    assert!(runs > 5_000, "{runs} runs say little");
}
