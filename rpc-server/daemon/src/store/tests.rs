//! The store as a whole, on a real directory. Here: what is appended is what is read.

mod damage;
mod disk;
mod scan;
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpc_core::api::log::Level;
use rpc_server::blocking::BlockingPool;
use serde_json::Value;
use tempfile::TempDir;

use super::queue::Appended;
use super::*;

/// How long a test waits for what must happen: never that long, if it happens.
const LONG: Duration = Duration::from_secs(60);

fn open_with(dir: &Path, config: LogConfig) -> Result<LogStore, StoreError> {
    LogStore::open(dir, config, &BlockingPool::default())
}

fn open(dir: &TempDir) -> LogStore {
    open_with(dir.path(), LogConfig::default()).unwrap()
}

/// A store with segments of so many bytes, which does not wait for the disk.
fn open_small(dir: &TempDir, segment_bytes: u64) -> LogStore {
    let config = LogConfig {
        segment_bytes,
        fsync: false,
        ..LogConfig::default()
    };
    open_with(dir.path(), config).unwrap()
}

fn entry(message: impl Into<String>) -> NewEntry {
    NewEntry {
        level: Level::Info,
        service: "order".into(),
        message: message.into(),
        ts: Some(1),
        trace: None,
        fields: None,
    }
}

/// Appends entries one after the other, each as a batch of its own.
async fn append(store: &LogStore, messages: impl IntoIterator<Item = u64>) {
    for message in messages {
        store
            .append(&entry(message.to_string()))
            .unwrap()
            .await
            .unwrap();
    }
}

fn query(after: u64) -> Query {
    Query {
        after,
        limit: 1000,
        ..Query::default()
    }
}

fn containing(text: &str) -> Filter {
    Filter {
        contains: Some(text.into()),
        ..Filter::default()
    }
}

fn of_service(service: &str) -> Filter {
    Filter {
        service: Some(service.into()),
        ..Filter::default()
    }
}

fn seq_of(raw: &serde_json::value::RawValue) -> u64 {
    serde_json::from_str::<Value>(raw.get()).unwrap()["seq"]
        .as_u64()
        .unwrap()
}

fn message_of(raw: &serde_json::value::RawValue) -> String {
    serde_json::from_str::<Value>(raw.get()).unwrap()["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// All entries a query matches, page by page, as sequence numbers and messages.
async fn read_all(store: &LogStore, query: &Query) -> Vec<(u64, String)> {
    let mut query = query.clone();
    let mut all: Vec<(u64, String)> = Vec::new();

    loop {
        let page = store.read(query.clone()).await.unwrap();
        assert!(page.entries.len() <= query.limit);

        for raw in &page.entries {
            let seq = seq_of(raw);
            assert!(
                seq > query.after && seq <= page.next && all.last().is_none_or(|last| seq > last.0)
            );
            all.push((seq, message_of(raw)));
        }

        if page.next == query.after {
            return all;
        }
        query.after = page.next;
    }
}

fn seqs(entries: &[(u64, String)]) -> Vec<u64> {
    entries.iter().map(|entry| entry.0).collect()
}

/// The segments of a directory, from oldest to newest.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();

    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "ndjson")
    });

    files.sort();
    files
}

fn segment_path(dir: &TempDir, first: u64) -> PathBuf {
    dir.path().join(format!("{first:020}.ndjson"))
}

#[tokio::test]
async fn the_order_of_the_calls_is_the_order_in_the_file() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    assert_eq!(store.last(), 0);

    let appended: Vec<Appended> = (1..=500)
        .map(|n| store.append(&entry(n.to_string())).unwrap())
        .collect();
    for (seq, appended) in (1..).zip(appended) {
        assert_eq!(appended.await.unwrap(), seq);
    }

    assert_eq!(store.last(), 500);
    let all = read_all(&store, &query(0)).await;
    assert_eq!(
        all,
        (1..=500).map(|n| (n, n.to_string())).collect::<Vec<_>>()
    );

    let file = fs::read_to_string(segment_path(&dir, 1)).unwrap();
    let line = r#"{"seq":1,"ts":1,"level":"info","service":"order","message":"1"}"#;
    assert_eq!(file.lines().next(), Some(line));
    assert_eq!(store.read(query(0)).await.unwrap().entries[0].get(), line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_are_all_told_and_see_what_they_wrote() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));

    let tasks = (0..64).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..10 {
                let message = format!("{task}-{n}");
                let seq = store.append(&entry(&message)).unwrap().await.unwrap();

                let page = store
                    .read(Query {
                        limit: 1,
                        ..query(seq - 1)
                    })
                    .await
                    .unwrap();
                assert_eq!(
                    (seq_of(&page.entries[0]), message_of(&page.entries[0])),
                    (seq, message)
                );
            }
        })
    });

    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }

    assert_eq!(
        seqs(&read_all(&store, &query(0)).await),
        (1..=640).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_restart_goes_on_with_the_next_number() {
    let dir = TempDir::new().unwrap();

    for round in 0..5 {
        let store = open(&dir);
        assert_eq!(store.last(), round * 3);
        append(&store, 1..=3).await;
    }

    assert_eq!(
        seqs(&read_all(&open(&dir), &query(0)).await),
        (1..=15).collect::<Vec<_>>()
    );
    assert_eq!(files(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_second_store_on_one_directory_is_refused_also_without_the_lock_file() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);

    let error = open_with(dir.path(), LogConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));

    fs::remove_file(dir.path().join("lock")).unwrap();
    let error = open_with(dir.path(), LogConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");

    store.close().await;
    let second = open(&dir);
    drop(second);
    drop(open(&dir));
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_ends_waiting_reads() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));

    let reader = Arc::clone(&store);
    let waiting = tokio::spawn(async move {
        reader
            .read(Query {
                wait: LONG,
                filter: of_service("none"),
                ..query(0)
            })
            .await
    });

    let appended: Vec<Appended> = (0..50)
        .map(|n| store.append(&entry(n.to_string())).unwrap())
        .collect();

    tokio::join!(store.close(), store.close());
    assert!(matches!(
        store.append(&entry("late")),
        Err(StoreError::Closed)
    ));

    for appended in appended {
        appended.await.unwrap();
    }

    let page = waiting.await.unwrap().unwrap();
    assert_eq!((page.entries.len(), page.log), (0, store.extent().log));
    assert_eq!(read_all(&store, &query(0)).await.len(), 50);
}

#[tokio::test]
async fn a_dropped_future_does_not_take_its_entry_back() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for n in 0..10 {
        drop(store.append(&entry(n.to_string())).unwrap());
    }

    drop(store);
    assert_eq!(read_all(&open(&dir), &query(0)).await.len(), 10);
}

#[tokio::test]
async fn a_waiting_read_wakes_for_the_entry_it_wants() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    append(&store, 1..=2).await;

    let reader = Arc::clone(&store);
    let wanted = Query {
        wait: LONG,
        filter: containing("wanted"),
        ..query(0)
    };
    let waiting = tokio::spawn(async move { reader.read(wanted).await.unwrap() });

    append(&store, 3..=20).await;
    assert!(!waiting.is_finished());

    let seq = store
        .append(&entry("the wanted one"))
        .unwrap()
        .await
        .unwrap();

    let page = waiting.await.unwrap();
    assert_eq!((page.entries.len(), page.next), (1, seq));
    assert_eq!(seq_of(&page.entries[0]), seq);
}

#[tokio::test(start_paused = true)]
async fn a_read_in_vain_returns_when_its_wait_is_over() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);

    for (after, wait) in [(0, Duration::from_secs(25)), (0, Duration::MAX)] {
        let start = tokio::time::Instant::now();
        let page = store
            .read(Query {
                wait,
                ..query(after)
            })
            .await
            .unwrap();
        assert_eq!((page.entries.len(), page.next), (0, after));

        let waited = start.elapsed();
        let expected = wait.min(Duration::from_secs(24 * 60 * 60));
        assert!(
            waited >= expected && waited < expected + Duration::from_secs(1),
            "{waited:?}"
        );
    }
}

#[tokio::test]
async fn a_read_that_matches_nothing_moves_on_over_what_it_has_seen() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=30).await;

    let page = store
        .read(Query {
            filter: of_service("other"),
            ..query(3)
        })
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.next), (0, 30));
}

#[tokio::test]
async fn filters_and_pages_of_any_size_neither_miss_nor_repeat() {
    let levels = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Fatal,
    ];
    let services = ["order", "stock", "\u{fc}ber \"q\"\n"];

    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 2000);

    let mut written = Vec::new();
    for n in 0..300_usize {
        let new = NewEntry {
            level: levels[n * 7 % 6],
            service: services[n * 5 % 3].into(),
            message: format!("n\u{00b0} {n}\t\"quoted\" {}", "x".repeat(n % 90)),
            ts: None,
            trace: (n % 4 == 0).then(|| format!("t{n}")),
            fields: None,
        };
        written.push((store.append(&new).unwrap().await.unwrap(), new));
    }
    assert!(files(dir.path()).len() > 10);

    for level in [
        None,
        Some(Level::Debug),
        Some(Level::Error),
        Some(Level::Fatal),
    ] {
        for service in [None, Some(services[0]), Some(services[2]), Some("ord")] {
            for contains in [None, Some("\u{00b0} 1"), Some("9\t\"q"), Some("")] {
                let expected: Vec<(u64, String)> = written
                    .iter()
                    .filter(|(_, new)| level.is_none_or(|level| new.level >= level))
                    .filter(|(_, new)| service.is_none_or(|service| new.service == service))
                    .filter(|(_, new)| contains.is_none_or(|text| new.message.contains(text)))
                    .map(|(seq, new)| (*seq, new.message.clone()))
                    .collect();

                for limit in [1, 7, 1000] {
                    let service = service.map(ToOwned::to_owned);
                    let contains = contains.map(ToOwned::to_owned);
                    let query = Query {
                        limit,
                        filter: Filter {
                            level,
                            service,
                            contains,
                            ..Filter::default()
                        },
                        ..query(0)
                    };

                    assert_eq!(read_all(&store, &query).await, expected, "{query:?}");
                }
            }
        }
    }

    for after in 0..=300 {
        let page = store
            .read(Query {
                limit: 1,
                ..query(after)
            })
            .await
            .unwrap();

        let found: Vec<u64> = page.entries.iter().map(|raw| seq_of(raw)).collect();
        let expected: Vec<u64> = (after < 300).then_some(after + 1).into_iter().collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn entries_are_found_by_time_trace_and_any_text() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    let new = |params: &str| -> NewEntry { serde_json::from_str(params).unwrap() };
    let entries = [
        r#"{"ts":10,"level":"info","service":"order","message":"one"}"#,
        r#"{"ts":20,"level":"info","service":"stock","message":"two","trace":"t1"}"#,
        r#"{"ts":15,"level":"warn","service":"order","message":"three","fields":{"user":"anna","n":[{"deep":"t1"}]}}"#,
        r#"{"ts":30,"level":"info","service":"order","message":"four","trace":"t12","fields":{"one":1,"t":"\u0061b"}}"#,
    ];

    let check = async |rest: Rest, expected: &[u64]| {
        let filter = Filter {
            rest,
            ..Filter::default()
        };
        let query = Query {
            filter: filter.clone(),
            ..query(0)
        };
        assert_eq!(
            seqs(&read_all(&store, &query).await),
            expected,
            "{filter:?}"
        );
    };
    let text = |text: &str| Rest {
        text: Some(text.into()),
        ..Rest::default()
    };
    let time = |from: Option<u64>, to: Option<u64>| Rest {
        from,
        to,
        ..Rest::default()
    };

    // Read while they wait, and after.
    let mut waits: Vec<_> = [text("anna"), time(Some(25), None), text("none of them")]
        .into_iter()
        .map(|rest| {
            let query = Query {
                filter: Filter {
                    rest,
                    ..Filter::default()
                },
                wait: LONG,
                ..query(0)
            };
            let store = Arc::clone(&store);
            Box::pin(async move { store.read(query).await.unwrap() })
        })
        .collect();
    for wait in &mut waits {
        assert!(futures::poll!(wait).is_pending());
    }
    for entry in entries {
        store.append(&new(entry)).unwrap().await.unwrap();
    }
    let mut last = waits.pop().unwrap();
    for (wait, expected) in waits.into_iter().zip([3, 4]) {
        assert_eq!(seq_of(&wait.await.entries[0]), expected);
    }
    assert!(futures::poll!(&mut last).is_pending());

    check(Rest::default(), &[1, 2, 3, 4]).await;
    check(text("t1"), &[2, 3, 4]).await;
    check(text("stock"), &[2]).await;
    check(text("one"), &[1]).await;
    check(text("ab"), &[4]).await;
    check(time(Some(15), None), &[2, 3, 4]).await;
    check(time(None, Some(20)), &[1, 3]).await;
    check(time(Some(15), Some(20)), &[3]).await;
    let trace = Rest {
        trace: Some("t1".into()),
        ..Rest::default()
    };
    check(trace, &[2]).await;
}

#[tokio::test]
async fn a_page_and_a_scan_have_their_limits_in_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 8 << 20);
    for n in 0..60 {
        let message = format!("{n} {}", "x".repeat(400 * 1024));
        store.append(&entry(message)).unwrap().await.unwrap();
    }

    let page = store.read(query(0)).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (2, 2));
    assert_eq!(read_all(&store, &query(0)).await.len(), 60);

    // 24 MiB without a match: the first call ends before the end, and long before its wait.
    let nothing = Query {
        filter: containing("y"),
        wait: LONG,
        ..query(0)
    };
    let page = store.read(nothing.clone()).await.unwrap();
    assert!(
        page.entries.is_empty() && page.next > 30 && page.next < 50,
        "{}",
        page.next
    );

    let page = store
        .read(Query {
            after: page.next,
            wait: Duration::ZERO,
            ..nothing
        })
        .await
        .unwrap();
    assert_eq!(page.next, 60);

    let longest = "x".repeat(lines::LINE_BYTES_MAX - 100);
    let seq = store.append(&entry(longest)).unwrap().await.unwrap();
    assert_eq!(store.read(query(60)).await.unwrap().next, seq);

    let too_long = "\n".repeat(lines::LINE_BYTES_MAX / 2);
    assert!(matches!(
        store.append(&entry(too_long)),
        Err(StoreError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn segments_are_named_by_their_first_entry_and_follow_on_one_another() {
    let dir = TempDir::new().unwrap();
    for _ in 0..3 {
        let store = open_small(&dir, 400);
        append(&store, 0..20).await;
        store.close().await;
    }

    let mut next = 1;
    for path in files(dir.path()) {
        assert_eq!(path, segment_path(&dir, next));
        let content = fs::read_to_string(&path).unwrap();
        assert!(content.len() <= 400);

        for line in content.lines() {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["seq"], next);
            next += 1;
        }
    }

    assert_eq!(next, 61);
}

#[tokio::test]
async fn retention_deletes_the_oldest_and_reading_starts_with_what_is_left() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 400,
        retention_bytes: 1500,
        fsync: false,
        ..LogConfig::default()
    };

    let store = open_with(dir.path(), config.clone()).unwrap();
    append(&store, 0..100).await;
    store.close().await;

    let total: u64 = files(dir.path())
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!((1000..=1500).contains(&total), "{total}");

    let all = seqs(&read_all(&store, &query(0)).await);
    assert_eq!(all, (all[0]..=100).collect::<Vec<_>>());
    assert_eq!(segment_path(&dir, all[0]), files(dir.path())[0]);
    drop(store);

    // The numbers go on even if next to nothing is kept.
    let store = open_with(
        dir.path(),
        LogConfig {
            retention_bytes: 1,
            ..config.clone()
        },
    )
    .unwrap();

    append(&store, 0..100).await;
    store.close().await;
    assert_eq!(files(dir.path()).len(), 1);
    drop(store);
    assert_eq!(open_with(dir.path(), config).unwrap().last(), 200);
}

/// Waits until the store has looked after its files so that this is the oldest number.
async fn oldest_becomes(store: &LogStore, oldest: u64) {
    let begun = std::time::Instant::now();
    while store.extent().oldest != oldest {
        assert!(begun.elapsed() < LONG, "{:?}", store.extent());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_segment_of_some_age_is_closed_also_if_no_entry_comes() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_age: Duration::from_nanos(1),
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config.clone()).unwrap();
    append(&store, 1..=3).await;
    assert_eq!(files(dir.path()).len(), 3);

    let next = segment_path(&dir, 4);
    let begun = std::time::Instant::now();
    while !next.exists() {
        assert!(begun.elapsed() < LONG);
        tokio::task::yield_now().await;
    }
    append(&store, [4]).await;
    drop(store);

    let store = open_with(dir.path(), config).unwrap();
    assert_eq!(seqs(&read_all(&store, &query(0)).await), [1, 2, 3, 4]);
    assert_eq!(fs::read_to_string(next).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn an_empty_segment_that_a_kill_leaves_is_the_same_log() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_age: Duration::from_nanos(1),
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config.clone()).unwrap();
    append(&store, [1]).await;
    let log = store.extent().log;
    let begun = std::time::Instant::now();
    while !dir.path().join("closed.json").exists() {
        assert!(begun.elapsed() < LONG);
        tokio::task::yield_now().await;
    }

    // What is there now is what a kill would leave.
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let killed = open_with(copy.path(), config).unwrap();
    assert_eq!((killed.extent().log, killed.last()), (log, 1));

    append(&store, [2]).await;
    assert!(
        !dir.path().join("closed.json").exists(),
        "it tells of an empty one"
    );
}

#[tokio::test]
async fn segments_whose_last_entry_is_old_are_deleted_and_the_newest_never() {
    let dir = TempDir::new().unwrap();
    append(&open_small(&dir, 400), 0..40).await;
    let made_old = |files: &[PathBuf]| {
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
        for file in files {
            let file = fs::File::options().append(true).open(file).unwrap();
            file.set_modified(long_ago).unwrap();
        }
    };
    let all = files(dir.path());
    assert!(all.len() > 4);
    made_old(&all[..3]);

    let config = LogConfig {
        retention_age: Duration::from_secs(3600),
        fsync: false,
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config).unwrap();
    let first_of = |file: &Path| segment::first_in(file.file_name().unwrap().to_str().unwrap());
    oldest_becomes(&store, first_of(&all[3]).unwrap()).await;
    assert_eq!(files(dir.path()), all[3..]);

    made_old(&all[3..]);
    let newest = all.last().unwrap();
    oldest_becomes(&store, first_of(newest).unwrap()).await;
    assert_eq!(&files(dir.path()), std::slice::from_ref(newest));
    append(&store, [41]).await;
}

#[tokio::test]
async fn a_page_names_the_log_and_what_it_holds() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 400,
        retention_bytes: 1500,
        fsync: false,
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config.clone()).unwrap();
    let page = store.read(query(0)).await.unwrap();
    assert_eq!((page.oldest, page.last), (1, 0));
    let log = page.log;
    assert!(log.len() == 32 && log.bytes().all(|digit| digit.is_ascii_hexdigit()));

    append(&store, 0..100).await;
    store.close().await;
    let page = store.read(query(0)).await.unwrap();
    assert_eq!((&page.log, page.last), (&log, 100));
    assert!(page.oldest > 50);
    assert_eq!(seq_of(&page.entries[0]), page.oldest);
    drop(store);

    let store = open_with(dir.path(), config).unwrap();
    assert_eq!(store.read(query(100)).await.unwrap().log, log);
}

#[tokio::test]
async fn a_cursor_of_another_log_or_past_the_end_is_refused_with_what_there_is() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=3).await;
    let extent = store.extent();
    assert_eq!((extent.oldest, extent.last), (1, 3));

    let asking = |log: &str, after| Query {
        log: Some(log.into()),
        ..query(after)
    };
    assert!(store.read(asking(&extent.log, 3)).await.is_ok());
    for after in [0, 3, 100] {
        let error = store.read(asking("other", after)).await.unwrap_err();
        let StoreError::OtherLog {
            asked,
            extent: found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((asked.as_str(), found), ("other", extent.clone()));
    }

    for past in [4, u64::MAX] {
        let error = store.read(query(past)).await.unwrap_err();
        let StoreError::PastEnd {
            after,
            extent: found,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((after, found), (past, extent.clone()));
    }
}

#[tokio::test]
async fn a_log_whose_files_were_taken_away_is_another_one_unless_its_numbers_go_on() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=3).await;
    let log = store.extent().log;
    drop(store);

    // It was closed: the numbers go on.
    fs::remove_file(segment_path(&dir, 1)).unwrap();
    let store = open(&dir);
    assert_eq!((store.extent().log, store.last()), (log.clone(), 3));
    append(&store, 4..=5).await;
    drop(store);

    // As after a kill: the numbers begin anew, in another log.
    fs::remove_file(dir.path().join("closed.json")).unwrap();
    fs::remove_file(segment_path(&dir, 4)).unwrap();
    let store = open(&dir);
    assert_eq!(store.last(), 0);
    assert_ne!(store.extent().log, log);
}

#[tokio::test]
async fn other_files_in_the_directory_are_left_alone() {
    let dir = TempDir::new().unwrap();

    for name in [
        "1.ndjson",
        "notes.txt",
        "00000000000000000009.ndjson.bak",
        "99999999999999999999.ndjson",
    ] {
        fs::write(dir.path().join(name), "x").unwrap();
    }

    let store = open(&dir);
    append(&store, [1]).await;
    assert_eq!(seqs(&read_all(&store, &query(0)).await), [1]);
    assert_eq!(files(dir.path()).len(), 3);
}

#[tokio::test]
async fn raw_newlines_in_fields_do_not_break_a_line() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let params = "{\"level\":\"warn\",\"service\":\"s\",\"message\":\"a\\nb\",\"fields\":\n{\r\n\"k\":\n[1,\n2]\n}}";
    store
        .append(&serde_json::from_str(params).unwrap())
        .unwrap()
        .await
        .unwrap();

    append(&store, [2]).await;
    assert_eq!(
        fs::read_to_string(segment_path(&dir, 1))
            .unwrap()
            .lines()
            .count(),
        2
    );

    let page = store.read(query(0)).await.unwrap();
    let read: Value = serde_json::from_str(page.entries[0].get()).unwrap();
    assert_eq!(read["fields"]["k"][1], 2);
    assert_eq!(read["message"], "a\nb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_sees_each_entry_once_across_segments() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 4000,
        fsync: false,
        ..LogConfig::default()
    };
    let store = Arc::new(open_with(dir.path(), config).unwrap());

    let followers: Vec<_> = (0..3)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut after = 0;
                while after < 5000 {
                    let page = store
                        .read(Query {
                            wait: LONG,
                            limit: 10 + n * 400,
                            ..query(after)
                        })
                        .await
                        .unwrap();

                    let read: Vec<u64> = page.entries.iter().map(|raw| seq_of(raw)).collect();
                    assert_eq!(read, (after + 1..=page.next).collect::<Vec<_>>());
                    after = page.next;
                }
            })
        })
        .collect();

    for _ in 0..500 {
        let appended: Vec<_> = (0..10)
            .map(|n| store.append(&entry(n.to_string())).unwrap())
            .collect();
        for appended in appended {
            appended.await.unwrap();
        }
    }

    for follower in followers {
        follower.await.unwrap();
    }
}

#[tokio::test]
async fn a_read_that_waits_returns_when_waiting_ends() {
    let dir = TempDir::new().unwrap();
    let store = open_with(dir.path(), LogConfig::default()).unwrap();
    let query = Query {
        limit: 10,
        wait: Duration::from_secs(3600),
        ..Query::default()
    };

    let read = store.read(query.clone());
    tokio::pin!(read);
    assert!(futures::poll!(&mut read).is_pending());

    store.end_waits();
    assert_eq!(read.await.unwrap().next, 0);

    assert_eq!(
        store.read(query).await.unwrap().next,
        0,
        "nor does a later one wait"
    );
}
