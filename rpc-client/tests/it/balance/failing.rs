//! Servers that fail, and that are gone.

use rpc_client::{Client, Config, Mode};
use rpc_core::Status;
use rpc_server::{Router, ServerHandle};
use serde_json::json;

use crate::support::{Nowhere, Seen, serving, tcp};

/// A server whose every call fails.
async fn broken() -> (String, ServerHandle) {
    let fail = || async { Err::<u64, _>(Status::internal("broken")) };
    serving(Router::new().route(100, fail).unwrap()).await
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_costs_the_others_calls_nothing() {
    let nowhere = Nowhere::new();
    for mode in [Mode::Single, Mode::Pooled(2), Mode::Short] {
        let (address, server) = tcp(Seen::default()).await;
        let config = Config::default().with(|config| config.pool.mode = mode);
        let client = Client::with_config(format!("{},{address}", nowhere.address), config);
        for value in 0..50u64 {
            assert_eq!(
                client
                    .call::<_, u64>(100, &json!({"value": value}))
                    .await
                    .unwrap(),
                value
            );
        }
        assert_eq!(server.stats().requests, 50);
    }
}

#[tokio::test]
async fn with_all_servers_gone_the_error_says_so_at_once() {
    let reserved = [Nowhere::new(), Nowhere::new()];
    let nowhere = reserved
        .each_ref()
        .map(|nowhere| nowhere.address.to_string());
    for mode in [Mode::Single, Mode::Short] {
        let config = Config::default().with(|config| {
            config.pool.mode = mode;
            config.reconnect.fail_fast_after_ms = 0;
        });
        let error = Client::with_config(nowhere.join(","), config)
            .call::<_, ()>(0, &())
            .await
            .unwrap_err();
        assert!(error.is_unreachable() && !error.was_sent(), "{error}");
        assert!(
            nowhere.iter().any(|address| error.address() == address),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_fails_is_ejected_and_the_others_take_its_share() {
    let (bad, _bad_server) = broken().await;
    let (good, _good_server) = tcp(Seen::default()).await;
    let (better, _better_server) = tcp(Seen::default()).await;
    // Ejected for longer than the test takes.
    let config = Config::default().with(|config| {
        config.ejection.base_ms = 600_000;
        config.ejection.cap_ms = 600_000;
    });
    let client = Client::with_config([bad.clone(), good, better].join(","), config);
    let mut failed = 0;
    let is_ejected = || {
        client
            .endpoints()
            .iter()
            .any(|endpoint| endpoint.is_ejected)
    };
    while !is_ejected() {
        failed += u32::from(
            client
                .call::<_, u64>(100, &json!({"value": 1}))
                .await
                .is_err(),
        );
    }
    assert_eq!(failed, 5, "`ejection.after_failures`");
    assert_eq!(client.report().ejections, 1);
    assert_eq!(
        client
            .endpoints()
            .iter()
            .find(|endpoint| endpoint.is_ejected)
            .unwrap()
            .address,
        bad
    );
    for _ in 0..200 {
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn where_most_would_be_ejected_all_are_used() {
    let mut bad = Vec::new();
    for _ in 0..2 {
        bad.push(broken().await);
    }
    let (good, good_server) = tcp(Seen::default()).await;
    let target = format!("{},{},{good}", bad[0].0, bad[1].0);
    let config = Config::default().with(|config| {
        config.ejection.base_ms = 600_000;
        config.ejection.cap_ms = 600_000;
    });
    let client = Client::with_config(target, config);
    while client
        .endpoints()
        .iter()
        .filter(|endpoint| endpoint.is_ejected)
        .count()
        < 2
    {
        let _ = client.call::<_, u64>(100, &json!({"value": 1})).await;
    }
    let before = good_server.stats().requests;
    let mut failed = 0;
    for _ in 0..300 {
        failed += u32::from(
            client
                .call::<_, u64>(100, &json!({"value": 1}))
                .await
                .is_err(),
        );
    }
    let share = good_server.stats().requests - before;
    println!("{share} of 300 calls to the good one, {failed} failed");
    assert!(failed > 0 && share > 0);
}
