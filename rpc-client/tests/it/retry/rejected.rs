//! Calls that did not run, and servers that turn connections away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::{Client, Config};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::rejecting;
use crate::support::{Seen, connect_all, in_memory, serving, tcp};

#[tokio::test(start_paused = true)]
async fn what_was_rejected_is_tried_again_after_the_time_that_the_server_asks_for() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, 3, 300)).await;
    let client = Client::builder("memory").connector(connect).build();
    let begin = Instant::now();
    assert_eq!(client.call::<_, u64>(100, &()).await.unwrap(), 3);
    let elapsed = begin.elapsed().as_millis();
    assert!(
        (600..=650).contains(&elapsed),
        "twice the time, and less than 10 ms of jitter: {elapsed}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stays_the_same_over_all_tries() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, u64::MAX, 300)).await;
    let config = Config::default().with(|config| config.retry.attempts_max = 100);
    let client = Client::builder("memory")
        .connector(connect)
        .config(config)
        .build();
    let begin = Instant::now();
    let command = client.command(100).timeout(Duration::from_secs(1));
    let error = command.call::<_, u64>(&()).await.unwrap_err();
    assert!(begin.elapsed() <= Duration::from_secs(1));
    // A fourth pause would have ended after the deadline, so the last rejection is told, not a timeout.
    assert!(
        error.is_rejected() && (2..=4).contains(&error.attempts()),
        "{error}"
    );
    assert_eq!(u64::from(error.attempts()), tries.load(Ordering::SeqCst));
    assert!(
        error
            .to_string()
            .ends_with(&format!("({} attempts)", error.attempts())),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_all_calls_fail_a_fifth_of_them_is_tried_again() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, u64::MAX, 0)).await;
    let client = Client::builder("memory").connector(connect).build();
    let (calls, begin) = (5_000, Instant::now());
    for _ in 0..calls {
        let error = client.call::<_, u64>(100, &()).await.unwrap_err();
        assert!(error.is_rejected() && error.attempts() <= 3);
    }
    let extra = tries.load(Ordering::SeqCst) - calls;
    let besides = 10 * (begin.elapsed().as_secs() + 2);
    println!("{extra} retries of {calls} calls in {:?}", begin.elapsed());
    assert!(
        extra <= calls / 5 + besides && extra >= calls / 6,
        "{extra}, {besides}"
    );
}

#[tokio::test]
async fn a_rejection_here_is_tried_elsewhere_at_once() {
    let tries = Arc::new(AtomicU64::new(0));
    let router = rejecting(&tries, u64::MAX, 60_000);
    let (full, _) = serving(router).await;
    let (free, _server) = tcp(Seen::default()).await;
    // Enough for every call to be tried twice.
    let config = Config::default().with(|config| {
        config.retry.budget_percent = 100;
        config.ejection.after_failures = 0;
    });
    let client = Client::with_config(format!("{full},{free}"), config);
    connect_all(&client).await;
    for value in 0..100 {
        assert_eq!(
            client
                .call::<_, u64>(100, &json!({"value": value}))
                .await
                .unwrap(),
            value
        );
    }
    assert!(tries.load(Ordering::SeqCst) > 0);
}

#[tokio::test(start_paused = true)]
async fn one_try_is_all_where_that_is_set() {
    let tries = Arc::default();
    let (connect, _server) = in_memory(rejecting(&tries, 2, 0)).await;
    let config = Config::default().with(|config| config.retry.attempts_max = 1);
    let client = Client::builder("memory")
        .connector(connect)
        .config(config)
        .build();
    let error = client.call::<_, u64>(100, &()).await.unwrap_err();
    assert!(error.is_rejected() && error.attempts() == 1, "{error}");
    assert!(!error.to_string().contains("attempts"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_closes_at_once_is_not_stormed() {
    let opened: Arc<AtomicU64> = Arc::default();
    let count = Arc::clone(&opened);
    let connect = move |_address: String| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(tokio::io::duplex(64).0))
    };
    let client = Client::builder("memory").connector(connect).build();
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        assert!(client.call::<_, ()>(100, &()).await.is_err());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // With a caller that calls all the time: within `reconnect.wanted_ms` of 1 s, half of it at least.
    let opened = opened.load(Ordering::SeqCst);
    assert!(
        (10..=140).contains(&opened),
        "{opened} connections in a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_comes_back_when_the_server_said_and_calls_fail_fast_meanwhile() {
    let opened: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&opened);
    let connect = move |_address: String| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        if times.len() > 1_000 {
            return std::future::ready(Err(std::io::Error::other("they come without end")));
        }
        let (ours, mut theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let full =
                "{\"code\":8,\"message\":\"full\",\"rejected\":true,\"retry_after_ms\":3000}\n";
            // A client that has gone need not be told.
            let _ = theirs.write_all(full.as_bytes()).await;
        });
        std::future::ready(Ok(ours))
    };
    let client = Client::builder("memory").connector(connect).build();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let error = client.call::<_, ()>(100, &()).await.unwrap_err();
        assert!(!error.may_have_run(), "{error}");
        let called = Instant::now();
        // Known to be full for longer than `reconnect.fail_fast_after_ms`: a call does not wait for its deadline.
        if begin.elapsed() > Duration::from_secs(10) {
            let error = client.call::<_, ()>(100, &()).await.unwrap_err();
            assert!(
                called.elapsed() < Duration::from_millis(10),
                "{error} after {:?}",
                called.elapsed()
            );
            assert!(error.to_string().contains("full"), "{error}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let opened = opened.lock().unwrap();
    assert!(opened.len() > 8, "{} connections in a minute", opened.len());
    assert!(
        opened
            .windows(2)
            .all(|two| two[1] - two[0] >= Duration::from_secs(3)),
        "{opened:?}"
    );
}
