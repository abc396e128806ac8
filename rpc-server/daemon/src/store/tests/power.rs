//! A loss of power at any instant, on a simulated disk that keeps what was synced and as much of the rest as it likes.
//!
//! Processes write a log, and the disk is made as it may be after a loss of power between two of their calls to the system:
//! what was written to a file and not synced is there to any byte, as zeros, or not at all, and of the names that were made,
//! changed and removed since the directory was synced, any are. A store that opens there has to have all that was acknowledged
//! before.

#[path = "../../../../tests/power/mod.rs"]
pub(super) mod simulated;

use self::simulated::{Call, Disk, recorded};
use super::disk::{CHILD_DIR, child};
use super::kill::{Acknowledged, acknowledge, check, config, emit, key_age, note, send};
use super::*;

/// Number of losses of power. `.ci/full` asks for more.
const CUTS: &str = "LOG_POWER_CUTS";
const CUTS_DEFAULT: u64 = 300;

/// How many processes write one after the other, and how much each sends.
const PROCESSES: u64 = 3;
const NUMBERS: u64 = 12;
const BEHIND: &str = "LOG_STORE_TEST_BEHIND";

#[tokio::test]
#[ignore = "does nothing but as a child of the next test"]
async fn child_that_writes_and_ends() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let behind: u64 = std::env::var(BEHIND).unwrap().parse().unwrap();
    let store = open_with(Path::new(&dir), config()).unwrap();
    let key_age = key_age(&store);

    for number in behind + 1..=behind + NUMBERS {
        let sent = async |sender| {
            let first = send(&store, sender, number, key_age).await;
            acknowledge(sender, number, first);
        };
        let emitted = async {
            emit(&store, "emit", number * 3 - 2..=number * 3).await;
            acknowledge("emit", number * 3, 0);
        };
        tokio::join!(sent("p"), sent("q"), sent("key"), emitted);
    }

    // Each second process ends as if it was killed.
    if behind / NUMBERS % 2 == 1 {
        std::process::exit(0);
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_a_loss_of_power_is_there_whatever_the_disk_has_kept() {
    let cuts = std::env::var(CUTS).map_or(CUTS_DEFAULT, |cuts| cuts.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let processes = (0..PROCESSES).map(|process| {
        let mut writing = child("child_that_writes_and_ends", module_path!(), &dir, None);
        writing.env(BEHIND, (process * NUMBERS).to_string());
        writing
    });
    let Some(calls) = recorded(dir.path(), processes) else {
        return;
    };
    let acks = calls.iter().filter(|call| matches!(call, Call::Say(_)));
    assert_eq!(acks.count() as u64, PROCESSES * NUMBERS * 4);
    let syncs = calls
        .iter()
        .filter(|call| matches!(call, Call::SyncFile { .. }));
    assert!(syncs.count() > 0);

    let (mut with_acknowledged, mut with_losses) = (0, 0);
    for seed in 0..cuts {
        let mut random = fastrand::Rng::with_seed(seed);
        let at = random.usize(..=calls.len());
        let mut disk = Disk::default();
        let mut acknowledged = Acknowledged::new();
        for call in &calls[..at] {
            match call {
                Call::Say(line) => assert!(note(&mut acknowledged, line), "{line}"),
                call => disk.run(call),
            }
        }

        let case = format!("seed {seed}, call {at} of {}", calls.len());
        let left = TempDir::new().unwrap();
        disk.after_loss_of_power(&mut random, left.path());
        with_acknowledged += u64::from(!acknowledged.is_empty());
        with_losses += u64::from(!disk.has_kept_all(left.path()));
        let store =
            open_with(left.path(), config()).unwrap_or_else(|error| panic!("{case}: {error}"));
        let found = read_all(&store, &query(0)).await;
        check(&found, &acknowledged, &case);
        assert_eq!(store.damaged(), 0, "{case}");

        let highest = acknowledged.values().max().copied().unwrap_or(0);
        let next = store.append(&entry("next")).unwrap().await.unwrap();
        assert!(next > highest, "{case}: {next} was given out twice");
    }

    // Most of them come behind something that has to be there, and many cost something that need not.
    assert!(
        with_acknowledged > cuts / 2,
        "{with_acknowledged} of {cuts}"
    );
    assert!(with_losses > cuts / 4, "{with_losses} of {cuts}");
}

#[test]
fn what_a_failed_write_has_left_is_taken_back_before_another_file_is_begun_and_durably() {
    let dir = TempDir::new().unwrap();
    let limit = "trap '' XFSZ; ulimit -f 8";
    let (disk, name) = (
        module_path!().replace("power", "disk"),
        "child_whose_files_may_not_grow",
    );
    let Some(calls) = recorded(dir.path(), [child(name, &disk, &dir, Some(limit))]) else {
        return;
    };

    let is_segment = |name: &str| name.ends_with(".ndjson");
    let begins = |call: &Call| matches!(call, Call::Open { name, .. } if is_segment(name));
    let before_next = |n: usize| calls[n + 1..].iter().take_while(|call| !begins(call));
    let (mut cut_off, mut removed) = (0, 0);
    for (n, call) in calls.iter().enumerate() {
        match call {
            Call::Truncate { name, .. } if is_segment(name) => {
                let sync = Call::SyncFile { name: name.clone() };
                assert!(before_next(n).any(|call| *call == sync), "{name}");
                cut_off += 1;
            }
            Call::Remove { name } if is_segment(name) => {
                assert!(before_next(n).any(|call| *call == Call::SyncDir), "{name}");
                removed += 1;
            }
            _ => {}
        }
    }
    assert!(cut_off > 0 && removed > 0, "{cut_off}, {removed}");
}
