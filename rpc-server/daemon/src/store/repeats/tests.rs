use std::fs;
use std::time::Duration;

use rpc_core::{Meta, RawJson, Request};
use rpc_server::layers::{IDEMPOTENCY_AGE_MS, IDEMPOTENCY_KEY, KeyedCall};
use tempfile::TempDir;

use super::super::queue::Tell;
use super::super::{Durability, StoreError};
use super::*;

const AGE_MAX: Duration = Duration::from_secs(600);

fn call(key: &str, params: &str, age_ms: Option<u64>) -> KeyedCall {
    let age = age_ms.map(|age| age.to_string());
    let age = age.as_deref().map(|age| (IDEMPOTENCY_AGE_MS, age));

    let mut request = Request::new(1001, RawJson::parse(params).unwrap());
    request.meta = Meta::default().with([(IDEMPOTENCY_KEY, key)].into_iter().chain(age));
    KeyedCall::of(&request).unwrap().unwrap()
}

/// Begins an append; `None` if it was here before.
fn begin(keys: &Arc<Keys>, call: &KeyedCall, now: Instant) -> Result<Option<KeyRun>, StoreError> {
    let mut run = None;
    keys.once(call, now, |tell| {
        let Tell::Key(begun) = tell() else {
            panic!("it is told by its key");
        };
        run = Some(begun);
        Ok(())
    })?;
    Ok(run)
}

/// A place with keys, each of an entry that is on the disk.
fn keys_of(count: u64, bytes_max: usize, now: Instant) -> Arc<Keys> {
    let keys = Arc::new(Keys::new(AGE_MAX, bytes_max, now));
    for seq in 1..=count {
        let run = begin(&keys, &call(&format!("k{seq}"), "1", None), now);
        run.unwrap().expect("it is the first").finish(&Ok(seq));
    }
    keys
}

#[test]
fn an_append_that_is_not_in_the_log_gives_its_key_back_and_one_that_may_be_keeps_it() {
    let now = Instant::now();
    let keys = keys_of(0, 1 << 20, now);
    let (first, again) = (call("k", "1", None), call("k", "1", Some(5)));

    let full = StoreError::Full { path: "f".into() };
    for error in [full, StoreError::Overloaded, StoreError::Closed] {
        let run = begin(&keys, &first, now).unwrap().expect("it is free");
        run.finish(&Err(error));
        assert_eq!(keys.bytes(), 0);
    }

    let run = begin(&keys, &first, now).unwrap().expect("it is free");
    drop(run);
    assert_eq!(keys.bytes(), 0, "the writer has ended");

    let refused = keys.once(&first, now, |_| Err(StoreError::Overloaded));
    assert!(matches!(refused, Err(StoreError::Overloaded)));
    assert_eq!(keys.bytes(), 0, "the queue has not taken it");

    let run = begin(&keys, &first, now).unwrap().expect("it is free");
    let path = "f".into();
    run.finish(&Err(StoreError::Changed { path }));
    assert!(begin(&keys, &again, now).unwrap().is_none());
}

#[test]
fn a_key_that_is_not_known_any_more_is_refused_and_not_taken_for_a_new_one() {
    let now = Instant::now();
    let is_refused = |keys: &Arc<Keys>, key: &str, age_ms: u64, at: Duration| {
        let repetition = call(key, "1", Some(age_ms));
        matches!(
            begin(keys, &repetition, now + at),
            Err(StoreError::KeyForgotten)
        )
    };
    let minute = Duration::from_secs(60);

    // A log that was made just now has no older keys that it could know.
    let keys = keys_of(1, 1 << 20, now);
    assert!(is_refused(&keys, "new", 1, Duration::from_secs(5)));
    assert!(is_refused(&keys, "new", 50_001, minute));
    assert!(!is_refused(&keys, "new", 49_999, minute));

    // One that has read all that was there knows as much as it keeps.
    keys.are_complete();
    assert!(!is_refused(&keys, "newer", 1, Duration::ZERO));
    assert!(!is_refused(&keys, "newer still", 589_999, Duration::ZERO));
    assert!(is_refused(&keys, "old", 590_001, Duration::ZERO));

    // After its time a key is gone, and all that may be as old.
    let later = AGE_MAX + minute;
    assert!(is_refused(&keys, "k1", 660_000, later));
    assert!(is_refused(&keys, "other", 650_000, later));
    assert!(!is_refused(&keys, "other", 30_000, later));
}

#[test]
fn keys_have_a_limit_in_bytes_and_the_oldest_are_forgotten() {
    let now = Instant::now();
    let room = keys_of(2, 1 << 20, now).bytes();
    let keys = keys_of(3, room, now);
    assert_eq!(keys.bytes(), room);

    let repetition = |key: &str| begin(&keys, &call(key, "1", Some(0)), now);
    assert!(matches!(repetition("k1"), Err(StoreError::KeyForgotten)));
    assert!(repetition("k2").unwrap().is_none());
    assert!(repetition("k3").unwrap().is_none());

    // What is on its way to the disk is not forgotten.
    let runs = ["k4", "k5"].map(|key| begin(&keys, &call(key, "1", None), now).unwrap());
    assert!(runs.iter().all(Option::is_some));
    let refused = begin(&keys, &call("k6", "1", None), now);
    assert!(matches!(refused, Err(StoreError::KeysFull)));
}

#[test]
fn a_snapshot_keeps_what_is_known_and_what_was_forgotten() {
    let dir = TempDir::new().unwrap();
    let now = Instant::now();
    let room = keys_of(2, 1 << 20, now).bytes();
    let mut repeats = Repeats {
        producers: Arc::new(Producers::new(now)),
        pending: None,
        durability: Durability::Process,
        keys: keys_of(3, room, now),
        is_complete: true,
    };
    let _runs = begin(&repeats.keys, &call("k9", "1", None), now).unwrap();
    repeats.producers = producers_of(&[("p", 70)], now);
    Snapshots::of(dir.path(), None)
        .unwrap()
        .write(7, &repeats, Durability::Power);

    repeats.keys = keys_of(0, room, now);
    repeats.producers = producers_of(&[], now);
    assert_eq!(repeats.load(dir.path(), 7), Some(Vec::new()));
    assert_eq!(repeats.load(dir.path(), 8), None);
    repeats.keys.are_complete();

    let repetition = |key: &str| begin(&repeats.keys, &call(key, "1", Some(0)), now);
    assert!(repetition("k3").unwrap().is_none());
    assert!(matches!(repetition("k1"), Err(StoreError::KeyForgotten)));
    let of_producer = |number| begin_batch(&repeats.producers, &batch("p", number, "sent"), now);
    assert!((7..=70).all(|number| of_producer(number).unwrap().is_none()));
    assert!(matches!(
        of_producer(6),
        Err(StoreError::BatchStale { last_batch: 70 })
    ));
    let conflict = begin(&repeats.keys, &call("k3", "2", None), now);
    assert!(matches!(conflict, Err(StoreError::KeyConflict { .. })));
}

#[test]
fn a_snapshot_with_any_byte_changed_or_cut_off_is_not_believed() {
    let dir = TempDir::new().unwrap();
    let now = Instant::now();
    let repeats = Repeats {
        producers: producers_of(&[("p", 3), ("q", 5)], now),
        pending: None,
        durability: Durability::Process,
        keys: keys_of(3, 1 << 20, now),
        is_complete: true,
    };
    Snapshots::of(dir.path(), None)
        .unwrap()
        .write(1, &repeats, Durability::Process);
    let path = snapshot::path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let known = snapshot::read(dir.path(), 1).unwrap();

    for at in 0..whole.len() {
        // The last newline alone may be missing.
        if at + 1 < whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(snapshot::read(dir.path(), 1).is_err(), "cut at {at}");
        }

        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        fs::write(&path, &changed).unwrap();
        // In the last line a digit may be written in two ways, and white space is as good as other white space.
        if let Ok(found) = snapshot::read(dir.path(), 1) {
            assert_eq!(found, known, "byte {at}");
        }
    }
}

#[test]
fn snapshots_of_segments_that_are_not_the_newest_are_deleted() {
    let dir = TempDir::new().unwrap();
    let repeats = Repeats {
        producers: Arc::new(Producers::new(Instant::now())),
        pending: None,
        durability: Durability::Process,
        keys: keys_of(1, 1 << 20, Instant::now()),
        is_complete: true,
    };
    let there = |expected: &[u64]| {
        let found = (1..10).filter(|first| snapshot::path(dir.path(), *first).exists());
        assert_eq!(found.collect::<Vec<_>>(), expected);
    };

    let mut snapshots = Snapshots::of(dir.path(), None).unwrap();
    snapshots.write(1, &repeats, Durability::Process);
    snapshots.settle(1);
    snapshots.write(4, &repeats, Durability::Process);
    there(&[1, 4]);
    snapshots.write(6, &repeats, Durability::Process);
    there(&[1, 6]);
    snapshots.settle(6);
    there(&[6]);

    snapshots.write(8, &repeats, Durability::Process);
    Snapshots::of(dir.path(), Some(6)).unwrap();
    there(&[6]);
}

fn batch(producer: &str, number: u64, sent: &str) -> BatchOf {
    BatchOf {
        producer: producer.into(),
        number,
        count: 2,
        hash: sent.len() as u64,
        text_hash: None,
    }
}

/// Begins a batch; `None` if it was here before.
fn begin_batch(
    producers: &Arc<Producers>,
    batch: &BatchOf,
    now: Instant,
) -> Result<Option<BatchRun>, StoreError> {
    let mut run = None;
    producers.once(batch, now, |tell| {
        let Tell::Batch(begun) = tell() else {
            panic!("it is told by its batch");
        };
        run = Some(begun);
        Ok(())
    })?;
    Ok(run)
}

/// Producers with batches that are on the disk, the last of each having this number.
fn producers_of(last: &[(&str, u64)], now: Instant) -> Arc<Producers> {
    let producers = Arc::new(Producers::new(now));
    for (name, last) in last {
        for number in 1..=*last {
            let run = begin_batch(&producers, &batch(name, number, "sent"), now);
            run.unwrap().expect("it is the first").finish(&Ok(number));
        }
    }
    producers
}

#[test]
fn a_batch_is_told_from_others_by_its_number_and_its_entries() {
    let now = Instant::now();
    let producers = producers_of(&[("p", 2)], now);
    let begin = |number, sent| begin_batch(&producers, &batch("p", number, sent), now);

    assert!(begin(1, "sent").unwrap().is_none());
    assert!(matches!(begin(1, "other"), Err(StoreError::BatchConflict)));

    // What has failed, and what was dropped, may be sent again.
    let full = StoreError::Full { path: "f".into() };
    begin(9, "sent").unwrap().unwrap().finish(&Err(full));
    drop(begin(9, "other").unwrap().unwrap());
    begin(9, "sent").unwrap().unwrap().finish(&Ok(9));
    assert!(begin(9, "sent").unwrap().is_none());

    // What may be there is not written again.
    let left_behind = StoreError::LeftBehind {
        path: "f".into(),
        kept: 0,
        source: Arc::new(broken()),
    };
    begin(10, "sent")
        .unwrap()
        .unwrap()
        .finish(&Err(left_behind));
    assert!(begin(10, "sent").unwrap().is_none());
}

#[test]
fn the_last_64_batches_of_a_producer_are_remembered_in_any_order() {
    let now = Instant::now();
    let producers = producers_of(&[], now);
    let begin = |number| begin_batch(&producers, &batch("p", number, "sent"), now);

    for number in (101..=164).rev() {
        begin(number).unwrap().unwrap().finish(&Ok(number));
    }
    let is_stale = |number, last| matches!(begin(number), Err(StoreError::BatchStale { last_batch }) if last_batch == last);
    assert!(is_stale(100, 164));

    begin(170).unwrap().unwrap().finish(&Ok(170));
    assert!(is_stale(101, 170), "it was forgotten");
    assert!(begin(102).unwrap().is_none());
    begin(165).unwrap().unwrap().finish(&Ok(165));
    assert!(is_stale(102, 170));

    // All under way: the next one has to wait.
    let runs: Vec<_> = (200..264).map(|number| begin(number).unwrap()).collect();
    assert!(matches!(begin(264), Err(StoreError::Overloaded)));
    drop(runs);
}

#[test]
fn producers_have_a_limit_and_the_longest_silence_is_forgotten_first() {
    let now = Instant::now();
    let producers = producers_of(&[("first", 1), ("second", 1)], now);
    for n in 2..10_000 {
        let run = begin_batch(&producers, &batch(&n.to_string(), 1, "sent"), now);
        run.unwrap().unwrap().finish(&Ok(n));
    }
    assert!(
        begin_batch(&producers, &batch("first", 1, "sent"), now)
            .unwrap()
            .is_none()
    );
    let run = begin_batch(&producers, &batch("new", 1, "sent"), now).unwrap();
    assert_eq!(producers.len(), 10_000);

    let first = begin_batch(&producers, &batch("first", 1, "sent"), now).unwrap();
    assert!(first.is_none(), "it was heard of");
    let second = begin_batch(&producers, &batch("second", 1, "sent"), now).unwrap();
    assert!(second.is_some(), "it was forgotten");
    drop((run, second));

    let later = now + Duration::from_secs(24 * 60 * 60);
    let known = producers.snapshot(later);
    assert_eq!(known, [], "after a day");
}

#[test]
fn the_name_of_a_batch_in_its_line_is_believed_only_as_it_was_written() {
    let batch = BatchOf {
        producer: "a.b_c-d".into(),
        number: 17,
        count: 3,
        hash: 0x0123_4567_89ab_cdef,
        text_hash: None,
    };
    let text = batch.to_string();
    assert_eq!(text.parse(), Ok(batch));

    for at in 0..text.len() {
        for bit in 0..7 {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1 << bit;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<BatchOf>(), Err(()), "{changed}");
        }
        assert_eq!(text[..at].parse::<BatchOf>(), Err(()));
    }
}

#[test]
fn a_snapshot_names_the_segments_that_failed_writes_have_left_something_in_while_they_are_there() {
    let dir = TempDir::new().unwrap();
    let now = Instant::now();
    let mut repeats = Repeats {
        producers: producers_of(&[("p", 3)], now),
        pending: None,
        durability: Durability::Process,
        keys: keys_of(3, 1 << 20, now),
        is_complete: true,
    };
    let left_in = |segment| {
        let (path, source) = (segment::path(dir.path(), segment), Arc::new(broken()));
        let kept = segment * 10;
        StoreError::LeftBehind { path, kept, source }
    };
    let mut snapshots = Snapshots::of(dir.path(), None).unwrap();
    let failed = |repeats: &mut Repeats, first| {
        let failed = repeats.load(dir.path(), first).expect("it is written");
        let failed = failed.into_iter();
        failed
            .map(|failed| (failed.segment, failed.kept))
            .collect::<Vec<_>>()
    };
    for segment in [4, 6] {
        fs::write(segment::path(dir.path(), segment), "left").unwrap();
    }

    // What was taken back is not there.
    let taken_back = StoreError::Full { path: "f".into() };
    assert!(!snapshots.note_failure(&taken_back));
    for segment in [6, 4] {
        assert!(snapshots.note_failure(&left_in(segment)));
    }
    let run = begin_batch(&repeats.producers, &batch("p", 5, "sent"), now).unwrap();
    run.unwrap().finish(&Err(left_in(6)));
    snapshots.write(9, &repeats, Durability::Process);
    assert_eq!(failed(&mut repeats, 9), [(4, 40), (6, 60)]);

    // Older versions take it for one of another segment, and read all.
    let text = fs::read_to_string(snapshot::path(dir.path(), 9)).unwrap();
    assert!(
        text.starts_with(r#"{"before":4,"of":9,"failed":[{"segment":4,"#),
        "{text}"
    );
    fs::copy(snapshot::path(dir.path(), 9), snapshot::path(dir.path(), 4)).unwrap();
    assert_eq!(repeats.load(dir.path(), 4), None);

    fs::remove_file(segment::path(dir.path(), 4)).unwrap();
    snapshots.write(11, &repeats, Durability::Process);
    assert_eq!(failed(&mut repeats, 11), [(6, 60)]);
}

#[test]
fn what_is_known_is_not_changed_by_an_older_segment_that_is_read_behind_it() {
    let now = Instant::now();
    let keys = keys_of(0, 1 << 20, now);
    let key = |hash| KeyOf {
        id: "k".into(),
        by: "".into(),
        hash,
    };
    let sent = call("k", "1", None);
    for seq in [7, 3, 9, 8] {
        keys.replay(&key(sent.fingerprint()), seq);
    }
    let known = keys.snapshot(now).keys;
    assert_eq!(known.iter().map(|key| key.seq).collect::<Vec<_>>(), [9]);

    let producers = producers_of(&[("p", 64)], now);
    producers.replay(&batch("p", 64, "sent"), 1);
    let begin = |number| begin_batch(&producers, &batch("p", number, "sent"), now);
    assert!((1..=64).all(|number| begin(number).unwrap().is_none()));
}

fn broken() -> io::Error {
    io::Error::other("it is broken")
}
