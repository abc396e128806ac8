//! Batches: together or not at all, once.

use super::damage::WAYS_TO_LOSE_THE_RECORD;
use super::*;

/// The entries of a batch, which say whose they are.
pub(super) fn entries(number: u64, count: u64) -> Vec<Append> {
    (1..=count)
        .map(|n| entry(format!("{number}.{n}")))
        .collect()
}

pub(super) fn batch_of(entries: &[Append]) -> NewBatch {
    NewBatch::from(entries)
}

/// Appends a batch of three; returns the number of its first entry, and whether it was there before.
async fn append_batch(store: &LogStore, number: u64) -> Result<(u64, bool), StoreError> {
    let once = store.append_batch("p", number, batch_of(&entries(number, 3)))?;
    Ok((once.outcome.await?, once.is_repetition))
}

async fn messages(store: &LogStore) -> Vec<String> {
    let all = read_all(store, &query(0)).await;
    all.into_iter().map(|(_, message)| message).collect()
}

#[tokio::test]
async fn a_batch_has_consecutive_numbers_and_is_answered_again_but_not_written() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);

    let before = store.append(&entry("before")).unwrap();
    let once = |of| store.append_batch("p", 7, batch_of(&entries(of, 3)));
    let (first, again) = (once(7).unwrap(), once(7).unwrap());
    assert!(matches!(once(8), Err(StoreError::BatchConflict)));
    let behind = store.append(&entry("behind")).unwrap();

    assert_eq!((before.await.unwrap(), behind.await.unwrap()), (1, 5));
    assert_eq!(
        (first.outcome.await.unwrap(), first.is_repetition),
        (2, false)
    );
    assert_eq!(
        (again.outcome.await.unwrap(), again.is_repetition),
        (2, true)
    );
    assert_eq!(
        messages(&store).await,
        ["before", "7.1", "7.2", "7.3", "behind"]
    );
}

#[tokio::test]
async fn a_batch_is_known_after_a_restart_whatever_has_become_of_the_record_of_it() {
    for damage in WAYS_TO_LOSE_THE_RECORD {
        // All in the newest segment, and one batch a segment.
        for segment_bytes in [1 << 20, 100] {
            let dir = TempDir::new().unwrap();
            let store = open_small(&dir, segment_bytes);
            for number in 1..=5 {
                append_batch(&store, number).await.unwrap();
            }
            drop(store);
            damage(&dir);

            let store = open_small(&dir, segment_bytes);
            for number in 1..=5 {
                let again = append_batch(&store, number).await.unwrap();
                assert_eq!(again, (number * 3 - 2, true));
                let conflict = store.append_batch("p", number, batch_of(&entries(9, 1)));
                assert!(matches!(conflict, Err(StoreError::BatchConflict)));
            }
            assert_eq!(append_batch(&store, 6).await.unwrap(), (16, false));
        }
    }
}

#[tokio::test]
async fn a_tail_of_three_batches_cut_at_any_byte_has_no_batch_in_part_and_each_once_when_sent_again()
 {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 1 << 20);
    append(&store, [0]).await;
    let path = segment_path(&dir, 1);
    let mut ends = vec![fs::metadata(&path).unwrap().len()];
    for number in 1..=3 {
        append_batch(&store, number).await.unwrap();
        ends.push(fs::metadata(&path).unwrap().len());
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    let record = fs::read(known_file(&dir)).unwrap();
    let up_to = |batch: u64| {
        let batches = (1..=batch).flat_map(|number| (1..=3).map(move |n| format!("{number}.{n}")));
        ["0".to_owned()].into_iter().chain(batches).collect()
    };

    let mut kept_by_cuts = [0; 4];
    for cut in ends[0]..=ends[3] {
        let dir = TempDir::new().unwrap();
        let left = &whole[..usize::try_from(cut).unwrap()];
        fs::write(segment_path(&dir, 1), left).unwrap();
        if cut % 2 == 0 {
            // As after a kill; without it, the segments are read instead.
            fs::write(segment_path(&dir, 1).with_extension("known"), &record).unwrap();
        }

        let store = open_small(&dir, 1 << 20);
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
        kept_by_cuts[usize::try_from(kept).unwrap()] += 1;
        let expected: Vec<String> = up_to(kept);
        assert_eq!(messages(&store).await, expected, "cut at {cut}");
        assert_eq!(store.last(), kept * 3 + 1, "cut at {cut}");

        for number in 1..=3 {
            let (first, was_there) = append_batch(&store, number).await.unwrap();
            assert_eq!(
                (first, was_there),
                (number * 3 - 1, number <= kept),
                "cut at {cut}"
            );
        }

        // Each is there once, for this store and for the next one.
        let expected: Vec<String> = up_to(3);
        assert_eq!(messages(&store).await, expected, "cut at {cut}");
        assert_eq!((store.last(), store.damaged()), (10, 0));
        drop(store);
        let store = open_small(&dir, 1 << 20);
        assert_eq!(messages(&store).await, expected, "cut at {cut}");
        assert!(append_batch(&store, 3).await.unwrap().1, "cut at {cut}");
    }

    // Each of the first three batches was cut at every byte, and the end of the last is no cut.
    let bytes = ends.windows(2).map(|ends| ends[1] - ends[0]);
    assert!(kept_by_cuts.into_iter().eq(bytes.chain([1])));
}

#[tokio::test]
async fn a_flipped_byte_in_batches_costs_no_more_than_its_line_and_is_never_silent() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 1 << 20);
    for number in 1..=3 {
        append_batch(&store, number).await.unwrap();
    }
    drop(store);
    let whole = fs::read(segment_path(&dir, 1)).unwrap();
    let line_of = |at: usize| whole[..at].split(|byte| *byte == b'\n').count() as u64;

    for at in 0..whole.len() {
        let flip = [0x01, 0x04, 0x80][at % 3];
        let dir = TempDir::new().unwrap();
        let mut content = whole.clone();
        content[at] ^= flip;
        fs::write(segment_path(&dir, 1), &content).unwrap();

        let store = open_small(&dir, 1 << 20);
        let found = seqs(&read_all(&store, &query(0)).await);
        let touched = [line_of(at), line_of(at) + u64::from(whole[at] == b'\n')];
        let rest = (1..=9).filter(|seq| !touched.contains(seq));
        let missing: Vec<u64> = rest.filter(|seq| !found.contains(seq)).collect();
        assert!(missing.is_empty(), "byte {at} ^ {flip:#x}: {missing:?}");
        assert!(
            found.len() == 9 || store.damaged() > 0,
            "byte {at} ^ {flip:#x}"
        );

        let next = store.append(&entry("next")).unwrap().await.unwrap();
        assert!(next > 9, "{next}: its number was taken");
    }
}
