//! Entries are kept as they were appended, in their order.

use super::*;

#[tokio::test]
async fn the_order_of_the_calls_is_the_order_in_the_file() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    assert_eq!(store.last(), 0);

    let appended: Vec<Appended> = (1..=500)
        .map(|n| store.append(&entry(n.to_string())).unwrap())
        .collect();
    for (seq, appended) in (1..).zip(appended) {
        assert_eq!(appended.await.unwrap(), seq);
    }

    assert_eq!(store.last(), 500);
    let all = read_all(&store, &query(0)).await;
    assert_eq!(
        all,
        (1..=500).map(|n| (n, n.to_string())).collect::<Vec<_>>()
    );

    let file = fs::read_to_string(segment_path(&dir, 1)).unwrap();
    let line = file.lines().next().unwrap();
    let begin = r#"{"seq":1,"ts":1,"level":"info","service":"order","message":"1","rx":"#;
    assert!(line.starts_with(begin), "{line}");
    let line = line.strip_suffix(' ').expect("it begins a write");
    assert_eq!(store.read(query(0)).await.unwrap().entries[0].get(), line);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_at_once_are_all_told_and_see_what_they_wrote() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));

    let tasks = (0..64).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..10 {
                let message = format!("{task}-{n}");
                let seq = store.append(&entry(&message)).unwrap().await.unwrap();

                let page = store
                    .read(Query {
                        limit: 1,
                        ..query(seq - 1)
                    })
                    .await
                    .unwrap();
                assert_eq!(
                    (seq_of(&page.entries[0]), message_of(&page.entries[0])),
                    (seq, message)
                );
            }
        })
    });

    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }

    assert_eq!(
        seqs(&read_all(&store, &query(0)).await),
        (1..=640).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_restart_goes_on_with_the_next_number() {
    let dir = TempDir::new().unwrap();

    for round in 0..5 {
        let store = open(&dir);
        assert_eq!(store.last(), round * 3);
        append(&store, 1..=3).await;
    }

    assert_eq!(
        seqs(&read_all(&open(&dir), &query(0)).await),
        (1..=15).collect::<Vec<_>>()
    );
    assert_eq!(files(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_second_store_on_one_directory_is_refused_also_without_the_lock_file() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);

    let error = open_with(dir.path(), LogConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));

    fs::remove_file(dir.path().join("lock")).unwrap();
    let error = open_with(dir.path(), LogConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");

    store.close().await;
    let second = open(&dir);
    drop(second);
    drop(open(&dir));
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_ends_waiting_reads() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));

    let reader = Arc::clone(&store);
    let waiting = tokio::spawn(async move {
        reader
            .read(Query {
                wait: LONG,
                filter: of_service("none").into(),
                ..query(0)
            })
            .await
    });

    let appended: Vec<Appended> = (0..50)
        .map(|n| store.append(&entry(n.to_string())).unwrap())
        .collect();

    tokio::join!(store.close(), store.close());
    assert!(matches!(
        store.append(&entry("late")),
        Err(StoreError::Closed)
    ));

    for appended in appended {
        appended.await.unwrap();
    }

    let page = waiting.await.unwrap().unwrap();
    assert_eq!((page.entries.len(), page.log), (0, store.extent().log));
    assert_eq!(read_all(&store, &query(0)).await.len(), 50);
}

#[tokio::test]
async fn a_dropped_future_does_not_take_its_entry_back() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for n in 0..10 {
        drop(store.append(&entry(n.to_string())).unwrap());
    }

    drop(store);
    assert_eq!(read_all(&open(&dir), &query(0)).await.len(), 10);
}

#[tokio::test]
async fn other_files_in_the_directory_are_left_alone() {
    let dir = TempDir::new().unwrap();

    for name in [
        "1.ndjson",
        "notes.txt",
        "00000000000000000009.ndjson.bak",
        "99999999999999999999.ndjson",
    ] {
        fs::write(dir.path().join(name), "x").unwrap();
    }

    let store = open(&dir);
    append(&store, [1]).await;
    assert_eq!(seqs(&read_all(&store, &query(0)).await), [1]);
    assert_eq!(files(dir.path()).len(), 3);
}

#[tokio::test]
async fn raw_newlines_in_fields_do_not_break_a_line() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let params = "{\"level\":\"warn\",\"service\":\"s\",\"message\":\"a\\nb\",\"fields\":\n{\r\n\"k\":\n[1,\n2]\n}}";
    store
        .append(&serde_json::from_str::<Append>(params).unwrap())
        .unwrap()
        .await
        .unwrap();

    append(&store, [2]).await;
    assert_eq!(
        fs::read_to_string(segment_path(&dir, 1))
            .unwrap()
            .lines()
            .count(),
        2
    );

    let page = store.read(query(0)).await.unwrap();
    let read: Value = serde_json::from_str(page.entries[0].get()).unwrap();
    assert_eq!(read["fields"]["k"][1], 2);
    assert_eq!(read["message"], "a\nb");
}
