//! Reads that leave out what an index says does not pass.

use super::super::entry::EntryRef;
use super::super::index::{self, Brief, Index};
use super::super::reading::SCAN_BYTES_MAX;
use super::super::reading::scan::{Range, Scan};
use super::super::segments::{FoundSegments, Segments};
use super::*;

/// Entries of 100 KiB, with a time, a level and a service that change slowly, in segments of 2 MiB.
pub(super) async fn fill(store: &LogStore) {
    for n in 0..80_u64 {
        let mut new = entry(format!("{n} {}", "x".repeat(100 * 1024)));
        // Not in their order, as of several callers.
        new.ts = Some(n * 10 + n % 3 * 15);
        new.level = if n == 42 { Level::Fatal } else { Level::Info };
        new.service = format!("s{}", n / 10);
        store.append(&new).unwrap().await.unwrap();
    }
}

fn open_indexed(dir: &TempDir) -> LogStore {
    open_small(dir, 2 << 20)
}

fn filters() -> Vec<Filter> {
    let time = |from: Option<u64>, to: Option<u64>| Filter {
        rest: Rest {
            from,
            to,
            ..Rest::default()
        },
        ..Filter::default()
    };

    let mut filters: Vec<Filter> = (0..9).map(|n| of_service(&format!("s{n}"))).collect();
    for at in (0..900).step_by(37) {
        filters.push(time(Some(at), None));
        filters.push(time(None, Some(at)));
        filters.push(time(Some(at), Some(at + 60)));
    }
    filters.push(Filter {
        level: Some(Level::Warn),
        ..Filter::default()
    });
    filters
}

/// What each filter finds, up and down.
pub(super) async fn found(store: &LogStore) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    for filter in filters() {
        let up = Query {
            filter: filter.into(),
            ..query(0)
        };
        let found = seqs(&read_all(store, &up).await);

        let mut down = Query {
            direction: Direction::Down { before: u64::MAX },
            ..up.clone()
        };
        let mut reversed = Vec::new();
        loop {
            let page = store.read(down.clone()).await.unwrap();
            reversed.extend(page.entries.iter().map(|raw| seq_of(raw)));
            if !page.more {
                break;
            }
            down.direction = Direction::Down { before: page.next };
        }
        reversed.reverse();

        assert_eq!(reversed, found, "{up:?}");
        all.push(found);
    }
    all
}

fn index_files(dir: &TempDir) -> Vec<PathBuf> {
    let indexes = files(dir.path()).into_iter();
    let indexes = indexes.map(|path| path.with_extension("idx"));
    indexes.filter(|path| path.exists()).collect()
}

#[tokio::test]
async fn what_is_found_with_an_index_is_what_is_found_without_and_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let store = open_indexed(&dir);
    fill(&store).await;
    let with_index = found(&store).await;
    let closed = files(dir.path()).len() - 1;
    assert!(closed > 2);
    assert_eq!(index_files(&dir).len(), closed);
    drop(store);

    // By the entries themselves.
    for (filter, found) in filters().iter().zip(&with_index) {
        let expected = (0..80_u64).filter(|n| {
            let ts = n * 10 + n % 3 * 15;
            let level = if *n == 42 { Level::Fatal } else { Level::Info };
            filter.level.is_none_or(|wanted| level >= wanted)
                && filter
                    .service
                    .as_ref()
                    .is_none_or(|wanted| *wanted == format!("s{}", n / 10))
                && filter.rest.from.is_none_or(|from| ts >= from)
                && filter.rest.to.is_none_or(|to| ts < to)
        });
        let expected: Vec<u64> = expected.map(|n| n + 1).collect();
        assert_eq!(*found, expected, "{filter:?}");
    }

    let store = open_indexed(&dir);
    assert_eq!(found(&store).await, with_index);
    drop(store);

    // Missing ones are not needed, and are made again.
    for (n, path) in index_files(&dir).iter().enumerate() {
        match n % 2 {
            0 => fs::remove_file(path).unwrap(),
            _ => fs::write(path, "{}\n").unwrap(),
        }
    }
    let store = open_indexed(&dir);
    assert_eq!(found(&store).await, with_index);
    while index_files(&dir).len() < closed || !no_index_is_short(&dir) {
        tokio::task::yield_now().await;
    }
    assert_eq!(found(&store).await, with_index);
}

#[tokio::test]
async fn an_index_that_is_another_one_s_or_of_another_length_is_not_used_and_is_made_again() {
    let dir = TempDir::new().unwrap();
    let store = open_indexed(&dir);
    fill(&store).await;
    let expected = found(&store).await;
    drop(store);
    let indexes = index_files(&dir);
    assert!(indexes.len() >= 3);
    let whole: Vec<String> = indexes
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();

    // Of the segment behind; and of one that was cut and has grown again: a frame less, its check being sound.
    let segment = indexes[2].with_extension("ndjson");
    let (mut before, mut end) = (Index::default(), 0);
    for line in lines_of(&segment, 3).split_inclusive(|byte| *byte == b'\n') {
        end += line.len() as u64;
        before.add(&Brief::of(&EntryRef::parse(line).unwrap()), end);
    }
    for is_of_the_segment_behind in [true, false] {
        match is_of_the_segment_behind {
            true => fs::write(&indexes[0], &whole[1]).unwrap(),
            false => index::write(&segment, &before).unwrap(),
        }
        let is_as_before = || {
            let found = indexes.iter().map(|path| fs::read_to_string(path).ok());
            found.eq(whole.iter().cloned().map(Some))
        };
        assert!(!is_as_before());

        let store = open_indexed(&dir);
        assert_eq!(found(&store).await, expected);
        let begun = std::time::Instant::now();
        while !is_as_before() {
            assert!(begun.elapsed() < LONG);
            tokio::task::yield_now().await;
        }
        assert_eq!(found(&store).await, expected);
    }
}

/// The first lines of a file.
fn lines_of(path: &Path, count: usize) -> Vec<u8> {
    let content = fs::read(path).unwrap();
    let lines = content.split_inclusive(|byte| *byte == b'\n').take(count);
    lines.flatten().copied().collect()
}

fn no_index_is_short(dir: &TempDir) -> bool {
    let lengths = index_files(dir).into_iter();
    lengths
        .map(|path| fs::metadata(path).map_or(0, |file| file.len()))
        .all(|bytes| bytes > 3)
}

#[tokio::test]
async fn a_read_by_time_does_not_scan_what_is_of_another_time() {
    let dir = TempDir::new().unwrap();
    let store = open_indexed(&dir);
    fill(&store).await;
    drop(store);

    let FoundSegments { segments, .. } = Segments::recover(dir.path(), None, &mut |_| ()).unwrap();
    let query = Query {
        filter: Filter {
            rest: Rest {
                from: Some(400),
                to: Some(430),
                ..Rest::default()
            },
            ..Filter::default()
        }
        .into(),
        ..query(0)
    };
    let range = Range {
        after: 0,
        place: None,
        bytes_max: SCAN_BYTES_MAX,
    };
    let scan = Scan::run(&segments, &query, range, &|| false).unwrap();

    assert!(!scan.entries.is_empty());
    assert_eq!(scan.next, 80);
    // Two or three frames of 8 MiB.
    assert!(scan.scanned < 4 << 20, "{}", scan.scanned);
}

#[tokio::test]
async fn an_index_is_deleted_with_its_segment() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 400,
        retention_bytes: 1500,
        fsync: false,
        ..LogConfig::default()
    };
    let store = open_with(dir.path(), config).unwrap();
    append(&store, 0..100).await;
    store.close().await;

    let all = fs::read_dir(dir.path()).unwrap();
    let indexes = all.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|found| found == "idx")
    });
    let left = files(dir.path()).len() - 1;
    assert!(left > 1);
    assert_eq!((indexes.count(), index_files(&dir).len()), (left, left));
}
