//! A process that is killed while it writes batches, appends with keys and emits, and the next one, which sends again what
//! was not acknowledged.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};

use tokio::task::JoinSet;

use super::batches::{batch_of, entries};
use super::disk::{CHILD_DIR, ROUND, child};
use super::keys::append_once;
use super::*;

/// How often a process is killed. `.ci/full` asks for more.
const KILLS: &str = "LOG_KILLS";
const KILLS_DEFAULT: u64 = 50;

/// Number of entries of each batch.
const ENTRIES: u64 = 3;

/// Number of entries that are emitted before each flush.
const EMITS: u64 = 3;

/// Those that send, each with a number that it goes on behind.
const SENDERS: [&str; 3] = ["p", "q", "key"];
const BEHIND: &str = "LOG_STORE_TEST_BEHIND";

pub(super) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 3000,
        // While the process is killed, a segment is being compressed.
        #[cfg(feature = "zstd")]
        compression: Compression::Zstd,
        ..LogConfig::default()
    }
}

/// How long ago the process before may have sent something, in milliseconds. A log that was just made refuses what was sent
/// before it: it cannot tell whether another log was here then.
pub(super) fn key_age(store: &LogStore) -> Option<u64> {
    (store.last() > 0).then_some(1000)
}

/// Sends the thing with this number; returns the number of its first entry. A key may have been sent by the process before,
/// this number of milliseconds ago.
pub(super) async fn send(store: &LogStore, sender: &str, number: u64, key_age: Option<u64>) -> u64 {
    if sender == "key" {
        let (id, message) = (format!("k{number}"), format!("key.{number}"));
        let sent = append_once(store, &id, &message, key_age).await;
        return sent.unwrap().0;
    }

    let entries: Vec<Append> = entries(number, ENTRIES)
        .into_iter()
        .map(|new| entry(format!("{sender}.{}", new.message)))
        .collect();
    let once = store
        .append_batch(sender, number, batch_of(&entries))
        .unwrap();
    once.outcome.await.unwrap()
}

/// Emits entries with these numbers, and returns when they are on the disk.
pub(super) async fn emit(store: &LogStore, sender: &str, numbers: std::ops::RangeInclusive<u64>) {
    let emitter = store.emitter(None);
    for number in numbers {
        let entries = [entry(format!("{sender}-{number}"))];
        store.emit(&emitter, &entries, Overflow::Drop).unwrap();
    }
    store.flushed().unwrap().await.unwrap();
}

/// Tells the parent that something is on the disk.
pub(super) fn acknowledge(sender: &str, number: u64, first: u64) {
    // With one write, so that it is there whole or not at all. The newline before it ends what the test harness has written.
    std::io::stdout()
        .write_all(format!("\nack {sender} {number} {first};\n").as_bytes())
        .unwrap();
}

#[tokio::test]
#[ignore = "does nothing but as a child of the next test"]
async fn child_that_sends_all_twice_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let behind = std::env::var(BEHIND).unwrap();
    let behind = behind
        .split(',')
        .map(|number| number.parse::<u64>().unwrap());
    let store = Arc::new(open_with(Path::new(&dir), config()).unwrap());
    let key_age = key_age(&store);

    let mut tasks = JoinSet::new();
    for (sender, behind) in SENDERS.into_iter().zip(behind) {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for number in behind + 1.. {
                let first = send(&store, sender, number, key_age).await;

                acknowledge(sender, number, first);
                assert_eq!(send(&store, sender, number, key_age).await, first);
                if number > 5 {
                    send(&store, sender, number - 5, key_age).await;
                }
            }
        });
    }

    // Emits are not sent again: each process has its own.
    let sender = format!("emit{}", std::env::var(ROUND).unwrap());
    tasks.spawn(async move {
        for number in (1..).map(|n| n * EMITS) {
            emit(&store, &sender, number - EMITS + 1..=number).await;
            acknowledge(&sender, number, 0);
        }
    });
    // None of them ends by itself: the first one that fails ends the process.
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// What was acknowledged: by sender and number, the number of the first entry; of emits, which are all on the disk up to that
/// number, 0.
pub(super) type Acknowledged = BTreeMap<(String, u64), u64>;

/// Notes a line of a child; returns whether it acknowledges something.
pub(super) fn note(acknowledged: &mut Acknowledged, line: &str) -> bool {
    let ack = line
        .strip_prefix("ack ")
        .and_then(|rest| rest.strip_suffix(';'));
    let Some(ack) = ack else {
        return false;
    };

    let mut parts = ack.split(' ');
    let mut part = || parts.next().unwrap();
    let (sender, number) = (part().to_owned(), part().parse().unwrap());
    let known = acknowledged.insert((sender, number), part().parse().unwrap());
    assert_eq!(known, None, "{ack}");
    true
}

#[tokio::test]
async fn what_is_sent_again_after_a_kill_is_there_once_and_no_batch_in_part() {
    let kills = std::env::var(KILLS).map_or(KILLS_DEFAULT, |kills| kills.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut acknowledged = Acknowledged::new();

    for round in 0..kills {
        let behind = SENDERS.map(|sender| {
            let of_sender = acknowledged.keys().filter(|(name, _)| name == sender);
            of_sender
                .map(|(_, number)| *number)
                .max()
                .unwrap_or(0)
                .to_string()
        });
        let name = "child_that_sends_all_twice_until_it_is_killed";
        let mut child = child(name, module_path!(), &dir, None)
            .env(BEHIND, behind.join(","))
            .env(ROUND, round.to_string())
            .spawn()
            .unwrap();

        // Another number each time, so that the kill comes at another point of a segment.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + round * 13 % 40;
        while left > 0 {
            let line = lines.next().expect("the child died").unwrap();
            left -= u64::from(note(&mut acknowledged, &line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            note(&mut acknowledged, &line.unwrap());
        }

        let store = open_with(dir.path(), config()).unwrap();
        let found = read_all(&store, &query(0)).await;
        assert_eq!(store.damaged(), 0, "round {round}");
        check(&found, &acknowledged, &format!("round {round}"));
    }

    // Of all that is sent, something was acknowledged.
    if kills >= KILLS_DEFAULT {
        for sender in SENDERS.into_iter().chain(["emit"]) {
            let mut names = acknowledged.keys().map(|(name, _)| name);
            assert!(names.any(|name| name.starts_with(sender)), "{sender}");
        }
    }
}

/// Checks that all is there that was acknowledged, nothing twice, and no batch in part.
pub(super) fn check(found: &[(u64, String)], acknowledged: &Acknowledged, case: &str) {
    let by_message: HashMap<&str, u64> = found
        .iter()
        .map(|(seq, message)| (&**message, *seq))
        .collect();
    assert_eq!(
        by_message.len(),
        found.len(),
        "{case}: an entry is there twice"
    );

    for ((sender, number), first) in acknowledged {
        if sender.starts_with("emit") {
            for number in number - EMITS + 1..=*number {
                let message = format!("{sender}-{number}");
                assert!(
                    by_message.contains_key(&*message),
                    "{case}: {message} is lost"
                );
            }
            continue;
        }

        let message = match sender.as_str() {
            "key" => format!("key.{number}"),
            _ => format!("{sender}.{number}.1"),
        };
        assert_eq!(by_message.get(&*message), Some(first), "{case}: {message}");
    }

    let is_of_batch = |message: &&str| !message.starts_with("key") && !message.starts_with("emit");
    let of_batches = || by_message.keys().copied().filter(is_of_batch);
    let firsts = of_batches().filter_map(|message| message.strip_suffix(".1"));
    for batch in firsts.clone() {
        let first = by_message[&*format!("{batch}.1")];
        let rest = (2..=ENTRIES).map(|n| by_message.get(&*format!("{batch}.{n}")));
        let expected = (1..ENTRIES).map(|n| first + n);
        assert!(
            rest.flatten().copied().eq(expected),
            "{case}: {batch} is there in part"
        );
    }
    assert_eq!(
        firsts.count() as u64 * ENTRIES,
        of_batches().count() as u64,
        "{case}"
    );
}
