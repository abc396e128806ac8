//! Reading: filters and pages.

use rpc_core::api::log::Fields;

use super::*;

#[tokio::test]
async fn a_read_that_matches_nothing_moves_on_over_what_it_has_seen() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    append(&store, 1..=30).await;

    let page = store
        .read(Query {
            filter: of_service("other").into(),
            ..query(3)
        })
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.next), (0, 30));
}

#[tokio::test]
async fn filters_and_pages_of_any_size_neither_miss_nor_repeat() {
    let levels = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Fatal,
    ];
    let services = ["order", "stock", "\u{fc}ber \"q\"\n"];

    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 2000);

    let mut written = Vec::new();
    for n in 0..300_usize {
        let new = Append {
            level: levels[n * 7 % 6],
            service: services[n * 5 % 3].into(),
            message: format!("n\u{00b0} {n}\t\"quoted\" {}", "x".repeat(n % 90)),
            ts: None,
            trace: (n % 4 == 0).then(|| format!("t{n}")),
            fields: None,
        };
        written.push((store.append(&new).unwrap().await.unwrap(), new));
    }
    assert!(files(dir.path()).len() > 10);

    for level in [
        None,
        Some(Level::Debug),
        Some(Level::Error),
        Some(Level::Fatal),
    ] {
        for service in [None, Some(services[0]), Some(services[2]), Some("ord")] {
            for contains in [None, Some("\u{00b0} 1"), Some("9\t\"q"), Some("")] {
                let expected: Vec<(u64, String)> = written
                    .iter()
                    .filter(|(_, new)| level.is_none_or(|level| new.level >= level))
                    .filter(|(_, new)| service.is_none_or(|service| new.service == service))
                    .filter(|(_, new)| contains.is_none_or(|text| new.message.contains(text)))
                    .map(|(seq, new)| (*seq, new.message.clone()))
                    .collect();

                for limit in [1, 7, 1000] {
                    let service = service.map(ToOwned::to_owned);
                    let contains = contains.map(ToOwned::to_owned);
                    let query = Query {
                        limit,
                        filter: Filter {
                            level,
                            service,
                            contains,
                            ..Filter::default()
                        }
                        .into(),
                        ..query(0)
                    };

                    assert_eq!(read_all(&store, &query).await, expected, "{query:?}");
                }
            }
        }
    }

    for after in 0..=300 {
        let page = store
            .read(Query {
                limit: 1,
                ..query(after)
            })
            .await
            .unwrap();

        let found: Vec<u64> = page.entries.iter().map(|raw| seq_of(raw)).collect();
        let expected: Vec<u64> = (after < 300).then_some(after + 1).into_iter().collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn entries_are_found_by_time_trace_and_any_text() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(open(&dir));
    let new = |params: &str| -> Append { serde_json::from_str(params).unwrap() };
    let entries = [
        r#"{"ts":10,"level":"info","service":"order","message":"one"}"#,
        r#"{"ts":20,"level":"info","service":"stock","message":"two","trace":"t1"}"#,
        r#"{"ts":15,"level":"warn","service":"order","message":"three","fields":{"user":"anna","n":[{"deep":"t1"}]}}"#,
        r#"{"ts":30,"level":"info","service":"order","message":"four","trace":"t12","fields":{"one":1,"t":"\u0061b"}}"#,
    ];

    let check = async |rest: Rest, expected: &[u64]| {
        let filter = Filter {
            rest,
            ..Filter::default()
        };
        let query = Query {
            filter: filter.clone().into(),
            ..query(0)
        };
        assert_eq!(
            seqs(&read_all(&store, &query).await),
            expected,
            "{filter:?}"
        );
    };
    let text = |text: &str| Rest {
        text: Some(text.into()),
        ..Rest::default()
    };
    let time = |from: Option<u64>, to: Option<u64>| Rest {
        from,
        to,
        ..Rest::default()
    };

    // Read while they wait, and after.
    let mut waits: Vec<_> = [text("anna"), time(Some(25), None), text("none of them")]
        .into_iter()
        .map(|rest| {
            let query = Query {
                filter: Filter {
                    rest,
                    ..Filter::default()
                }
                .into(),
                wait: LONG,
                ..query(0)
            };
            let store = Arc::clone(&store);
            Box::pin(async move { store.read(query).await.unwrap() })
        })
        .collect();
    for wait in &mut waits {
        assert!(futures::poll!(wait).is_pending());
    }
    for entry in entries {
        store.append(&new(entry)).unwrap().await.unwrap();
    }
    let mut last = waits.pop().unwrap();
    for (wait, expected) in waits.into_iter().zip([3, 4]) {
        assert_eq!(seq_of(&wait.await.entries[0]), expected);
    }
    assert!(futures::poll!(&mut last).is_pending());

    check(Rest::default(), &[1, 2, 3, 4]).await;
    check(text("t1"), &[2, 3, 4]).await;
    check(text("stock"), &[2]).await;
    check(text("one"), &[1]).await;
    check(text("ab"), &[4]).await;
    check(time(Some(15), None), &[2, 3, 4]).await;
    check(time(None, Some(20)), &[1, 3]).await;
    check(time(Some(15), Some(20)), &[3]).await;
    let trace = Rest {
        trace: Some("t1".into()),
        ..Rest::default()
    };
    check(trace, &[2]).await;
}

#[tokio::test]
async fn a_page_and_a_scan_have_their_limits_in_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 8 << 20);
    for n in 0..60 {
        let message = format!("{n} {}", "x".repeat(400 * 1024));
        store.append(&entry(message)).unwrap().await.unwrap();
    }

    let page = store.read(query(0)).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (2, 2));
    assert_eq!(read_all(&store, &query(0)).await.len(), 60);

    // 24 MiB without a match: the first call ends before the end, and long before its wait.
    let nothing = Query {
        filter: containing("y").into(),
        wait: LONG,
        ..query(0)
    };
    let page = store.read(nothing.clone()).await.unwrap();
    assert!(
        page.entries.is_empty() && page.next > 30 && page.next < 50,
        "{}",
        page.next
    );

    let page = store
        .read(Query {
            after: page.next,
            wait: Duration::ZERO,
            ..nothing
        })
        .await
        .unwrap();
    assert_eq!(page.next, 60);

    let longest = "x".repeat(lines::LINE_BYTES_MAX - 150);
    let seq = store.append(&entry(longest)).unwrap().await.unwrap();
    assert_eq!(store.read(query(60)).await.unwrap().next, seq);

    let too_long = "\n".repeat(lines::LINE_BYTES_MAX / 2);
    assert!(matches!(
        store.append(&entry(too_long)),
        Err(StoreError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn entries_are_found_by_the_values_of_their_fields() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    for fields in [
        r#"{"user":4211,"ok":true}"#,
        r#"{"user":"4211","ok":"true"}"#,
        r#"{"user":"42\u00311","price":1.50,"none":null}"#,
        r#"{"user":42110,"nested":{"user":4211},"price":1.5}"#,
    ] {
        let mut new = entry("m");
        new.fields = Some(fields.parse().unwrap());
        store.append(&new).unwrap().await.unwrap();
    }
    store
        .append(&entry("without fields"))
        .unwrap()
        .await
        .unwrap();

    let check = async |wanted: &str, expected: &[u64]| {
        let wanted: Fields = wanted.parse().unwrap();
        let fields = wanted
            .iter()
            .map(|(name, value)| WantedField::new(name, value).unwrap());
        let rest = Rest {
            fields: fields.collect(),
            ..Rest::default()
        };
        let filter = Filter {
            rest,
            ..Filter::default()
        };
        let query = Query {
            filter: filter.into(),
            ..query(0)
        };
        let found = read_all(&store, &query).await;
        assert_eq!(seqs(&found), expected, "{}", wanted.as_str());
    };

    check(r#"{"user":"4211"}"#, &[1, 2, 3]).await;
    check(r#"{"user":4211}"#, &[1]).await;
    check(r#"{"ok":true}"#, &[1]).await;
    check(r#"{"ok":"true"}"#, &[2]).await;
    check(r#"{"user":"4211","price":1.50}"#, &[3]).await;
    check(r#"{"price":1.5}"#, &[4]).await;
    check(r#"{"none":null}"#, &[3]).await;
    check(r#"{"nested":1}"#, &[]).await;
    check("{}", &[1, 2, 3, 4, 5]).await;
}
