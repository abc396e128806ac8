//! Zeros where a disk has not written what it was given before it lost its power.

use std::ops::Range;

use super::batches::batch_of;
use super::damage::forget_closing;
use super::*;

const SECTOR: usize = 512;

/// Appends a batch of ten, with one write of more than four sectors.
async fn append_batch(store: &LogStore, number: u64) -> (u64, bool) {
    let entries: Vec<Append> = (0..10)
        .map(|n| entry(format!("{number}.{n} {}", "x".repeat(200))))
        .collect();
    let once = store.append_batch("p", number, batch_of(&entries)).unwrap();
    (once.outcome.await.unwrap(), once.is_repetition)
}

/// A log with an entry and two batches, and where its writes end.
async fn written() -> (TempDir, Vec<usize>) {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, [0]).await;
    let mut ends = Vec::new();
    for number in 1..=2 {
        ends.push(fs::read(segment_path(&dir, 1)).unwrap().len());
        append_batch(&store, number).await;
    }
    ends.push(fs::read(segment_path(&dir, 1)).unwrap().len());
    drop(store);
    (dir, ends)
}

fn zero(dir: &TempDir, bytes: Range<usize>) {
    let path = segment_path(dir, 1);
    let mut content = fs::read(&path).unwrap();
    content[bytes].fill(0);
    fs::write(path, content).unwrap();
}

/// The end of the sector that a byte is in, a number of sectors further on.
fn sector_end(at: usize, further: usize) -> usize {
    (at / SECTOR + 1 + further) * SECTOR
}

#[tokio::test]
async fn a_write_that_was_not_synced_and_has_zeros_in_it_leaves_no_batch_in_part() {
    for (from_sector, sectors) in [(0, 0), (0, 1), (0, 2), (1, 1), (2, 1), (3, 1)] {
        let (dir, ends) = written().await;
        forget_closing(&dir);
        let from = match from_sector {
            0 => ends[1],
            n => sector_end(ends[1], n - 1),
        };
        zero(&dir, from..sector_end(from, sectors));
        let case = format!("{sectors} from {from}");

        let store = open(&dir);
        assert_eq!((store.last(), store.damaged()), (11, 0), "{case}");
        assert_eq!(read_all(&store, &query(0)).await.len(), 11, "{case}");
        assert_eq!(append_batch(&store, 1).await, (2, true), "{case}");
        assert_eq!(append_batch(&store, 2).await, (12, false), "{case}");
        assert_eq!(read_all(&store, &query(0)).await.len(), 21, "{case}");
        drop(store);
        assert_eq!(open(&dir).last(), 21, "{case}");
    }
}

#[tokio::test]
async fn the_first_write_of_a_file_may_have_zeros_too() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append_batch(&store, 1).await;
    drop(store);
    forget_closing(&dir);
    zero(&dir, 0..2 * SECTOR);

    let store = open(&dir);
    assert_eq!((store.last(), store.damaged()), (0, 0));
    assert_eq!(append_batch(&store, 1).await, (1, false));
}

#[tokio::test]
async fn zeros_in_what_was_synced_are_damage_and_nothing_behind_them_is_cut_off() {
    let zero_in_first = |dir: &TempDir, ends: &[usize]| {
        zero(dir, sector_end(ends[0], 0)..sector_end(ends[0], 1));
    };
    let zero_in_last = |dir: &TempDir, ends: &[usize]| {
        zero(dir, sector_end(ends[1], 0)..sector_end(ends[1], 1));
    };
    let check = async |dir: &TempDir, why: &str| {
        let len = fs::read(segment_path(dir, 1)).unwrap().len();
        let store = open(dir);
        assert!(store.damaged() > 0, "{why}");
        assert_eq!(store.last(), 21, "{why}");
        let found = read_all(&store, &query(0)).await;
        assert!((16..21).contains(&found.len()), "{why}: {}", found.len());
        drop(store);
        assert_eq!(fs::read(segment_path(dir, 1)).unwrap().len(), len, "{why}");
    };

    let (dir, ends) = written().await;
    forget_closing(&dir);
    zero_in_first(&dir, &ends);
    check(&dir, "another write was begun behind it").await;

    let (dir, ends) = written().await;
    zero_in_last(&dir, &ends);
    check(&dir, "the log was closed").await;

    let (dir, ends) = written().await;
    drop(open(&dir));
    forget_closing(&dir);
    zero_in_last(&dir, &ends);
    check(&dir, "the log was opened, and so synced").await;

    let (dir, ends) = written().await;
    forget_closing(&dir);
    fs::remove_file(dir.path().join("opened.json")).unwrap();
    zero_in_last(&dir, &ends);
    check(&dir, "an older version has written it").await;

    let (dir, ends) = written().await;
    drop(open_small(&dir, 1 << 20));
    assert!(!dir.path().join("opened.json").exists());
    forget_closing(&dir);
    zero_in_first(&dir, &ends);
    check(&dir, "a store that does not sync had it open").await;
}

#[tokio::test]
async fn a_byte_of_the_last_write_that_becomes_a_zero_costs_no_more_than_its_line() {
    let (dir, ends) = written().await;
    let whole = fs::read(segment_path(&dir, 1)).unwrap();
    let spaces = (ends[1]..ends[2]).filter(|at| whole[*at] == b' ');
    let spaces: Vec<usize> = spaces.collect();
    assert!(spaces.len() > 5);

    for at in spaces {
        let (dir, _) = written().await;
        forget_closing(&dir);
        zero(&dir, at..at + 1);
        let store = open(&dir);
        // Behind the last line, as many numbers are left out as its bytes could have held.
        assert!(store.last() >= 21, "byte {at}");
        assert_eq!(store.damaged(), 1, "byte {at}");
        assert_eq!(read_all(&store, &query(0)).await.len(), 20, "byte {at}");
    }
}
