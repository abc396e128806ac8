//! Segments begin and are deleted, by size and by age.

use super::*;

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

#[cfg(feature = "program")]
#[tokio::test]
async fn the_oldest_segments_are_deleted_while_the_disk_has_less_free_than_it_should() {
    let dir = TempDir::new().unwrap();
    let config = |keep_free_bytes| LogConfig {
        segment_bytes: 400,
        fsync: false,
        keep_free_bytes,
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config(1)).unwrap();
    append(&store, 0..100).await;
    store.close().await;
    assert_eq!(store.extent().oldest, 1);
    drop(store);

    // No disk has so much.
    let store = open_with(dir.path(), config(u64::MAX)).unwrap();
    while files(dir.path()).len() > 1 {
        tokio::task::yield_now().await;
    }
    let page = store.read(query(0)).await.unwrap();
    assert_eq!((page.last, seq_of(&page.entries[0])), (100, page.oldest));
    assert!(page.oldest > 90);
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
pub(super) async fn oldest_becomes(store: &LogStore, oldest: u64) {
    let begun = std::time::Instant::now();
    while store.extent().oldest != oldest {
        assert!(begun.elapsed() < LONG, "{:?}", store.extent());
        tokio::task::yield_now().await;
    }
}

/// Waits until these files are left: a file is deleted a moment after its entries are gone.
pub(super) async fn only_these_are_left(dir: &Path, expected: &[PathBuf]) {
    let begun = std::time::Instant::now();
    while files(dir) != expected {
        assert!(begun.elapsed() < LONG, "{:?}", files(dir));
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
    let first_of = |file: &Path| {
        segment::parse(file.file_name().unwrap().to_str().unwrap()).map(|name| name.0)
    };
    oldest_becomes(&store, first_of(&all[3]).unwrap()).await;
    only_these_are_left(dir.path(), &all[3..]).await;

    made_old(&all[3..]);
    let newest = all.last().unwrap();
    oldest_becomes(&store, first_of(newest).unwrap()).await;
    only_these_are_left(dir.path(), std::slice::from_ref(newest)).await;
    append(&store, [41]).await;
}
