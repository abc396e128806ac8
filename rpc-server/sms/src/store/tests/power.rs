//! A loss of power at any instant, on the files that SQLite really writes.
//!
//! Processes accept messages, submit some of them and note what becomes of these, with checkpoints in between. The disk is then
//! made as it may be after a loss of power between two of their calls to the system: pages that were written and not synced are
//! there, or not, or in part. An outbox that opens there has all that was acknowledged before, and nothing waits in it that may
//! have been submitted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use futures::future::join_all;
use rusqlite::Connection;

use self::simulated::{Call, Disk, recorded};
use super::*;

#[path = "../../../../tests/power/mod.rs"]
mod simulated;

/// Number of losses of power. `.ci/full` asks for more.
const CUTS: &str = "SMS_POWER_CUTS";
const CUTS_DEFAULT: u64 = 300;

/// How many processes write one after the other, how often each does so, and how many messages it accepts at once.
const PROCESSES: u64 = 3;
const ROUNDS: u64 = 8;
const BURST: usize = 4;

/// Tell a test that it runs as a child: the directory, and the number of the process.
const CHILD_DIR: &str = "SMS_STORE_TEST_DIR";
const CHILD_NUMBER: &str = "SMS_STORE_TEST_NUMBER";

/// A number that opts out.
const OPTED_OUT: &str = "+8613800138009";

/// Tells the parent something, with one write, so that it is there whole or not at all. The newline before it ends what the
/// test harness has written.
fn say(line: &str) {
    std::io::stdout()
        .write_all(format!("\nack {line};\n").as_bytes())
        .unwrap();
}

async fn run<T: Send + 'static>(
    store: &Store,
    transition: impl FnOnce(&mut dyn Transitions) -> Result<T, StoreError> + Send + 'static,
) -> T {
    store.run(transition).await.unwrap()
}

async fn accept(store: &Store, key: String) {
    let keyed = NewMessage {
        key: Some(key.clone()),
        ..message("hello")
    };
    let accepted = run(store, move |store| store.accept(&keyed, NOW)).await;
    say(&format!("accepted {key} {}", accepted.id));
}

/// What becomes of an attempt, each in its turn; the last one is left as it is.
async fn attempt(store: &Store, claimed: Claimed, turn: u64) {
    let (id, attempt) = (claimed.id, claimed.attempt);
    say(&format!("submitted {id} {attempt}"));

    let reference = format!("{id}-{attempt}");
    let event = match turn % 4 {
        0 => AttemptEvent::Accepted {
            parts: Parts::whole(Some(reference.clone())),
        },
        1 => AttemptEvent::Accepted {
            parts: Parts {
                count: 2,
                accepted: vec![Some(reference.clone()), Some(format!("{reference}b"))],
            },
        },
        2 => {
            say(&format!("refused {id} {attempt}"));
            AttemptEvent::Refused {
                error: "temporary".into(),
                retry_at: NOW,
                gateway: "one".into(),
            }
        }
        _ => return,
    };

    let is_accepted = matches!(event, AttemptEvent::Accepted { .. });
    let end = AttemptEnd { id, attempt, event };
    run(store, move |store| store.finish(&end, NOW)).await;
    if !is_accepted {
        return;
    }
    say(&format!("sent {id}"));

    if turn.is_multiple_of(8) {
        let receipt = receipt_of(&reference, ReceiptState::Delivered);
        run(store, move |store| store.receipt(&receipt, NOW)).await;
        say(&format!("delivered {id}"));
    }
}

#[tokio::test]
#[ignore = "does nothing but as a child of the next test"]
async fn child_that_sends_and_ends() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let process: u64 = std::env::var(CHILD_NUMBER).unwrap().parse().unwrap();
    let file = Path::new(&dir).join("sms.sqlite");
    let store = Store::open(&file, StoreConfig::default(), NOW).unwrap();

    let number = Number::parse(OPTED_OUT, None).unwrap();
    run(&store, move |store| {
        store.opt_out(&number, Some(OptOutScope::All), NOW)
    })
    .await;
    say("opted_out");

    for round in 0..ROUNDS {
        let keys = (0..BURST).map(|n| format!("{process}-{round}-{n}"));
        join_all(keys.map(|key| accept(&store, key))).await;

        let rules = ClaimRules::default();
        let claimed = run(&store, move |store| store.claim("one", BURST, &rules, NOW)).await;
        let attempts = claimed
            .into_iter()
            .zip(round..)
            .map(|(claimed, turn)| attempt(&store, claimed, turn));
        join_all(attempts).await;
        say(&format!("event {}", *store.last_event().borrow()));

        // What fills the log of the database over time.
        if round % 3 == 2 {
            let connection = Connection::open(&file).unwrap();
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            connection.query_row(checkpoint, [], |_| Ok(())).unwrap();
        }
    }

    // Each second process ends as if it was killed.
    if process % 2 == 1 {
        std::process::exit(0);
    }
}

/// What children have told.
#[derive(Default)]
struct Told {
    accepted: BTreeMap<String, MessageId>,
    /// The last attempt of each message.
    submitted: BTreeMap<MessageId, u32>,
    refused: BTreeSet<(MessageId, u32)>,
    sent: BTreeSet<MessageId>,
    delivered: BTreeSet<MessageId>,
    event: u64,
    has_opted_out: bool,
}

impl Told {
    fn note(&mut self, line: &str) {
        let line = line.strip_prefix("ack ").unwrap().trim_end_matches(';');
        let words: Vec<&str> = line.split(' ').collect();
        let id = |word: &str| word.parse::<MessageId>().unwrap();

        match words[..] {
            ["accepted", key, of] => drop(self.accepted.insert(key.into(), id(of))),
            ["submitted", of, attempt] => {
                let attempt = attempt.parse().unwrap();
                let before = self.submitted.insert(id(of), attempt);
                // As a provider sees it: each attempt once, and none behind one that it may have taken.
                assert!(
                    before.is_none_or(|before| self.refused.contains(&(id(of), before))),
                    "{line}"
                );
            }
            ["refused", of, attempt] => {
                self.refused.insert((id(of), attempt.parse().unwrap()));
            }
            ["sent", of] => drop(self.sent.insert(id(of))),
            ["delivered", of] => drop(self.delivered.insert(id(of))),
            ["event", number] => self.event = number.parse().unwrap(),
            ["opted_out"] => self.has_opted_out = true,
            _ => panic!("{line}"),
        }
    }

    /// Checks an outbox that was opened after a loss of power.
    async fn check(&self, store: &Store, case: &str) {
        let reader = store.reader();
        for (key, id) in &self.accepted {
            let found = reader.message_of_key("shop", key).unwrap();
            assert_eq!(found.map(|found| found.id), Some(*id), "{case}: {key}");
        }

        let state = |id: &MessageId| {
            let found = reader.messages(&[*id], &Viewer::All).unwrap();
            found[0].state
        };
        for id in &self.sent {
            let state = state(id);
            let is_sent = matches!(state, State::Sent | State::Delivered);
            assert!(is_sent, "{case}: {id} is {state}");
        }
        for id in &self.delivered {
            assert_eq!(state(id), State::Delivered, "{case}: {id}");
        }
        let number = Number::parse(OPTED_OUT, None).unwrap();
        let opt_out = reader.opt_out(&number).unwrap();
        assert!(opt_out.is_some() || !self.has_opted_out, "{case}");
        self.check_claims(store, case).await;

        let next = message("next");
        run(store, move |store| store.accept(&next, NOW)).await;
        let event = *store.last_event().borrow();
        assert!(
            event > self.event,
            "{case}: event {event} was given out twice"
        );
    }

    /// Whatever waits was not submitted, or was certainly refused.
    async fn check_claims(&self, store: &Store, case: &str) {
        let rules = ClaimRules::default();
        let claimed = run(store, move |store| store.claim("one", 10_000, &rules, NOW)).await;
        for Claimed { id, attempt, .. } in claimed {
            let Some(before) = self.submitted.get(&id) else {
                continue;
            };
            assert!(
                self.refused.contains(&(id, *before)),
                "{case}: {id} would be submitted twice"
            );
            assert!(
                attempt > *before,
                "{case}: {id} has attempt {attempt} twice"
            );
        }
    }
}

fn integrity(file: &Path) -> String {
    let connection = Connection::open(file).unwrap();
    connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

/// Runs the test above as a process of its own.
fn child(dir: &TempDir, process: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let (_crate, module) = module_path!().split_once("::").unwrap();
    command
        .args(["--exact", "--ignored", "--nocapture"])
        .arg(format!("{module}::child_that_sends_and_ends"))
        .env(CHILD_DIR, dir.path())
        .env(CHILD_NUMBER, process.to_string());
    command
}

/// The calls of all processes; `None` where no process can be traced.
fn calls() -> Option<Vec<Call>> {
    let dir = TempDir::new().unwrap();
    let processes = (0..PROCESSES).map(|process| child(&dir, process));
    let calls = recorded(dir.path(), processes)?;

    let count = |is: &dyn Fn(&Call) -> bool| calls.iter().filter(|call| is(call)).count() as u64;
    let accepted =
        count(&|call| matches!(call, Call::Say(line) if line.starts_with("ack accepted ")));
    assert_eq!(accepted, PROCESSES * ROUNDS * BURST as u64);
    // The log of the database and the database itself, behind checkpoints.
    for synced in ["sms.sqlite-wal", "sms.sqlite"] {
        let syncs = count(&|call| matches!(call, Call::SyncFile { name } if name == synced));
        let writes = count(&|call| matches!(call, Call::WriteAt { name, .. } if name == synced));
        assert!(
            syncs > PROCESSES && writes > syncs,
            "{synced}: {syncs} syncs of {writes} writes"
        );
    }
    Some(calls)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_submitted_waits_after_a_loss_of_power_whatever_the_disk_has_kept()
 {
    let cuts = std::env::var(CUTS).map_or(CUTS_DEFAULT, |cuts| cuts.parse().unwrap());
    let Some(calls) = calls() else {
        return;
    };

    let mut with_losses = 0;
    for seed in 0..cuts {
        let mut random = fastrand::Rng::with_seed(seed);
        let at = random.usize(..=calls.len());
        let (mut disk, mut told) = (Disk::default(), Told::default());
        for call in &calls[..at] {
            match call {
                Call::Say(line) => told.note(line),
                call => disk.run(call),
            }
        }

        let case = format!("seed {seed}, call {at} of {}", calls.len());
        let left = TempDir::new().unwrap();
        disk.after_loss_of_power(&mut random, left.path());
        with_losses += u64::from(!disk.has_kept_all(left.path()));
        let file = left.path().join("sms.sqlite");
        let store = Store::open(&file, StoreConfig::default(), NOW)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(integrity(&file), "ok", "{case}");
        told.check(&store, &case).await;
    }

    // Many cost something that need not be there.
    assert!(with_losses > cuts / 4, "{with_losses} of {cuts}");
}
