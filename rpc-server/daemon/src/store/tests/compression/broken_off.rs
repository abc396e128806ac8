//! Compressions that are broken off, fail, or go on under readers and other stores.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::super::packed::stand_in;
use super::*;

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
