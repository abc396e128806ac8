//! A clock that is set back, while a store runs and between two starts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::super::clock::{Clock, Steps};
use super::super::segments::Segments;
use super::keys::append_once;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock, and a hand to set it.
#[derive(Default)]
struct Hand {
    behind_ms: Arc<AtomicU64>,
}

impl Hand {
    /// Sets the clock this far behind that of the machine.
    fn set_back(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap();
        self.behind_ms.store(ms, Ordering::Relaxed);
    }

    fn open(&self, dir: &TempDir, config: LogConfig) -> LogStore {
        let config = LogConfig {
            fsync: false,
            ..config
        };
        let clock = Clock::Behind(Arc::clone(&self.behind_ms));
        LogStore::open_by(dir.path(), config, &BlockingPool::default(), clock).unwrap()
    }
}

/// An entry that gets its time from the log.
fn timeless(message: impl Into<String>) -> Append {
    Append {
        ts: None,
        ..entry(message)
    }
}

/// The numbers and times of all entries.
async fn times(store: &LogStore) -> Vec<(u64, u64)> {
    let page = store.read(query(0)).await.unwrap();
    let time = |raw: &serde_json::value::RawValue| {
        let entry: Value = serde_json::from_str(raw.get()).unwrap();
        (seq_of(raw), entry["ts"].as_u64().unwrap())
    };
    page.entries.iter().map(|raw| time(raw)).collect()
}

/// Reads by time, up and down, around each time that an entry has.
async fn check_reads_by_time(store: &LogStore, times: &[(u64, u64)]) {
    for (_, at) in times {
        let ranges = [
            (Some(*at), Some(at + 1)),
            (Some(at.saturating_sub(1000)), Some(at + 1000)),
            (Some(*at), None),
            (None, Some(*at)),
        ];
        for (from, to) in ranges {
            let filter = Filter {
                rest: Rest {
                    from,
                    to,
                    ..Rest::default()
                },
                ..Filter::default()
            };
            let is_in = |ts: u64| from.is_none_or(|from| ts >= from) && to.is_none_or(|to| ts < to);
            let expected = times.iter().filter(|(_, ts)| is_in(*ts));
            let mut expected: Vec<u64> = expected.map(|(seq, _)| *seq).collect();

            let mut query = Query {
                filter: filter.into(),
                ..query(0)
            };
            let up = store.read(query.clone()).await.unwrap();
            let found: Vec<u64> = up.entries.iter().map(|raw| seq_of(raw)).collect();
            assert_eq!(found, expected, "{query:?}");

            expected.reverse();
            query.direction = Direction::Down { before: u64::MAX };
            let down = store.read(query.clone()).await.unwrap();
            let found: Vec<u64> = down.entries.iter().map(|raw| seq_of(raw)).collect();
            assert_eq!(found, expected, "{query:?}");
        }
    }
}

/// Appends five entries, one of them with a key and three as a batch, all named after the step.
async fn send(store: &LogStore, step: u64) {
    store.append(&timeless("m")).unwrap().await.unwrap();
    let key = append_once(store, &step.to_string(), "m", None).await;
    assert!(!key.unwrap().1);
    let batch = [timeless("m"), timeless("m"), timeless("m")];
    let batch = store
        .append_batch("p", step, NewBatch::from(batch.as_slice()))
        .unwrap();
    assert!(!batch.is_repetition);
    batch.outcome.await.unwrap();
}

/// Sends again what has a key, or is a batch, and what is known of it.
async fn send_again(store: &LogStore, step: u64) {
    let first = (step - 1) * 5 + 1;
    let key = append_once(store, &step.to_string(), "m", Some(1000)).await;
    assert_eq!(key.unwrap(), (first + 1, true), "step {step}");
    let batch = [timeless("m"), timeless("m"), timeless("m")];
    let batch = store
        .append_batch("p", step, NewBatch::from(batch.as_slice()))
        .unwrap();
    assert!(batch.is_repetition, "step {step}");
    assert_eq!(batch.outcome.await.unwrap(), first + 2, "step {step}");
}

#[tokio::test]
async fn numbers_reads_by_time_and_repetitions_are_right_though_the_clock_is_set_back() {
    let dir = TempDir::new().unwrap();
    let hand = Hand::default();
    let config = LogConfig {
        segment_bytes: 400,
        ..LogConfig::default()
    };
    let mut store = hand.open(&dir, config.clone());

    // Set back and forth, each second time between two starts.
    let clocks = [Duration::ZERO, HOUR, 2 * DAY, DAY, Duration::ZERO, 9 * DAY];
    for (step, behind) in (1..).zip(clocks) {
        if step % 2 == 0 {
            drop(store);
            hand.set_back(behind);
            store = hand.open(&dir, config.clone());
        } else {
            hand.set_back(behind);
        }
        send(&store, step).await;
        for step in 1..=step {
            send_again(&store, step).await;
        }
    }

    let all = times(&store).await;
    assert!(all.iter().map(|(seq, _)| *seq).eq(1..=30));
    // But for those whose times their callers gave, they have the times of that clock.
    let by_clock: Vec<u64> = all.iter().map(|(_, ts)| *ts).filter(|ts| *ts > 1).collect();
    let is_back = |pair: &[u64]| pair[0] > pair[1] + 1000;
    assert_eq!(by_clock.windows(2).filter(|pair| is_back(pair)).count(), 3);
    check_reads_by_time(&store, &all).await;
    drop(store);

    // Also by indexes that are made anew.
    for file in files(dir.path()) {
        let _ = fs::remove_file(file.with_extension("idx"));
    }
    let store = hand.open(&dir, config);
    assert_eq!(times(&store).await, all);
    check_reads_by_time(&store, &all).await;
}

#[tokio::test]
async fn a_segment_that_was_begun_before_the_clock_was_set_back_is_closed_and_only_that_one() {
    let dir = TempDir::new().unwrap();
    let hand = Hand::default();
    let config = LogConfig {
        segment_age: DAY,
        ..LogConfig::default()
    };
    let store = hand.open(&dir, config.clone());
    append(&store, 1..=2).await;

    // A year would pass before it is a day old by this clock.
    hand.set_back(365 * DAY);
    append(&store, 3..=5).await;
    assert_eq!(files(dir.path()), [1, 3].map(|n| segment_path(&dir, n)));
    drop(store);

    // The file system has the time of the machine: of it, the newest is begun in the future.
    let store = hand.open(&dir, config.clone());
    append(&store, 6..=8).await;
    assert_eq!(files(dir.path()), [1, 3, 6].map(|n| segment_path(&dir, n)));
    append(&store, 9..=10).await;
    assert_eq!(files(dir.path()).len(), 3);
    drop(store);

    // Of any age, it is not closed.
    let store = hand.open(&dir, LogConfig::default());
    append(&store, 11..=12).await;
    assert_eq!(files(dir.path()).len(), 3);
    assert_eq!(read_all(&store, &query(0)).await.len(), 12);
}

/// Six segments, whose last writes were so long ago, and in the future where that is negative; and their first numbers.
async fn written_ago(dir: &TempDir, hours: [i32; 6]) -> Vec<u64> {
    append(&open_small(dir, 360), 1..=24).await;
    let (all, now) = (files(dir.path()), SystemTime::now());
    assert_eq!(all.len(), 6);
    for (path, hours) in all.iter().zip(hours) {
        let by = HOUR * hours.unsigned_abs();
        let time = if hours < 0 { now + by } else { now - by };
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }
    all.iter()
        .map(|path| segment::parse(path.file_name().unwrap().to_str().unwrap()))
        .map(|name| name.unwrap().0)
        .collect()
}

/// Deletes what is more than ten hours old; returns the number of segments that are left.
fn left_after(dir: &TempDir, now: SystemTime) -> usize {
    let recovered = Segments::recover(dir.path(), None, &mut |_| ()).unwrap();
    recovered.segments.retain_since(10 * HOUR, now);
    recovered.segments.retain_since(10 * HOUR, now);
    files(dir.path()).len()
}

#[tokio::test]
async fn retention_by_age_goes_by_the_order_of_segments_where_their_times_cannot_be_right() {
    let year = 365 * 24;
    let decades = 50 * year;
    for (hours, left) in [
        // As it should be.
        ([50, 40, 30, 5, 1, 0], 3),
        ([9, 8, 7, 5, 1, 0], 6),
        // The clock was a year ahead, and was set back.
        ([-year, -year, 30, 5, 1, 0], 3),
        ([-year, -year, 5, 4, 1, 0], 6),
        ([50, 40, -year, -year, 1, 0], 4),
        ([-year, -year, -year, -year, -year, -year], 6),
        // The clock was behind for a while, as before a machine without a battery learns the time.
        ([50, decades, 5, 4, 1, 0], 5),
        ([50, decades, decades, 5, 1, 0], 5),
        ([50, 40, 30, 20, decades, 0], 2),
        ([50, decades, 40, 5, 1, 0], 3),
    ] {
        let dir = TempDir::new().unwrap();
        written_ago(&dir, hours).await;
        assert_eq!(left_after(&dir, SystemTime::now()), left, "{hours:?}");
        // Also by the next store.
        assert_eq!(left_after(&dir, SystemTime::now()), left, "{hours:?}");
    }

    // By a clock that is behind now, none is old.
    let dir = TempDir::new().unwrap();
    written_ago(&dir, [50, 40, 30, 5, 1, 0]).await;
    assert_eq!(left_after(&dir, SystemTime::now() - 100 * DAY), 6);
}

#[tokio::test]
async fn a_store_whose_clock_is_set_back_deletes_no_segment_for_its_age_before_it_is_right_again() {
    let dir = TempDir::new().unwrap();
    let firsts = written_ago(&dir, [50, 40, 5, 4, 1, 0]).await;
    let hand = Hand::default();
    hand.set_back(30 * DAY);
    let config = LogConfig {
        retention_age: 10 * HOUR,
        // Each look begins the next segment, which shows that it was there.
        segment_age: Duration::from_nanos(1),
        ..LogConfig::default()
    };

    let store = hand.open(&dir, config);
    let begun = std::time::Instant::now();
    let looks_seen = async |files_min: usize| {
        while files(dir.path()).len() < files_min {
            assert!(begun.elapsed() < LONG);
            tokio::task::yield_now().await;
        }
    };
    looks_seen(7).await;
    append(&store, [25]).await;
    looks_seen(8).await;
    assert_eq!(store.extent().oldest, firsts[0]);

    hand.set_back(Duration::ZERO);
    super::rotation::oldest_becomes(&store, firsts[2]).await;
    append(&store, [26]).await;
    assert!(store.last() == 26 && store.extent().oldest == firsts[2]);
}

#[tokio::test]
async fn what_was_written_before_the_clock_was_set_forward_is_as_old_as_it_is() {
    let dir = TempDir::new().unwrap();
    let hand = Hand::default();
    let config = LogConfig {
        segment_bytes: 400,
        retention_age: 10 * HOUR,
        ..LogConfig::default()
    };

    // What a process before has written is as old as it says.
    append(&hand.open(&dir, config.clone()), 1..=9).await;
    let older = files(dir.path());
    hand.set_back(365 * DAY);
    let set_time = |path: &Path, time: SystemTime| {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    for path in &older {
        set_time(path, SystemTime::now() - 365 * DAY - 5 * HOUR);
    }

    // As on a machine that learns the time a while after its start.
    let config = LogConfig {
        segment_bytes: 1,
        ..config
    };
    let store = hand.open(&dir, config);
    append(&store, 10..=14).await;
    let all = files(dir.path());
    for path in &all[older.len()..] {
        set_time(path, SystemTime::now() - 365 * DAY - HOUR);
    }
    hand.set_back(Duration::ZERO);

    // Only what the process before has written is deleted.
    super::rotation::oldest_becomes(&store, 10).await;
    super::rotation::only_these_are_left(dir.path(), &all[older.len()..]).await;
    for path in &all[older.len()..] {
        let age = SystemTime::now().duration_since(fs::metadata(path).unwrap().modified().unwrap());
        assert!(age.is_ok_and(|age| age < 2 * HOUR), "{}", path.display());
    }
}

#[test]
fn a_clock_that_was_set_back_and_is_put_right_again_was_not_set_forward() {
    let hand = Hand::default();
    hand.set_back(20 * DAY);
    let mut steps = Steps::of(Clock::Behind(Arc::clone(&hand.behind_ms)));
    let mut forward_to = |behind: Duration| {
        hand.set_back(behind);
        let days = steps.forward()?.as_secs_f64() / DAY.as_secs_f64();
        Some(days.round())
    };

    // Back by ten days, and right again, also in two steps.
    for behind in [30, 20, 22, 30, 25, 20] {
        assert_eq!(forward_to(behind * DAY), None);
    }
    // Forward as it should be, and further than it was set back.
    assert_eq!(forward_to(15 * DAY), Some(5.0));
    assert_eq!(forward_to(20 * DAY), None);
    assert_eq!(forward_to(Duration::ZERO), Some(15.0));
}

#[tokio::test]
async fn keys_and_batches_are_known_from_segments_that_were_written_while_the_clock_was_behind() {
    let dir = TempDir::new().unwrap();
    let hand = Hand::default();
    let config = LogConfig {
        segment_bytes: 400,
        ..LogConfig::default()
    };
    let store = hand.open(&dir, config.clone());
    for step in 1..=4 {
        send(&store, step).await;
    }
    drop(store);

    // Without the record, a start reads the segments of the last day. All but the first and the newest seem to be older.
    fs::remove_file(known_file(&dir)).unwrap();
    let all = files(dir.path());
    let behind = &all[1..all.len() - 1];
    assert!(behind.len() > 2);
    for path in behind {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + DAY).unwrap();
    }

    let store = hand.open(&dir, config);
    for step in 1..=4 {
        send_again(&store, step).await;
    }
    assert_eq!(store.last(), 20);
}
