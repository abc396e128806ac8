//! Damage in compressed segments: it is reported, and costs no more than it must.

#[cfg(feature = "program")]
use super::super::super::repeats::Repeats;
#[cfg(feature = "program")]
use super::super::super::segments;
use super::*;

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
    let firsts = segments::firsts(dir.path()).unwrap();
    let log = logged(|| drop(Repeats::before_newest(dir.path(), &firsts, &config(360)).unwrap()));
    assert!(log.contains("the log cannot be read"), "{log}");
    assert!(log.contains(&file), "{log}");
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
            super::super::damage::forget_closing(&dir);
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
