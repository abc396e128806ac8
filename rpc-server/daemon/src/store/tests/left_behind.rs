//! Entries whose write has failed and that the disk has not taken back.

use std::io::Write;
use std::ops::RangeInclusive;

use super::super::index::Index;
use super::super::new_entries::FirstLine;
use super::super::repeats::BatchOf;
use super::super::segment::stand_in;
use super::batches::{batch_of, entries};
use super::keys::append_once;
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
    leave_behind(&dir, left, LogConfig::default(), async |store| {
        append(store, [9]).await;
    })
    .await;
    assert_eq!(files(dir.path()), [1, 5].map(|n| segment_path(&dir, n)));
    dir
}

/// Lets a batch fail, and then writes to the segments behind.
async fn leave_behind(
    dir: &TempDir,
    left: &str,
    config: LogConfig,
    write: impl AsyncFnOnce(&LogStore),
) {
    // A file that the store reads and cannot write to, and that is longer than it should be when it is cut off.
    let path = files(dir.path()).pop().unwrap();
    let other = dir.path().join("other");
    fs::copy(&path, &other).unwrap();
    stand_in::take_instead(fs::File::open(&other).unwrap());
    let store = open_with(dir.path(), config).unwrap();
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
    write(&store).await;
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

/// Segments of one entry or batch each.
fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 100,
        ..LogConfig::default()
    }
}

/// Appends a batch of two and an entry with a key for each number.
async fn append_numbers(store: &LogStore, numbers: RangeInclusive<u64>) {
    for number in numbers {
        assert!(!repeat_number(store, number, None).await);
    }
}

/// Sends the batch and the entry with a key of this number; returns whether both were there before.
async fn repeat_number(store: &LogStore, number: u64, key_age: Option<u64>) -> bool {
    let batch = store.append_batch("q", number, batch_of(&entries(number, 2)));
    let batch = batch.unwrap();
    batch.outcome.await.unwrap();

    let key = append_once(store, &number.to_string(), "m", key_age).await;
    let (_, is_repetition) = key.unwrap();
    assert_eq!(is_repetition, batch.is_repetition);
    is_repetition
}

/// Makes segments senseless: who reads them has not read all that was known.
fn ruin<'p>(segments: impl IntoIterator<Item = &'p PathBuf>) {
    for path in segments {
        let len = fs::metadata(path).unwrap().len();
        fs::write(path, "\n".repeat(usize::try_from(len).unwrap())).unwrap();
    }
}

#[tokio::test]
async fn a_start_behind_a_failed_write_reads_its_segment_and_the_newest_alone_and_the_next_one_the_newest()
 {
    let dir = TempDir::new().unwrap();
    let store = open_with(dir.path(), small()).unwrap();
    append_numbers(&store, 1..=10).await;
    drop(store);
    // The newest one has no room for a batch, and an empty one has.
    let failed = segment_path(&dir, 31);
    fs::write(&failed, "").unwrap();
    let left = lines_of_batch(31);
    leave_behind(&dir, &left, small(), async |store| {
        append_numbers(store, 11..=20).await;
    })
    .await;

    let mut older = files(dir.path());
    older.pop();
    assert_eq!(older.len(), 40);
    for read in [Some(&failed), None] {
        ruin(older.iter().filter(|path| Some(*path) != read));

        let store = open_with(dir.path(), small()).unwrap();
        for number in 1..=20 {
            assert!(repeat_number(&store, number, Some(60_000)).await);
        }
        assert_eq!(append_batch(&store).await.unwrap(), (31, true));
    }

    // Had one of them read anything else, this one would not know all, and refuse a repetition that it does not know.
    let store = open_with(dir.path(), small()).unwrap();
    let new = append_once(&store, "new", "m", Some(0)).await;
    assert_eq!(new.unwrap(), (store.last(), false));
}

#[tokio::test]
async fn a_start_right_after_a_failed_write_finds_it_in_a_segment_that_is_not_the_newest() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), [0]).await;
    let left = lines_of_batch(2);
    leave_behind(&dir, &left, LogConfig::default(), async |_| ()).await;
    let segments = [1, 5].map(|n| segment_path(&dir, n));
    assert_eq!(files(dir.path()), segments);

    let store = open(&dir);
    assert_eq!(append_batch(&store).await.unwrap(), (2, true));
    assert_eq!(messages(&store).await, ["0", "7.1", "7.2", "7.3"]);
    append(&store, [9]).await;
    assert_eq!(files(dir.path()), segments);
}

#[cfg(target_os = "linux")]
mod synced {
    use super::super::disk::{CHILD_DIR, child};
    use super::super::kill::acknowledge;
    use super::super::power::simulated::{Call, recorded};
    use super::*;

    #[tokio::test]
    #[ignore = "does nothing but as a child of the next tests"]
    async fn child_that_sends_the_batch_again() {
        let Some(dir) = std::env::var_os(CHILD_DIR) else {
            return;
        };
        let store = open_with(Path::new(&dir), LogConfig::default()).unwrap();
        let (first, is_repetition) = append_batch(&store).await.unwrap();
        assert!(is_repetition);
        acknowledge("p", 7, first);
    }

    /// What a process does before it answers that it has the batch.
    fn calls_before_the_answer(dir: &TempDir) -> Option<Vec<Call>> {
        let sending = child(
            "child_that_sends_the_batch_again",
            module_path!(),
            dir,
            None,
        );
        let mut calls = recorded(dir.path(), [sending])?;
        let is_answer = |call: &Call| matches!(call, Call::Say(_));
        let answer = calls.iter().position(is_answer).expect("it has the batch");
        calls.truncate(answer);
        Some(calls)
    }

    fn sync(path: &Path) -> Call {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        Call::SyncFile { name }
    }

    #[tokio::test]
    async fn a_batch_that_was_left_behind_is_written_again_and_synced_before_it_is_answered() {
        let left = lines_of_batch(2);
        let dir = with_batch_left_behind(&left).await;
        let segment = segment_path(&dir, 1);
        let kept = fs::metadata(&segment).unwrap().len() - left.len() as u64;

        let Some(calls) = calls_before_the_answer(&dir) else {
            return;
        };
        let is_written = |call: &Call| {
            let Call::WriteAt { name, at, bytes } = call else {
                return false;
            };
            assert_eq!((*at as u64, &**bytes), (kept, left.as_bytes()), "{name}");
            segment.ends_with(name)
        };
        let written = calls.iter().position(is_written).expect("it is written");
        assert!(calls[written..].contains(&sync(&segment)));
    }

    #[tokio::test]
    async fn what_a_store_has_written_that_does_not_sync_is_synced_by_one_that_does() {
        let dir = TempDir::new().unwrap();
        let store = open_small(&dir, 100);
        append_batch(&store).await.unwrap();
        append(&store, 1..=3).await;
        drop(store);

        let Some(calls) = calls_before_the_answer(&dir) else {
            return;
        };
        let segments = files(dir.path());
        assert_eq!(segments.len(), 4);
        for segment in segments {
            assert!(calls.contains(&sync(&segment)), "{}", segment.display());
        }

        // From then on all is synced when it is written.
        let calls = calls_before_the_answer(&dir).expect("the first process was recorded");
        assert!(!calls.contains(&sync(&segment_path(&dir, 1))));
    }
}
