//! Calls of typed clients, case by case.

use std::time::Duration;

use rpc_client::{CallOptions, Code, Config};
use rpc_server::Router;
use rpc_server::layers::{Deduplicate, DeduplicateConfig};
use tokio::time::sleep;

use super::{Gateway, Network, Sms, one, two};

#[tokio::test(start_paused = true)]
async fn a_call_that_was_cut_off_while_it_runs_is_repeated_and_attaches_to_itself() {
    let keys = Deduplicate::default();
    let (_network, gateway, client) = one(&keys).await;

    assert_eq!(client.send("cut, and slow".into()).await.unwrap(), 1);
    let stats = keys.stats();
    assert_eq!((gateway.count(), stats.ran, stats.attached), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_reply_was_lost_is_repeated_and_gets_it_replayed() {
    let keys = Deduplicate::default();
    let (_network, gateway, client) = one(&keys).await;

    assert_eq!(client.send("cut".into()).await.unwrap(), 1);
    let stats = keys.stats();
    assert_eq!((gateway.count(), stats.ran, stats.replayed), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_key_of_another_call_is_a_conflict_that_is_not_tried_again() {
    let keys = Deduplicate::default();
    let (_network, gateway, client) = one(&keys).await;

    let same_key = client.with(CallOptions::new().idempotency_key("mine"));
    assert_eq!(same_key.send("one".into()).await.unwrap(), 1);
    let error = same_key.send("other".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::ALREADY_EXISTS);
    assert_eq!((gateway.count(), keys.stats().conflicts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_says_its_age_and_is_refused_where_its_key_has_expired() {
    let keys = Deduplicate::new(DeduplicateConfig {
        age_max_ms: 100,
        ..DeduplicateConfig::default()
    });
    let (network, gateway, client) = one(&keys).await;
    client.sent().await.unwrap();
    network.0.lock().unwrap().dialing = Duration::from_millis(500);

    let error = client.send("cut".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::FAILED_PRECONDITION, "{error}");
    assert!(!error.is_rejected(), "it has run");
    assert_eq!((gateway.count(), keys.stats().refused), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_refused_where_its_key_was_evicted() {
    let keys = Deduplicate::new(DeduplicateConfig {
        keys_per_identity: 1,
        ..DeduplicateConfig::default()
    });
    let (network, gateway, client) = one(&keys).await;
    let other = network.client("a:1", Config::default());
    client.sent().await.unwrap();
    network.0.lock().unwrap().dialing = Duration::from_millis(200);

    let cut_off = tokio::spawn(async move { client.send("cut".into()).await });
    while gateway.count() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    network.0.lock().unwrap().dialing = Duration::ZERO;
    assert_eq!(other.send("another one".into()).await.unwrap(), 2);

    let error = cut_off.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::FAILED_PRECONDITION, "{error}");
    assert_eq!((gateway.count(), keys.stats().refused), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_repeated_at_a_server_that_was_restarted() {
    let (network, gateway, client) = one(&Deduplicate::default()).await;
    client.sent().await.unwrap();
    network.0.lock().unwrap().dialing = Duration::from_millis(100);

    let cut_off = tokio::spawn(async move { client.send("cut".into()).await });
    while gateway.count() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    let after = Deduplicate::default();
    network.start("a:1", &gateway, &after).await;

    let error = cut_off.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE, "{error}");
    assert!(!error.is_rejected(), "it has run");
    assert_eq!((gateway.count(), after.stats().ran), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_a_call_is_repeated_at_the_one_that_has_seen_it() {
    for _ in 0..10 {
        let keys = [Deduplicate::default(), Deduplicate::default()];
        let (_network, gateways, client) = two([&keys[0], &keys[1]]).await;

        assert_eq!(client.send("cut, and slow".into()).await.unwrap(), 1);
        let ran: u64 = gateways.iter().map(Gateway::count).sum();
        let attached: u64 = keys.iter().map(|keys| keys.stats().attached).sum();
        assert_eq!((ran, attached), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_the_other_one_is_not_asked_where_the_first_is_gone() {
    let keys = [Deduplicate::default(), Deduplicate::default()];
    let (_network, gateways, client) = two([&keys[0], &keys[1]]).await;

    let error = client.send("gone".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE, "{error}");
    assert!(!error.is_rejected(), "it has run");
    assert_eq!(gateways.iter().map(Gateway::count).sum::<u64>(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_servers_that_share_a_store_the_other_one_answers_the_repetition() {
    let shared = Deduplicate::default();
    let (_network, gateways, client) = two([&shared, &shared]).await;

    assert_eq!(client.send("gone".into()).await.unwrap(), 1);
    assert_eq!(gateways.iter().map(Gateway::count).sum::<u64>(), 1);
    assert_eq!(shared.stats().replayed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_repeated_where_the_server_names_no_store() {
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    let send = {
        let gateway = gateway.clone();
        move || {
            let gateway = gateway.clone();
            async move { gateway.send("cut".into()).await }
        }
    };
    network
        .host("a:1", Router::new().route(100, send).unwrap())
        .await;

    let client = network.client("a:1", Config::default());
    let error = client.send("cut".into()).await.unwrap_err();
    assert_eq!(error.code(), Code::UNAVAILABLE);
    assert!(!error.is_rejected(), "it has run");
    assert_eq!(gateway.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_call_has_no_backup_however_long_it_takes() {
    let keys = Deduplicate::default();
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    network.start("a:1", &gateway, &keys).await;
    let client = network.client(
        "a:1",
        Config::default().with(|config| {
            config.hedge.percentile = 95;
            config.hedge.after_min_ms = 1;
            config.hedge.percent_max = 100;
            // Also where the settings call it idempotent.
            config.retry.idempotent_cmdids = vec![100];
        }),
    );
    // Enough is known for backups from here on.
    for _ in 0..200 {
        client.sent().await.unwrap();
    }

    client.send("slow".into()).await.unwrap();
    let stats = keys.stats();
    assert_eq!((stats.ran, stats.attached), (1, 0));
}
