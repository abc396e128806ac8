//! Closed segments that are compressed in the background.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::packed::stand_in;
#[cfg(feature = "program")]
use super::super::repeats::Repeats;
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
async fn a_byte_flipped_at_any_position_of_a_compressed_segment_costs_that_segment_and_is_reported()
{
    let dir = TempDir::new().unwrap();
    let all = compressed(&dir, 20).await;
    let damaged = ending_in(dir.path(), ".zst")[1].clone();
    let of_damaged = 5..=8;
    let whole = fs::read(&damaged).unwrap();
    let mut lost = 0;

    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        fs::write(&damaged, &changed).unwrap();

        let store = open_packing(&dir, 1 << 20);
        for round in 0..2 {
            let read = read_all(&store, &query(0)).await;
            let without = all.iter().filter(|(seq, _)| !of_damaged.contains(seq));
            let is_whole = read == all;
            assert!(is_whole || read.iter().eq(without), "byte {at}: {read:?}");
            assert_eq!(store.damaged(), u64::from(!is_whole), "byte {at}");
            lost += usize::from(!is_whole && round == 0);
        }

        let down = Query {
            direction: Direction::Down { before: 9 },
            ..query(0)
        };
        let page = store.read(down).await.unwrap();
        let expected = if store.damaged() == 0 { 8 } else { 4 };
        assert_eq!(page.entries.len(), expected, "byte {at}");
        assert_eq!(
            fs::read(&damaged).unwrap(),
            changed,
            "byte {at}: the file was changed"
        );
    }

    // All of its frame, but for bits that mean nothing; the table is not needed.
    assert!(lost > whole.len() / 3, "{lost} of {}", whole.len());
}

/// What is logged meanwhile.
#[cfg(feature = "program")]
fn logged(run: impl FnOnce()) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    fs::read_to_string(log.path()).unwrap()
}

#[cfg(feature = "program")]
#[tokio::test]
async fn what_is_wrong_with_a_compressed_segment_is_logged_with_the_file_that_is_there() {
    let dir = TempDir::new().unwrap();
    compressed(&dir, 20).await;
    let damaged = ending_in(dir.path(), ".zst")[1].clone();
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[30] ^= 0x41;
    fs::write(&damaged, bytes).unwrap();
    let file = format!("file={}", damaged.display());

    let segments = Segments::recover(dir.path(), None, &mut |_| ());
    let segments = segments.unwrap().segments;
    let log = logged(|| segments.report_damage(5, &[0], &|| false));
    assert!(log.contains("a frame of a compressed segment"), "{log}");
    assert!(log.contains(&format!("{file} offset=0")), "{log}");

    // A directory can be opened, and not read.
    fs::remove_file(&damaged).unwrap();
    fs::create_dir(&damaged).unwrap();
    fs::remove_file(known_file(&dir)).unwrap();
    let firsts = super::super::segments::firsts(dir.path()).unwrap();
    let log = logged(|| drop(Repeats::before_newest(dir.path(), &firsts, &config(360))));
    assert!(log.contains("the log cannot be read"), "{log}");
    assert!(log.contains(&file), "{log}");
}

#[tokio::test]
async fn a_compression_that_a_kill_ends_at_any_point_leaves_each_entry_there_once() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 360);
    append(&store, 1..=20).await;
    drop(store);
    let plain = copy(dir.path());
    drop(pack_all(dir.path()));
    let packed = ending_in(dir.path(), ".zst");
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    let content = fs::read(&packed[1]).unwrap();

    let check = async |dir: &TempDir, case: &str| {
        let store = open_packing(dir, 360);
        all_are_compressed(dir, &store).await;
        assert_eq!(
            seqs(&read_all(&store, &query(0)).await),
            (1..=20).collect::<Vec<_>>(),
            "{case}"
        );
        let (total, compressed) = store.stats_of_files();
        assert_eq!(
            compressed,
            ending_in(dir.path(), ".zst").len() as u64,
            "{case}"
        );
        let on_disk = ending_in(dir.path(), ".zst")
            .into_iter()
            .chain(files(dir.path()));
        let on_disk: u64 = on_disk.map(|file| fs::metadata(file).unwrap().len()).sum();
        assert_eq!(total, on_disk, "{case}");
        assert!(ending_in(dir.path(), ".new").is_empty(), "{case}");
        assert_eq!(store.damaged(), 0, "{case}");
    };

    let cuts = (0..content.len()).step_by(content.len() / 6);
    for cut in cuts.chain([content.len()]) {
        // Under its temporary name, and under its own with the plain file beside it.
        for end in [".new", ""] {
            let killed = copy(plain.path());
            let mut file = name(&packed[1]);
            file.push(end);
            fs::write(killed.path().join(file), &content[..cut]).unwrap();
            check(&killed, &format!("{cut} bytes, {end:?}")).await;
        }
    }

    // Before and behind the removal of the plain one.
    let killed = copy(plain.path());
    fs::copy(&packed[1], killed.path().join(name(&packed[1]))).unwrap();
    fs::remove_file(&files(killed.path())[1]).unwrap();
    check(&killed, "the plain file is gone").await;
}

#[tokio::test]
async fn an_unpacking_that_is_killed_at_any_point_loses_no_entry() {
    let dir = TempDir::new().unwrap();
    let all = compressed(&dir, 20).await;
    let packed = ending_in(dir.path(), ".zst")[1].clone();
    let name = packed.file_name().unwrap();
    let content = zstd::stream::decode_all(fs::File::open(&packed).unwrap()).unwrap();
    let bytes = fs::read(&packed).unwrap();

    for cut in (0..content.len()).step_by(content.len() / 6) {
        for has_table in [true, false] {
            let dir = copy(dir.path());
            let plain = dir.path().join(name).with_extension("");
            fs::write(&plain, &content[..cut]).unwrap();
            if !has_table {
                let without = &bytes[..bytes.len() - 1];
                fs::write(dir.path().join(name), without).unwrap();
            }
            // Keys and batches are read from all segments then.
            fs::remove_file(known_file(&dir)).unwrap();

            let store = open_packing(&dir, 360);
            let case = format!("{cut} bytes, table: {has_table}");
            assert_eq!(read_all(&store, &query(0)).await, all, "{case}");
            assert_eq!(store.damaged(), 0, "{case}");
            assert!(!plain.exists(), "{case}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_gets_full_during_a_compression_leaves_the_plain_segment() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 360);
    append(&store, 1..=20).await;
    drop(store);

    stand_in::create_instead(Path::new("/dev/full"));
    let segments = pack_all(dir.path());
    // The next ones had room.
    assert_eq!(segments.compressed() + 2, segments.count());
    assert!(segment_path(&dir, 1).exists());
    assert!(ending_in(dir.path(), ".new").is_empty());
    drop(segments);

    let store = open_packing(&dir, 360);
    all_are_compressed(&dir, &store).await;
    assert!(!segment_path(&dir, 1).exists());
    assert_eq!(read_all(&store, &query(0)).await.len(), 20);
}

#[tokio::test]
async fn a_segment_that_cannot_be_compressed_is_left_alone_and_the_others_are_not() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 360);
    append(&store, 1..=20).await;
    drop(store);

    // No file can have the name that the compressed one has at first.
    let packed = ending_in(dir.path(), ".ndjson")[1].with_extension("ndjson.zst");
    fs::create_dir_all(packed.join("taken")).unwrap();
    let segments = pack_all(dir.path());
    assert_eq!(segments.compressed() + 2, segments.count());
    assert_eq!(ending_in(dir.path(), ".ndjson").len(), 2);
    assert!(ending_in(dir.path(), ".new").is_empty());
}

#[tokio::test]
async fn retention_counts_the_bytes_that_compressed_segments_have_on_the_disk() {
    let dir = TempDir::new().unwrap();
    let message = "x".repeat(1000);
    let config = LogConfig {
        retention_bytes: 20_000,
        ..config(5000)
    };
    let store = open_with(dir.path(), config).unwrap();
    for _ in 0..100 {
        store.append(&entry(&message)).unwrap().await.unwrap();
        all_are_compressed(&dir, &store).await;
    }

    // Of plain ones, there would be 20 entries.
    let page = store.read(query(0)).await.unwrap();
    assert_eq!(page.entries.len(), 100);
    let (total, _) = store.stats_of_files();
    assert!(total <= 20_000, "{total}");

    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        let message: String = std::iter::repeat_with(|| random.alphanumeric())
            .take(1000)
            .collect();
        store.append(&entry(message)).unwrap().await.unwrap();
    }
    all_are_compressed(&dir, &store).await;
    append(&store, [1]).await;
    assert!(store.stats_of_files().0 <= 20_000);
    assert!(store.extent().oldest > 1);
    let first = ending_in(dir.path(), ".zst")[0].clone();
    let first = segment::parse(first.file_name().unwrap().to_str().unwrap())
        .unwrap()
        .0;
    assert_eq!(first, store.extent().oldest);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_miss_nothing_while_segments_are_compressed_under_them() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open_packing(&dir, 500));
    let is_done = Arc::<AtomicBool>::default();

    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, is_done) = (Arc::clone(&store), Arc::clone(&is_done));
            tokio::spawn(async move {
                let mut rounds = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let last = store.last();
                    let all = read_all(&store, &query(0)).await;
                    assert!(all.len() as u64 >= last, "{} of {last}", all.len());
                    assert!(
                        all.iter()
                            .enumerate()
                            .all(|(n, (seq, _))| n as u64 + 1 == *seq)
                    );
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();

    append(&store, 1..=200).await;
    all_are_compressed(&dir, &store).await;
    is_done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert_eq!(store.damaged(), 0);
}

#[tokio::test]
async fn stores_that_follow_on_one_another_while_one_compresses_lose_nothing() {
    let dir = TempDir::new().unwrap();
    for round in 0..15 {
        let store = open_packing(&dir, 360);
        append(&store, round * 20 + 1..=round * 20 + 20).await;
        if round % 2 == 0 {
            store.close().await;
            let next = open_packing(&dir, 360);
            assert_eq!(next.last(), round * 20 + 20);
        }
    }
    let store = open_packing(&dir, 360);
    assert_eq!(read_all(&store, &query(0)).await.len(), 300);
}

#[tokio::test]
async fn a_log_whose_newest_segment_was_taken_away_goes_on_behind_its_last_number() {
    let dir = TempDir::new().unwrap();
    compressed(&dir, 20).await;
    let newest = files(dir.path()).remove(0);
    fs::remove_file(newest).unwrap();

    for was_closed in [true, false] {
        let dir = copy(dir.path());
        if !was_closed {
            super::damage::forget_closing(&dir);
        }

        let store = open_packing(&dir, 360);
        let last = store.last();
        append(&store, [last + 1]).await;
        let all = seqs(&read_all(&store, &query(0)).await);
        let left: Vec<u64> = (1..=16).chain([last + 1]).collect();
        assert_eq!(all, left);
        // What the record of the end tells is not given out again.
        assert_eq!(last, if was_closed { 20 } else { 16 });
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

#[tokio::test]
async fn compressed_segments_that_are_old_are_deleted_by_the_time_of_their_last_entry() {
    let dir = TempDir::new().unwrap();
    compressed(&dir, 20).await;
    let all = ending_in(dir.path(), ".zst");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    for file in &all[..2] {
        let file = fs::File::options().append(true).open(file).unwrap();
        file.set_modified(long_ago).unwrap();
    }

    let config = LogConfig {
        retention_age: Duration::from_secs(3600),
        ..config(360)
    };
    let store = open_with(dir.path(), config).unwrap();
    super::rotation::oldest_becomes(&store, 9).await;
    let begun = std::time::Instant::now();
    while ending_in(dir.path(), ".zst") != all[2..] {
        assert!(begun.elapsed() < LONG);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn twenty_shapes_of_messages_take_a_quarter_of_their_plain_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open_packing(&dir, 4 << 20);
    let mut random = fastrand::Rng::with_seed(7);
    for batch in 0..40_u64 {
        let entries: Vec<Append> = (0..1000)
            .map(|n| shaped(batch * 1000 + n, &mut random))
            .collect();
        let sent = store.append_batch("p", batch + 1, batch_of(&entries));
        sent.unwrap().outcome.await.unwrap();
    }
    all_are_compressed(&dir, &store).await;

    let packed = ending_in(dir.path(), ".zst");
    let on_disk: u64 = packed
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    let plain: usize = packed
        .iter()
        .map(|file| {
            zstd::stream::decode_all(fs::File::open(file).unwrap())
                .unwrap()
                .len()
        })
        .sum();
    assert!(plain > 3 << 20, "{plain}");
    let percent = on_disk * 100 / plain as u64;
    assert!(percent <= 25, "{on_disk} of {plain} bytes: {percent} %");
}

/// An entry as services write them: one of twenty messages, with ids, and mostly a trace.
fn shaped(n: u64, random: &mut fastrand::Rng) -> Append {
    let (id, user, ms) = (
        random.u32(..1_000_000),
        random.u32(..50_000),
        random.u32(1..2000),
    );
    let message = match random.u32(..20) {
        0 => format!("order {id} accepted"),
        1 => format!("order {id} rejected: card of user {user} was declined"),
        2 => format!("GET /v1/orders/{id} 200 in {ms} ms"),
        3 => format!("POST /v1/orders 201 in {ms} ms"),
        4 => format!("cache miss for user {user}"),
        5 => format!(
            "connected to database shop at 10.0.{}.{}:5432",
            ms % 8,
            user % 250
        ),
        6 => format!("slow query: select * from orders where user_id = {user} ({ms} ms)"),
        7 => format!("retry {} of payment {id} in {ms} ms", ms % 5),
        8 => format!("payment {id} settled"),
        9 => format!("user {user} logged in"),
        10 => format!("user {user} logged out after {ms} s"),
        11 => format!(
            "message {id} published to topic orders, partition {}",
            id % 12
        ),
        12 => format!("consumed 500 messages in {ms} ms, lag {id}"),
        13 => format!("health check of stock took {ms} ms"),
        14 => format!("token of user {user} refreshed"),
        15 => format!("stock of article {} is {}", user % 4000, ms % 100),
        16 => format!("mail to user {user} queued as {id}"),
        17 => format!("upstream stock timed out after {ms} ms; falling back to the cache"),
        18 => format!("garbage collection of sessions: {ms} of {id} removed"),
        _ => format!("worker {} idle for {ms} ms", user % 64),
    };

    Append {
        level: if random.u32(..20) == 0 {
            Level::Warn
        } else {
            Level::Info
        },
        service: ["order", "payment", "stock", "gateway"][random.usize(..4)].into(),
        message,
        ts: Some(1_735_689_600_000 + n * 3),
        trace: (random.u32(..10) < 3).then(|| format!("{:032x}", random.u128(..))),
        fields: None,
    }
}
