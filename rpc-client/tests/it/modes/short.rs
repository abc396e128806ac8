//! Connections of one call each.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rpc_client::{Client, Config, Error, Mode};
use serde_json::json;
use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::{call_at_once, with_mode};
use crate::support::{Seen, tcp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_short_calls_open_a_thousand_connections_and_leave_none() {
    let (address, server) = tcp(Seen::default()).await;
    let client = with_mode(&address, Mode::Short);
    call_at_once(&client, 1_000, 0).await;
    let stats = server.stats();
    assert_eq!((stats.connections_accepted, stats.requests), (1_000, 1_000));
    assert!(!client.is_connected());
    while server.stats().connections_open > 0 {
        tokio::task::yield_now().await;
    }
}

/// When a server refuses a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuses {
    AtOnce,
    Never,
}

/// The end of a call that no connection was opened for.
struct TurnedAway {
    error: Error,
    took_ms: u128,
    attempts: u32,
}

/// Makes a call in the mode `short` that no server lets in.
async fn turned_away(refuses: Refuses, call_timeout_ms: u64) -> TurnedAway {
    let attempts = Arc::new(AtomicU32::new(0));
    let connect = {
        let attempts = Arc::clone(&attempts);
        move |_| {
            attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                if refuses == Refuses::Never {
                    std::future::pending::<()>().await;
                }
                Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
            }
        }
    };
    let config = Config::default().with(|config| {
        config.pool.mode = Mode::Short;
        config.timeouts.connect_timeout_ms = 200;
        config.reconnect.fail_fast_after_ms = 1_000;
        config.retry.attempts_max = 1;
        config.timeouts.call_timeout_ms = call_timeout_ms;
    });
    let client = Client::builder("nowhere")
        .connector(connect)
        .config(config)
        .build();
    let begin = Instant::now();
    let error = client.call::<_, ()>(100, &()).await.unwrap_err();
    TurnedAway {
        error,
        took_ms: begin.elapsed().as_millis(),
        attempts: attempts.load(Ordering::Relaxed),
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_call_tries_to_connect_until_its_patience_or_its_time_ends() {
    for (refuses, call_timeout_ms, elapsed, is_deadline) in [
        // Refused at once, so its patience begins with the call.
        (Refuses::AtOnce, 60_000, 1_000..=1_010, false),
        (Refuses::AtOnce, 300, 300..=310, true),
        // The first attempt takes all of `timeouts.connect_timeout_ms`, and its patience begins behind it.
        (Refuses::Never, 60_000, 1_200..=1_210, false),
        (Refuses::Never, 100, 100..=110, true),
    ] {
        let TurnedAway {
            error,
            took_ms,
            attempts,
        } = turned_away(refuses, call_timeout_ms).await;
        assert!(elapsed.contains(&took_ms), "{took_ms} ms: {error}");
        assert_eq!(
            (error.is_deadline(), error.may_have_run()),
            (is_deadline, false),
            "{error}"
        );
        assert!(is_deadline || error.is_unreachable(), "{error}");
        assert!(
            (u32::from(call_timeout_ms > 100) * 2 + 1..100).contains(&attempts),
            "{attempts}: {error}"
        );
        if refuses == Refuses::Never && !is_deadline {
            assert!(
                error
                    .to_string()
                    .contains("`timeouts.connect_timeout_ms` of 200 ms"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_oneway_call_of_the_short_mode_has_left_before_its_connection_closes() {
    let (seen, count) = (Seen::default(), 20);
    let (address, server) = tcp(seen.clone()).await;
    let client = with_mode(&address, Mode::Short);
    for _ in 0..count {
        client.notify(102, &()).await.unwrap();
    }
    while seen.ran.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stats().connections_accepted, count);
}

#[tokio::test]
async fn a_stream_of_the_short_mode_has_its_connection_to_its_end() {
    use futures::StreamExt;

    let (address, server) = tcp(Seen::default()).await;
    let client = with_mode(&address, Mode::Short);
    let numbers = client
        .stream::<_, u64>(104, &json!({"value": 300}))
        .await
        .unwrap();
    let numbers: Vec<u64> = numbers.map(Result::unwrap).collect().await;
    assert_eq!(numbers, (0..300).collect::<Vec<u64>>());
    assert_eq!(server.stats().connections_accepted, 1);
}
