//! The time of receipt, beside the time that a caller gives.

use super::super::clock::Clock;
use super::keys::append_once;
use super::*;

/// The message of an entry, its time, and that of its receipt.
fn times(raw: &serde_json::value::RawValue) -> (String, u64, Option<u64>) {
    let entry: Value = serde_json::from_str(raw.get()).unwrap();
    let rx = entry.get("rx").map(|rx| rx.as_u64().unwrap());
    (message_of(raw), entry["ts"].as_u64().unwrap(), rx)
}

#[tokio::test]
async fn an_entry_with_a_time_of_its_own_has_that_of_its_receipt_whichever_way_it_came() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    let timeless = || Append {
        ts: None,
        ..entry("timeless")
    };

    let begun = Clock::Machine.now_ms();
    store.append(&entry("append")).unwrap().await.unwrap();
    store.append(&timeless()).unwrap().await.unwrap();
    append_once(&store, "k", "key", None).await.unwrap();
    let batch = [entry("batch"), timeless(), entry("batch")];
    let batch = store
        .append_batch("p", 1, NewBatch::from(batch.as_slice()))
        .unwrap();
    batch.outcome.await.unwrap();
    let emitter = store.emitter(None);
    let unanswered = [entry("emit"), timeless()];
    store.emit(&emitter, &unanswered, Overflow::Drop).unwrap();
    store.flushed().unwrap().await.unwrap();
    let ended = Clock::Machine.now_ms();

    let page = store.read(query(0)).await.unwrap();
    let messages = [
        "append", "timeless", "key", "batch", "timeless", "batch", "emit", "timeless",
    ];
    assert_eq!(page.entries.len(), messages.len());
    for (raw, expected) in page.entries.iter().zip(messages) {
        let (message, ts, rx) = times(raw);
        assert_eq!(
            (&*message, rx.is_none()),
            (expected, expected == "timeless")
        );
        let received = rx.unwrap_or(ts);
        assert!((begun..=ended).contains(&received), "{}", raw.get());
        assert!(ts == 1 || rx.is_none(), "{}", raw.get());
    }

    // All readers see it, and it is in the file.
    let down = Query {
        direction: Direction::Down { before: u64::MAX },
        ..query(0)
    };
    let down = store.read(down).await.unwrap().entries;
    let text = |entries: &[Box<serde_json::value::RawValue>]| {
        let texts = entries.iter().map(|raw| format!("{}\n", raw.get()));
        texts.collect::<Vec<_>>()
    };
    let mut upwards = text(&down);
    upwards.reverse();
    assert_eq!(upwards, text(&page.entries));
    let file = fs::read_to_string(segment_path(&dir, 1)).unwrap();
    assert_eq!(text(&page.entries).concat(), file.replace("} \n", "}\n"));
}

#[tokio::test]
async fn a_log_without_times_of_receipt_as_older_versions_wrote_it_is_read_and_goes_on() {
    let line = |seq: u64, ts: u64| {
        format!(
            "{{\"seq\":{seq},\"ts\":{ts},\"level\":\"info\",\"service\":\"order\",\"message\":\"{seq}\"}}\n"
        )
    };
    let dir = TempDir::new().unwrap();
    let (closed, newest) = (line(1, 10) + &line(2, 20), line(3, 30));
    fs::write(segment_path(&dir, 1), &closed).unwrap();
    fs::write(segment_path(&dir, 3), &newest).unwrap();

    let store = open(&dir);
    append(&store, [4]).await;
    assert_eq!((store.last(), store.damaged()), (4, 0));
    let page = store.read(query(0)).await.unwrap();
    let lines = page.entries[..3]
        .iter()
        .map(|raw| format!("{}\n", raw.get()));
    assert_eq!(lines.collect::<String>(), closed + &newest);
    assert!(times(&page.entries[3]).2.is_some());

    let filter = Filter {
        rest: Rest {
            from: Some(15),
            ..Rest::default()
        },
        ..Filter::default()
    };
    let found = read_all(
        &store,
        &Query {
            filter: filter.into(),
            ..query(0)
        },
    )
    .await;
    assert_eq!(seqs(&found), [2, 3]);
}
