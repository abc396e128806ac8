//! Closed segments that are compressed in the background.

mod broken_off;
mod damage;
mod size;

use std::process::Command;

use super::super::segments::Segments;
use super::super::upkeep::Packer;
use super::batches::{batch_of, entries};
use super::index::{fill, found};
use super::keys::append_once;
use super::*;

fn config(segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        fsync: false,
        compression: Compression::Zstd,
        ..LogConfig::default()
    }
}

fn open_packing(dir: &TempDir, segment_bytes: u64) -> LogStore {
    open_with(dir.path(), config(segment_bytes)).unwrap()
}

/// Waits until all but the newest segment are compressed, and their plain files are gone.
async fn all_are_compressed(dir: &TempDir, store: &LogStore) {
    let begun = std::time::Instant::now();
    while store.segments.compressed() + 1 < store.segments.count() || files(dir.path()).len() > 1 {
        assert!(begun.elapsed() < LONG);
        tokio::task::yield_now().await;
    }
}

/// The files of a directory with this end, from oldest to newest.
fn ending_in(dir: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    files
}

/// A directory with closed segments of four entries, all compressed; returns the messages.
async fn compressed(dir: &TempDir, count: u64) -> Vec<(u64, String)> {
    let store = open_packing(dir, 360);
    append(&store, 1..=count).await;
    all_are_compressed(dir, &store).await;
    assert!(ending_in(dir.path(), ".zst").len() > 3);
    (1..=count).map(|n| (n, n.to_string())).collect()
}

/// Compresses what is closed, in this thread.
fn pack_all(dir: &Path) -> Segments {
    let segments = Segments::recover(dir, None, &mut |_| ()).unwrap().segments;
    Packer::new(&segments).pack_all(&|| false);
    segments
}

fn copy(from: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn compressed_segments_are_read_as_before_by_time_level_service_and_number() {
    let dir = TempDir::new().unwrap();
    let plain = open_small(&dir, 2 << 20);
    fill(&plain).await;
    let expected = found(&plain).await;
    let bytes = plain.stats_of_files();
    drop(plain);

    let store = open_packing(&dir, 2 << 20);
    all_are_compressed(&dir, &store).await;
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(found(&store).await, expected);
    assert!(store.stats_of_files().0 < bytes.0 / 3);
    for after in 0..80 {
        let page = store.read(query(after)).await.unwrap();
        assert_eq!(seq_of(&page.entries[0]), after + 1);
    }
    drop(store);

    // Also without the indexes, and by a store that compresses nothing.
    for index in ending_in(dir.path(), ".idx") {
        fs::remove_file(index).unwrap();
    }
    let store = open_small(&dir, 2 << 20);
    assert_eq!(found(&store).await, expected);
    append(&store, [81]).await;
    assert_eq!(seqs(&read_all(&store, &query(79)).await), [80, 81]);
}

#[tokio::test]
async fn an_entry_of_a_compressed_segment_is_read_byte_for_byte_as_it_was() {
    let dir = TempDir::new().unwrap();
    let texts = async |store: &LogStore| {
        let page = store.read(query(0)).await.unwrap();
        let texts = page.entries.iter().map(|raw| raw.get().to_owned());
        texts.collect::<Vec<_>>()
    };

    let plain = open_small(&dir, 360);
    append(&plain, 1..=20).await;
    append_once(&plain, "k", "m", None).await.unwrap();
    let batch = plain
        .append_batch("p", 1, NewBatch::from(entries(1, 3).as_slice()))
        .unwrap();
    batch.outcome.await.unwrap();
    append(&plain, 25..=30).await;
    let expected = texts(&plain).await;
    assert!(expected.iter().all(|entry| entry.contains("\"rx\":")));
    drop(plain);

    let store = open_packing(&dir, 360);
    all_are_compressed(&dir, &store).await;
    assert_eq!(texts(&store).await, expected);
}

impl LogStore {
    /// The bytes of all files, and those of the compressed ones among them.
    fn stats_of_files(&self) -> (u64, u64) {
        (self.segments.total_bytes(), self.segments.compressed())
    }
}

#[tokio::test]
async fn other_programs_read_compressed_segments_as_they_are() {
    let dir = TempDir::new().unwrap();
    let all = compressed(&dir, 40).await;

    let mut text = Vec::new();
    for file in ending_in(dir.path(), ".zst") {
        text.extend(zstd::stream::decode_all(fs::File::open(file).unwrap()).unwrap());
    }
    text.extend(fs::read(&files(dir.path())[0]).unwrap());
    let entries = text.split_inclusive(|byte| *byte == b'\n');
    let entries: Vec<Value> = entries
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(entries.len(), all.len());
    for (entry, (seq, message)) in entries.iter().zip(&all) {
        assert_eq!(
            (&entry["seq"], &entry["message"]),
            (&(*seq).into(), &message.as_str().into())
        );
    }

    // The program itself, too.
    if needs::has("zstdcat", "zstd") {
        let packed = ending_in(dir.path(), ".zst");
        let output = Command::new("zstdcat").args(packed).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(text.starts_with(&output.stdout) && !output.stdout.is_empty());
    }
}

#[tokio::test]
async fn keys_and_batches_in_compressed_segments_are_known_without_the_record_of_them() {
    let dir = TempDir::new().unwrap();
    let store = open_packing(&dir, 200);
    for n in 1..=5_u64 {
        append_once(&store, &n.to_string(), "m", None)
            .await
            .unwrap();
        let batch = store.append_batch("p", n, batch_of(&entries(n, 3)));
        batch.unwrap().outcome.await.unwrap();
    }
    all_are_compressed(&dir, &store).await;
    drop(store);
    fs::remove_file(known_file(&dir)).unwrap();

    let store = open_packing(&dir, 200);
    for n in 1..=5_u64 {
        let again = append_once(&store, &n.to_string(), "m", Some(60_000))
            .await
            .unwrap();
        assert_eq!(again, (n * 4 - 3, true));
        let batch = store
            .append_batch("p", n, batch_of(&entries(n, 3)))
            .unwrap();
        assert!(batch.is_repetition);
        assert_eq!(batch.outcome.await.unwrap(), n * 4 - 2);
    }
}
