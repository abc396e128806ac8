//! Reading from the last entry down.

use std::cell::Cell;

use super::super::reading::SCAN_BYTES_MAX;
use super::super::reading::backward::Backward;
use super::super::segments::{FoundSegments, Segments};
use super::*;

fn down(before: u64) -> Query {
    Query {
        direction: Direction::Down { before },
        ..query(0)
    }
}

/// All entries below a number that a query matches, page by page.
async fn read_all_down(store: &LogStore, query: &Query) -> Vec<(u64, String)> {
    let mut query = query.clone();
    let mut all = Vec::new();

    loop {
        let page = store.read(query.clone()).await.unwrap();
        assert!(page.entries.len() <= query.limit);
        let found = page
            .entries
            .iter()
            .map(|raw| (seq_of(raw), message_of(raw)));
        all.extend(found);

        let lowest = all.last().map_or(u64::MAX, |entry| entry.0);
        assert!(page.next <= lowest, "{} and {lowest}", page.next);
        if !page.more {
            return all;
        }
        query.direction = Direction::Down { before: page.next };
    }
}

/// What reading up finds, the last entry first.
async fn reversed(store: &LogStore, query: &Query) -> Vec<(u64, String)> {
    let up = Query {
        direction: Direction::Up,
        ..query.clone()
    };
    let mut all = read_all(store, &up).await;
    all.reverse();
    all
}

#[tokio::test]
async fn reading_down_finds_what_reading_up_finds_with_filters_and_pages_of_any_size() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 6000);
    for n in 0..400_usize {
        let mut new = entry(format!("{n} {}", "x".repeat(n * 7 % 300)));
        new.service = ["order", "stock"][n % 2].into();
        store.append(&new).unwrap().await.unwrap();
    }
    assert!(files(dir.path()).len() > 10);

    for filter in [
        Filter::default(),
        of_service("stock"),
        containing("39"),
        containing("zzz"),
    ] {
        for limit in [1, 7, 1000] {
            for after in [0, 1, 250, 400] {
                let query = Query {
                    limit,
                    after,
                    filter: filter.clone().into(),
                    ..down(u64::MAX)
                };
                let found = read_all_down(&store, &query).await;
                assert_eq!(found, reversed(&store, &query).await, "{query:?}");
            }
        }
    }

    for before in [0, 1, 2, 77, 399, 400, 401] {
        let page = store.read(down(before)).await.unwrap();
        let expected: Vec<u64> = (1..before).rev().collect();
        let found: Vec<u64> = page.entries.iter().map(|raw| seq_of(raw)).collect();
        assert_eq!((found, page.next, page.more), (expected, 1, false));
    }
}

#[tokio::test]
async fn reading_down_leaves_out_what_reading_up_leaves_out_of_damaged_files() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 300_000);
    for n in 0..900_u64 {
        let message = format!("{n} {}", "x".repeat(600));
        store.append(&entry(message)).unwrap().await.unwrap();
    }
    store.close().await;

    // Single bytes, newlines, and a stretch in which nothing can be believed.
    let path = segment_path(&dir, 1);
    let mut content = fs::read(&path).unwrap();
    for at in (0..20).map(|n| n * 13_007) {
        content[at] ^= 0x80;
    }
    let newlines: Vec<usize> = (0..content.len())
        .filter(|at| content[*at] == b'\n')
        .step_by(50)
        .collect();
    for at in newlines {
        content[at] = b' ';
    }
    content[100_000..190_000].fill(0);
    fs::write(&path, content).unwrap();

    for limit in [1, 50, 1000] {
        let query = Query {
            limit,
            ..down(u64::MAX)
        };
        let found = read_all_down(&store, &query).await;
        assert!(found.len() > 500 && found.len() < 880, "{}", found.len());
        assert_eq!(found, reversed(&store, &query).await);
    }
}

#[tokio::test]
async fn a_page_and_a_scan_downwards_have_their_limits_in_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 8 << 20);
    for n in 0..60 {
        let message = format!("{n} {}", "x".repeat(400 * 1024));
        store.append(&entry(message)).unwrap().await.unwrap();
    }

    let page = store.read(down(u64::MAX)).await.unwrap();
    assert_eq!((page.entries.len(), page.next, page.more), (2, 59, true));
    assert_eq!(read_all_down(&store, &down(u64::MAX)).await.len(), 60);

    // 24 MiB without a match: the first call ends before the begin.
    let nothing = Query {
        filter: containing("y").into(),
        ..down(u64::MAX)
    };
    let page = store.read(nothing).await.unwrap();
    assert!(page.entries.is_empty() && page.more);
    assert!((10..30).contains(&page.next), "{}", page.next);

    let longest = "x".repeat(lines::LINE_BYTES_MAX - 150);
    let seq = store.append(&entry(longest)).unwrap().await.unwrap();
    let page = store.read(down(u64::MAX)).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (1, seq));
}

#[tokio::test]
async fn a_scan_downwards_whose_call_is_over_reads_no_further_block() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 64 * 1024 * 1024);
    let appended: Vec<Appended> = (0..4000)
        .map(|_| store.append(&entry("m".repeat(500))).unwrap())
        .collect();
    for appended in appended {
        appended.await.unwrap();
    }
    drop(store);

    let FoundSegments { segments, .. } = Segments::recover(dir.path(), None, &mut |_| ()).unwrap();
    let nothing = Query {
        filter: containing("zzz").into(),
        ..down(u64::MAX)
    };

    // Each block is read after a look.
    let looks = Cell::new(0);
    let scan = |blocks_max: usize| {
        looks.set(0);
        let is_over = || {
            looks.set(looks.get() + 1);
            looks.get() > blocks_max
        };
        Backward::run(&segments, &nothing, 4001, SCAN_BYTES_MAX, &is_over).map(|scan| scan.before)
    };

    assert_eq!(scan(usize::MAX).unwrap(), 1);
    for blocks_max in [0, 1, 3, 10] {
        let error = scan(blocks_max).unwrap_err();
        assert!(error.to_string().ends_with("the call is over"), "{error}");
        assert_eq!(looks.get(), blocks_max + 1);
    }
}
