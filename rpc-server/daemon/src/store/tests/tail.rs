//! Streams of what comes.

use std::pin::Pin;

use futures::stream::{Stream, StreamExt};
use futures::{FutureExt, poll};

use super::super::reading::tail::Tailed;
use super::*;

type Items = Pin<Box<dyn Stream<Item = Result<Tailed, StoreError>> + Send>>;

fn tail(store: &Arc<LogStore>, start: Start, filter: Filter) -> Items {
    let query = TailQuery {
        start,
        filter: filter.into(),
        ..TailQuery::default()
    };
    Box::pin(store.tail(query).unwrap())
}

/// The next item: its numbers, and where it ends.
async fn next(items: &mut Items) -> (Vec<u64>, u64) {
    let item = items.next().await.unwrap().unwrap();
    let numbers = item.entries.iter().map(|raw| seq_of(raw)).collect();
    (numbers, item.next)
}

/// A store whose reads hardly wait: what does not pass is told soon.
fn open_impatient(dir: &TempDir) -> LogStore {
    let config = LogConfig {
        wait_max: Duration::from_millis(1),
        fsync: false,
        ..LogConfig::default()
    };
    open_with(dir.path(), config).unwrap()
}

#[tokio::test]
async fn the_first_item_comes_at_once_and_later_ones_with_what_has_come() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    append(&store, 1..=3).await;

    let mut items = tail(&store, Start::Now, containing("1"));
    assert_eq!(next(&mut items).await, (vec![], 3));
    assert!(poll!(items.next()).is_pending());

    append(&store, 4..=11).await;
    assert_eq!(next(&mut items).await, (vec![10, 11], 11));
    assert!(poll!(items.next()).is_pending());
}

#[tokio::test]
async fn a_stream_begins_behind_an_entry_and_its_items_have_a_hundred_at_most() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open_small(&dir, 4000));
    append(&store, 1..=250).await;

    let mut items = tail(&store, Start::After(20), Filter::default());
    assert_eq!(next(&mut items).await, ((21..=120).collect(), 120));
    assert_eq!(next(&mut items).await, ((121..=220).collect(), 220));
    assert_eq!(next(&mut items).await, ((221..=250).collect(), 250));
    assert!(poll!(items.next()).is_pending());
}

#[tokio::test]
async fn a_stream_begins_with_the_last_entries_that_pass() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open_small(&dir, 4000));
    append(&store, 1..=250).await;

    let check = async |count, filter: Filter, expected: &[u64]| {
        let mut items = tail(&store, Start::Last(count), filter);
        assert_eq!(next(&mut items).await, (expected.to_vec(), 250));
    };
    check(0, Filter::default(), &[]).await;
    check(3, Filter::default(), &[248, 249, 250]).await;
    check(2, containing("7"), &[237, 247]).await;
    check(5, containing("25"), &[25, 125, 225, 250]).await;
    check(5, containing("zzz"), &[]).await;
}

#[tokio::test]
async fn the_last_entries_are_found_behind_more_than_one_scan_looks_at() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open_impatient(&dir));
    append(&store, [1]).await;
    for _ in 0..50 {
        let message = "x".repeat(400 * 1024);
        store.append(&entry(message)).unwrap().await.unwrap();
    }

    let mut items = tail(&store, Start::Last(1), containing("1"));
    let mut found = next(&mut items).await;
    assert_eq!(found.0, [1]);
    while found.1 < 51 {
        found = next(&mut items).await;
        assert!(found.0.is_empty());
    }
}

#[tokio::test]
async fn what_retention_has_deleted_is_counted_once_and_a_begin_at_zero_misses_nothing() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 400,
        retention_bytes: 1500,
        fsync: false,
        ..LogConfig::default()
    };
    let store = Arc::new(open_with(dir.path(), config).unwrap());
    append(&store, 1..=2).await;

    let mut slow = tail(&store, Start::After(1), Filter::default());
    assert_eq!(next(&mut slow).await, (vec![2], 2));
    append(&store, 3..=100).await;
    store.close().await;
    let oldest = store.extent().oldest;
    assert!(oldest > 50);

    let item = slow.next().await.unwrap().unwrap();
    assert_eq!((item.lost, seq_of(&item.entries[0])), (oldest - 3, oldest));

    for (start, lost) in [(0, 0), (1, oldest - 2), (oldest - 1, 0)] {
        let mut items = tail(&store, Start::After(start), Filter::default());
        let item = items.next().await.unwrap().unwrap();
        assert_eq!((item.lost, seq_of(&item.entries[0])), (lost, oldest));
    }
}

#[tokio::test]
async fn a_stream_moves_over_what_does_not_pass_without_an_entry_to_show() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open_impatient(&dir));
    for _ in 0..50 {
        let message = "x".repeat(400 * 1024);
        store.append(&entry(message)).unwrap().await.unwrap();
    }

    let mut items = tail(&store, Start::After(0), containing("y"));
    let (numbers, first) = next(&mut items).await;
    assert!(numbers.is_empty() && first > 30 && first < 50, "{first}");
    assert_eq!(next(&mut items).await, (vec![], 50));
}

#[tokio::test]
async fn a_stream_ends_with_an_error_when_waiting_ends_and_one_that_does_not_fit_does_not_begin() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    append(&store, 1..=3).await;

    let mut items = tail(&store, Start::After(0), Filter::default());
    assert_eq!(next(&mut items).await, (vec![1, 2, 3], 3));
    assert!(items.next().now_or_never().is_none());
    store.end_waits();
    let end = items.next().await.unwrap();
    assert!(matches!(end, Err(StoreError::Ending)), "{end:?}");
    assert!(items.next().await.is_none());

    let past = TailQuery {
        start: Start::After(4),
        ..TailQuery::default()
    };
    assert!(matches!(
        LogStore::tail(&store, past).map(|_| ()),
        Err(StoreError::PastEnd { after: 4, .. })
    ));
    let other = TailQuery {
        log: Some("other".into()),
        ..TailQuery::default()
    };
    assert!(matches!(
        LogStore::tail(&store, other).map(|_| ()),
        Err(StoreError::OtherLog { .. })
    ));
}
