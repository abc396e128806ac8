//! Appends with a key: once, whatever happens in between.

use rpc_core::{Meta, RawJson, Request};
use rpc_server::layers::{IDEMPOTENCY_AGE_MS, IDEMPOTENCY_KEY, KeyedCall};

use super::damage::WAYS_TO_LOSE_THE_RECORD;
use super::*;

/// A call of `append` with a key, sent first so long ago.
pub(super) fn call(key: &str, message: &str, age_ms: Option<u64>) -> KeyedCall {
    let age = age_ms.map(|age| age.to_string());
    let age = age.as_deref().map(|age| (IDEMPOTENCY_AGE_MS, age));

    let mut request = Request::new(1001, RawJson::serialize(message).unwrap());
    request.meta = Meta::default().with([(IDEMPOTENCY_KEY, key)].into_iter().chain(age));
    KeyedCall::of(&request).unwrap().unwrap()
}

/// Appends once; returns the number, and whether it was there before.
pub(super) async fn append_once(
    store: &LogStore,
    key: &str,
    message: &str,
    age_ms: Option<u64>,
) -> Result<(u64, bool), StoreError> {
    let once = store.append_once(&entry(message), &call(key, message, age_ms))?;
    Ok((once.outcome.await?, once.is_repetition))
}

#[tokio::test]
async fn what_has_one_key_is_one_entry_for_all_that_send_it_at_once() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);

    let once = || {
        store
            .append_once(&entry("m"), &call("k", "m", None))
            .unwrap()
    };
    let all = [once(), once(), once()];
    let other = store.append(&entry("other")).unwrap();
    for (n, once) in all.into_iter().enumerate() {
        assert_eq!(once.is_repetition, n > 0);
        assert_eq!(once.outcome.await.unwrap(), 1);
    }
    assert_eq!(other.await.unwrap(), 2);

    let conflict = append_once(&store, "k", "n", None).await;
    assert!(matches!(conflict, Err(StoreError::KeyConflict { key }) if key == "k"));
    assert_eq!(seqs(&read_all(&store, &query(0)).await), [1, 2]);
}

#[tokio::test]
async fn a_key_is_known_after_a_restart_whatever_has_become_of_the_record_of_it() {
    for damage in WAYS_TO_LOSE_THE_RECORD {
        // All in the newest segment, and one entry a segment.
        for segment_bytes in [1 << 20, 100] {
            let dir = TempDir::new().unwrap();
            let store = open_small(&dir, segment_bytes);
            for key in 1..=5 {
                let key = key.to_string();
                append_once(&store, &key, "m", None).await.unwrap();
            }
            drop(store);
            damage(&dir);

            let store = open_small(&dir, segment_bytes);
            for seq in 1..=5 {
                let key = seq.to_string();
                let again = append_once(&store, &key, "m", Some(60_000)).await;
                assert_eq!(again.unwrap(), (seq, true));
                let conflict = append_once(&store, &key, "n", Some(60_000)).await;
                assert!(matches!(conflict, Err(StoreError::KeyConflict { .. })));
            }
            assert_eq!(
                append_once(&store, "6", "m", Some(1)).await.unwrap(),
                (6, false)
            );
        }
    }
}

#[tokio::test]
async fn a_repetition_whose_entry_may_be_among_damaged_lines_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append_once(&store, "a", "m", None).await.unwrap();
    append_once(&store, "b", "m", None).await.unwrap();
    drop(store);

    let path = segment_path(&dir, 1);
    let mut content = fs::read(&path).unwrap();
    content[3] ^= 0xff;
    fs::write(&path, content).unwrap();

    let store = open(&dir);
    let lost = append_once(&store, "a", "m", Some(0)).await;
    assert!(matches!(lost, Err(StoreError::KeyForgotten)));
    assert_eq!(
        append_once(&store, "b", "m", Some(0)).await.unwrap(),
        (2, true)
    );
    assert!(append_once(&store, "new", "m", None).await.is_ok());
}

#[tokio::test]
async fn a_repetition_whose_entry_may_be_among_damaged_lines_of_an_older_segment_is_refused() {
    let dir = TempDir::new().unwrap();
    // One entry a segment.
    let store = open_small(&dir, 100);
    for key in ["a", "b", "c"] {
        append_once(&store, key, "m", None).await.unwrap();
    }
    drop(store);

    // Without the record, all segments are read.
    fs::remove_file(known_file(&dir)).unwrap();
    let whole = fs::read(segment_path(&dir, 1)).unwrap();
    for at in [3, whole.len() / 2] {
        let mut content = whole.clone();
        content[at] ^= 0xff;
        fs::write(segment_path(&dir, 1), content).unwrap();

        let store = open_small(&dir, 100);
        let lost = append_once(&store, "a", "m", Some(0)).await;
        assert!(matches!(lost, Err(StoreError::KeyForgotten)), "byte {at}");
        for (seq, key) in [(2, "b"), (3, "c")] {
            let again = append_once(&store, key, "m", Some(0)).await;
            assert_eq!(again.unwrap(), (seq, true), "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_key_that_may_have_been_lost_is_refused_by_later_stores_too() {
    let dir = TempDir::new().unwrap();
    // One entry a segment.
    let store = open_small(&dir, 100);
    for key in ["a", "b"] {
        append_once(&store, key, "m", None).await.unwrap();
    }
    drop(store);
    let mut content = fs::read(segment_path(&dir, 2)).unwrap();
    content[3] ^= 0xff;
    fs::write(segment_path(&dir, 2), content).unwrap();

    // The second one has a snapshot that the first one has written, and no damage to see.
    for key in ["c", "d"] {
        let store = open_small(&dir, 100);
        let lost = append_once(&store, "b", "m", Some(0)).await;
        assert!(matches!(lost, Err(StoreError::KeyForgotten)), "{key}");
        let known = append_once(&store, "a", "m", Some(0)).await;
        assert_eq!(known.unwrap(), (1, true));
        append_once(&store, key, "m", None).await.unwrap();
    }
}
