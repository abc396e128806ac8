//! Many readers that wait: which of them wake, and for what.

use std::collections::BTreeSet;
use std::task::Poll;

use futures::future::{BoxFuture, FutureExt, join_all};
use futures::poll;

use super::*;

/// A store whose scans can be counted.
fn open_with_pool(dir: &TempDir) -> (Arc<LogStore>, BlockingPool) {
    let pool = BlockingPool::default();
    let store = LogStore::open(dir.path(), LogConfig::default(), &pool).unwrap();
    (Arc::new(store), pool)
}

type Read = BoxFuture<'static, Page>;

/// A read that waits for entries behind `after`.
fn waiting(store: &Arc<LogStore>, after: u64, filter: Filter) -> Read {
    let query = Query {
        wait: LONG,
        filter: filter.into(),
        ..query(after)
    };
    let store = Arc::clone(store);
    async move { store.read(query).await.unwrap() }.boxed()
}

/// Polls reads until each waits.
async fn let_wait(reads: &mut [Read]) {
    for read in reads {
        assert!(poll!(read).is_pending());
    }
}

/// Returns once every entry has been matched with every filter that waits: by a reader of each kind for an entry
/// that comes last, which is returned.
async fn after_all_is_matched(store: &Arc<LogStore>) -> (u64, Append) {
    let last = store.last();
    let text = format!("the end behind {last}");
    let mut ends = [
        waiting(store, last, containing(&text)),
        waiting(store, last, of_service(&text)),
    ];
    let_wait(&mut ends).await;

    let end = Append {
        service: text.clone(),
        ..entry(&text)
    };
    let seq = store.append(&end).unwrap().await.unwrap();
    join_all(ends).await;
    (seq, end)
}

#[tokio::test]
async fn readers_whose_filters_do_not_match_neither_wake_nor_scan() {
    let dir = TempDir::new().unwrap();
    let (store, pool) = open_with_pool(&dir);
    append(&store, [1]).await;

    let mut reads: Vec<Read> = (0..1000)
        .map(|n| match n % 3 {
            0 => waiting(&store, 1, containing("no entry has this")),
            1 => waiting(&store, 1, containing(&format!("nor this: {n}"))),
            _ => waiting(&store, 1, of_service(&format!("service {n}"))),
        })
        .collect();
    let_wait(&mut reads).await;
    assert_eq!(pool.report().started, 0);

    append(&store, 2..=50).await;
    after_all_is_matched(&store).await;
    pool.at_rest().await;

    // The two that wait for the end have looked, and no other one.
    assert_eq!(pool.report().started, 2);
    let_wait(&mut reads).await;
}

#[tokio::test]
async fn each_reader_wakes_for_the_first_entry_that_passes_its_filter() {
    let dir = TempDir::new().unwrap();
    let (store, _pool) = open_with_pool(&dir);
    append(&store, [1]).await;

    let filter = |level, service: Option<&str>, contains: Option<&str>| Filter {
        level,
        service: service.map(ToOwned::to_owned),
        contains: contains.map(ToOwned::to_owned),
        rest: Rest::default(),
    };
    let mut reads: Vec<(Filter, Read)> = Vec::new();
    for level in [None, Some(Level::Warn), Some(Level::Fatal)] {
        for service in [None, Some("order"), Some("stock"), Some("none")] {
            for contains in [None, Some("7"), Some("22"), Some(""), Some("none")] {
                let filter = filter(level, service, contains);
                let mut read = waiting(&store, 1, filter.clone());
                assert!(poll!(&mut read).is_pending());
                reads.push((filter, read));
            }
        }
    }

    let mut written = Vec::new();
    for n in 2..=40_u64 {
        let new = Append {
            level: if n % 5 == 0 {
                Level::Error
            } else {
                Level::Info
            },
            service: if n % 3 == 0 { "stock" } else { "order" }.into(),
            ..entry(n.to_string())
        };
        store.append(&new).unwrap().await.unwrap();
        written.push((n, new));
    }
    written.push(after_all_is_matched(&store).await);

    for (filter, read) in reads {
        let passes = |(_, new): &&(u64, Append)| {
            filter.level.is_none_or(|level| new.level >= level)
                && filter
                    .service
                    .as_ref()
                    .is_none_or(|name| new.service == *name)
                && filter
                    .contains
                    .as_ref()
                    .is_none_or(|text| new.message.contains(text))
        };
        let expected = written.iter().find(passes).map(|(seq, _)| *seq);

        match expected {
            Some(expected) => assert_eq!(seq_of(&read.await.entries[0]), expected, "{filter:?}"),
            None => assert!(read.now_or_never().is_none(), "{filter:?}"),
        }
    }
}

#[tokio::test]
async fn a_wait_in_vain_moves_the_cursor_over_what_has_been_matched() {
    let dir = TempDir::new().unwrap();
    let (store, _pool) = open_with_pool(&dir);
    append(&store, 1..=3).await;

    let mut reads = vec![
        waiting(&store, 3, containing("zzz")),
        waiting(&store, 3, of_service("zzz")),
    ];
    let_wait(&mut reads).await;
    append(&store, 4..=9).await;

    // Readers are woken before it is noted how far they were asked: the second time follows that.
    after_all_is_matched(&store).await;
    after_all_is_matched(&store).await;

    tokio::time::pause();
    tokio::time::advance(LONG).await;
    for page in join_all(reads).await {
        assert!(page.entries.is_empty() && page.next >= 9, "{}", page.next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_join_and_leave_while_entries_come_miss_none() {
    let dir = TempDir::new().unwrap();
    let (store, _pool) = open_with_pool(&dir);

    let followers: Vec<_> = (0..16)
        .map(|n| {
            let store = Arc::clone(&store);
            let filter = match n % 4 {
                0 => Filter::default(),
                1 => of_service("order"),
                2 => containing("7"),
                _ => containing(&n.to_string()),
            };
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                let mut after = 0;
                while after < 3001 {
                    // Now and then the wait is given up as soon as it began.
                    let mut read = waiting(&store, after, filter.clone());
                    let page = match poll!(&mut read) {
                        Poll::Ready(page) => page,
                        Poll::Pending if after % 3 == 0 => {
                            drop(read);
                            waiting(&store, after, filter.clone()).await
                        }
                        Poll::Pending => read.await,
                    };

                    seen.extend(page.entries.iter().map(|raw| seq_of(raw)));
                    after = page.next;
                }
                (filter, seen)
            })
        })
        .collect();

    for round in 0..300_u64 {
        let appended: Vec<_> = (1..=10)
            .map(|n| store.append(&entry((round * 10 + n).to_string())).unwrap())
            .collect();
        for appended in appended {
            appended.await.unwrap();
        }
    }

    // For those whose filter the last entry does not pass: they follow until they have seen it.
    let end = Append {
        service: "order".into(),
        ..entry("the end 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15")
    };
    store.append(&end).unwrap().await.unwrap();

    for follower in followers {
        let (filter, seen) = follower.await.unwrap();
        let text = filter.contains.unwrap_or_default();
        let expected: BTreeSet<u64> = (1..=3001)
            .filter(|n| *n == 3001 || n.to_string().contains(&text))
            .collect();
        assert_eq!(seen, expected, "{text:?}");
    }
}
