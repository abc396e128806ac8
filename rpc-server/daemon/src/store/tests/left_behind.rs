//! Entries whose write has failed and that the disk has not taken back.

use std::io::Write;

use super::super::index::Index;
use super::super::new_entries::FirstLine;
use super::super::repeats::BatchOf;
use super::super::segment::stand_in;
use super::batches::{batch_of, entries};
use super::*;

/// The lines of the batch that fails, with the numbers from `first` on.
fn lines_of_batch(first: u64) -> String {
    let entries = batch_of(&entries(7, 3));
    let batch = BatchOf::new("p".into(), 7, &entries);
    let (mut lines, mut index) = (Vec::new(), Index::default());
    let entries = entries.into_entries(&batch).received_at(1);
    entries.write(first, &mut lines, &mut index, FirstLine::BeginsWrite);
    String::from_utf8(lines).unwrap()
}

async fn append_batch(store: &LogStore) -> Result<(u64, bool), StoreError> {
    let once = store.append_batch("p", 7, batch_of(&entries(7, 3)))?;
    Ok((once.outcome.await?, once.is_repetition))
}

/// A directory in which a batch of three has failed, and then an entry was written to the next segment. Of the batch, the
/// disk has kept these lines.
async fn with_batch_left_behind(left: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), [0]).await;
    leave_behind(&dir, left).await;
    assert_eq!(files(dir.path()), [1, 5].map(|n| segment_path(&dir, n)));
    dir
}

/// Lets a batch fail, and then an entry go to the next segment.
async fn leave_behind(dir: &TempDir, left: &str) {
    // A file that the store reads and cannot write to, and that is longer than it should be when it is cut off.
    let path = files(dir.path()).pop().unwrap();
    let other = dir.path().join("other");
    fs::copy(&path, &other).unwrap();
    stand_in::take_instead(fs::File::open(&other).unwrap());
    let store = open(dir);
    fs::OpenOptions::new()
        .append(true)
        .open(&other)
        .and_then(|mut file| file.write_all(b"what was written"))
        .unwrap();

    for _ in 0..2 {
        let failed = append_batch(&store).await;
        assert!(
            matches!(failed, Err(StoreError::LeftBehind { .. })),
            "{failed:?}"
        );
    }
    append(&store, [9]).await;
    let failed = append_batch(&store).await;
    assert!(matches!(failed, Err(StoreError::LeftBehind { .. })));
    drop(store);

    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(left.as_bytes()).unwrap();
}

async fn messages(store: &LogStore) -> Vec<String> {
    let found = read_all(store, &query(0)).await;
    found.into_iter().map(|(_, message)| message).collect()
}

#[tokio::test]
async fn a_batch_that_was_left_behind_is_not_doubled_when_it_is_sent_again_after_a_restart() {
    let dir = with_batch_left_behind(&lines_of_batch(2)).await;

    let store = open(&dir);
    assert_eq!(append_batch(&store).await.unwrap(), (2, true));
    assert_eq!(messages(&store).await, ["0", "7.1", "7.2", "7.3", "9"]);
}

/// The first bytes of the batch: none, whole lines, and lines that are torn behind their number, in the middle, and before
/// their newline.
fn parts_of_batch() -> Vec<String> {
    let whole = lines_of_batch(2);
    let mut parts = Vec::new();
    let mut begin = 0;
    for line in whole.split_inclusive('\n') {
        for bytes in [0, "{\"seq\":2,".len(), line.len() / 2, line.len() - 1] {
            parts.push(whole[..begin + bytes].to_owned());
        }
        begin += line.len();
    }
    parts
}

#[tokio::test]
async fn a_batch_that_was_left_behind_in_part_or_not_at_all_is_written_when_it_is_sent_again() {
    for left in parts_of_batch() {
        let dir = with_batch_left_behind(&left).await;

        let store = open(&dir);
        assert_eq!(append_batch(&store).await.unwrap(), (6, false), "{left}");
        assert_eq!(append_batch(&store).await.unwrap(), (6, true), "{left}");
    }
}

#[tokio::test]
async fn a_batch_that_was_left_behind_in_part_is_not_shown() {
    for left in parts_of_batch() {
        let dir = with_batch_left_behind(&left).await;
        let path = segment_path(&dir, 1);
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        let written = modified();

        let store = open(&dir);
        assert_eq!(messages(&store).await, ["0", "9"], "{left}");
        append_batch(&store).await.unwrap();
        drop(store);

        let store = open(&dir);
        let expected = ["0", "9", "7.1", "7.2", "7.3"];
        assert_eq!(messages(&store).await, expected, "{left}");
        assert_eq!(store.damaged(), 0, "{left}");
        assert_eq!(modified(), written, "retention goes by it");
    }
}
