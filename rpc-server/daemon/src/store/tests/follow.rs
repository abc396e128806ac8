//! Reads that wait for the next entry.

use super::*;

#[tokio::test]
async fn a_waiting_read_wakes_for_the_entry_it_wants() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    append(&store, 1..=2).await;

    let reader = Arc::clone(&store);
    let wanted = Query {
        wait: LONG,
        filter: containing("wanted").into(),
        ..query(0)
    };
    let waiting = tokio::spawn(async move { reader.read(wanted).await.unwrap() });

    append(&store, 3..=20).await;
    assert!(!waiting.is_finished());

    let seq = store
        .append(&entry("the wanted one"))
        .unwrap()
        .await
        .unwrap();

    let page = waiting.await.unwrap();
    assert_eq!((page.entries.len(), page.next), (1, seq));
    assert_eq!(seq_of(&page.entries[0]), seq);
}

#[tokio::test(start_paused = true)]
async fn a_read_in_vain_returns_when_its_wait_is_over() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);

    for (after, wait) in [(0, Duration::from_secs(25)), (0, Duration::MAX)] {
        let start = tokio::time::Instant::now();
        let page = store
            .read(Query {
                wait,
                ..query(after)
            })
            .await
            .unwrap();
        assert_eq!((page.entries.len(), page.next), (0, after));

        let waited = start.elapsed();
        let expected = wait.min(Duration::from_secs(24 * 60 * 60));
        assert!(
            waited >= expected && waited < expected + Duration::from_secs(1),
            "{waited:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_sees_each_entry_once_across_segments() {
    let dir = TempDir::new().unwrap();
    let config = LogConfig {
        segment_bytes: 4000,
        fsync: false,
        ..LogConfig::default()
    };
    let store = Arc::new(open_with(dir.path(), config).unwrap());

    let followers: Vec<_> = (0..3)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut after = 0;
                while after < 5000 {
                    let page = store
                        .read(Query {
                            wait: LONG,
                            limit: 10 + n * 400,
                            ..query(after)
                        })
                        .await
                        .unwrap();

                    let read: Vec<u64> = page.entries.iter().map(|raw| seq_of(raw)).collect();
                    assert_eq!(read, (after + 1..=page.next).collect::<Vec<_>>());
                    after = page.next;
                }
            })
        })
        .collect();

    for _ in 0..500 {
        let appended: Vec<_> = (0..10)
            .map(|n| store.append(&entry(n.to_string())).unwrap())
            .collect();
        for appended in appended {
            appended.await.unwrap();
        }
    }

    for follower in followers {
        follower.await.unwrap();
    }
}

#[tokio::test]
async fn a_read_that_waits_returns_when_waiting_ends() {
    let dir = TempDir::new().unwrap();
    let store = open_with(dir.path(), LogConfig::default()).unwrap();
    let query = Query {
        limit: 10,
        wait: Duration::from_secs(3600),
        ..Query::default()
    };

    let read = store.read(query.clone());
    tokio::pin!(read);
    assert!(futures::poll!(&mut read).is_pending());

    store.end_waits();
    assert_eq!(read.await.unwrap().next, 0);

    assert_eq!(
        store.read(query).await.unwrap().next,
        0,
        "nor does a later one wait"
    );
}
