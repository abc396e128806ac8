//! The share of the calls that each server gets.

use std::time::Duration;

use rpc_client::{Balance, Client, Config};
use rpc_core::Status;
use rpc_server::{Router, ServerHandle};
use serde_json::json;

use crate::support::{Servers, connect_all};

/// Three addresses with commas between them.
const THREE: &str = "one:1,two:1,three:1";

/// Three servers at these addresses.
async fn three() -> (Servers, Vec<ServerHandle>) {
    let (servers, mut handles) = (Servers::default(), Vec::new());
    for address in THREE.split(',') {
        handles.push(servers.start(address).await);
    }
    (servers, handles)
}

/// The commands of a server whose every call takes this long.
fn slow(ms: u64) -> Router {
    let answer = move || async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<u64, Status>(1)
    };
    Router::new().route(100, answer).unwrap()
}

/// `calls` calls by `tasks` tasks; returns the share of each server in percent.
async fn shares(
    client: &Client,
    servers: &[ServerHandle],
    tasks: u64,
    calls: u64,
    ms: u64,
) -> Vec<u64> {
    let before: Vec<u64> = servers
        .iter()
        .map(|server| server.stats().requests)
        .collect();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let client = client.clone();
        running.spawn(async move {
            for _ in 0..calls / tasks {
                client
                    .call::<_, u64>(100, &json!({"value": 1, "ms": ms}))
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(task) = running.join_next().await {
        task.unwrap();
    }
    let counts = servers
        .iter()
        .zip(before)
        .map(|(server, before)| server.stats().requests - before);
    let counts: Vec<u64> = counts.collect();
    println!("requests of each server: {counts:?}");
    let total: u64 = counts.iter().sum();
    assert_eq!(total, calls);
    counts.iter().map(|count| count * 100 / total).collect()
}

#[tokio::test(start_paused = true)]
async fn every_server_gets_its_share_over_one_connection_each() {
    let (servers, handles) = three().await;
    let client = servers.client(&THREE.replace(',', ", "));
    connect_all(&client).await;
    let shares = shares(&client, &handles, 24, 2_400, 1).await;
    assert!(
        shares.iter().all(|share| (15..=55).contains(share)),
        "{shares:?}"
    );
    assert!(
        handles
            .iter()
            .all(|server| server.stats().connections_open == 1)
    );
    // None was closed and opened again.
    assert_eq!(client.report().connections_opened, 3);
    let endpoints = client.endpoints();
    assert!(
        endpoints
            .iter()
            .all(|endpoint| endpoint.in_flight == 0 && endpoint.failures == 0)
    );
    assert!(
        endpoints
            .iter()
            .all(|endpoint| endpoint.latency.unwrap() >= Duration::from_millis(1))
    );
}

#[tokio::test(start_paused = true)]
async fn round_robin_gives_each_the_same() {
    let (servers, handles) = three().await;
    let config = Config::default().with(|config| config.balance.policy = Balance::RoundRobin);
    let client = servers.client_with(THREE, config);
    connect_all(&client).await;
    let shares = shares(&client, &handles, 3, 900, 0).await;
    assert_eq!(shares, [33, 33, 33]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_gets_less() {
    let (servers, mut handles) = (Servers::default(), Vec::new());
    for (address, ms) in THREE.split(',').zip([2, 2, 60]) {
        handles.push(servers.serve(address, slow(ms)).await);
    }
    let client = servers.client(THREE);
    connect_all(&client).await;
    let shares = shares(&client, &handles, 16, 1_600, 0).await;
    assert!(
        shares[2] < 10 && shares[2] < shares[0].min(shares[1]),
        "{shares:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_goes_to_its_server_from_every_client_and_moves_only_with_it() {
    let (servers, handles) = three().await;
    let (one, other) = (servers.client(THREE), servers.client("one:1,two:1"));
    connect_all(&one).await;
    connect_all(&other).await;
    let counts = || {
        handles
            .iter()
            .map(|server| server.stats().requests)
            .collect::<Vec<u64>>()
    };
    let home = async |client: &Client, key: &str| {
        let before = counts();
        for _ in 0..4 {
            let params = json!({"value": 1});
            client
                .command(100)
                .hash_key(key)
                .call::<_, u64>(&params)
                .await
                .unwrap();
        }
        let after = counts();
        let homes: Vec<usize> = (0..3).filter(|&at| after[at] - before[at] == 4).collect();
        assert_eq!(homes.len(), 1, "all four went to one server");
        homes[0]
    };
    let mut of_each = [0; 3];
    for key in 0..60 {
        let key = format!("user-{key}");
        let at = home(&one, &key).await;
        of_each[at] += 1;
        let without_third = home(&other, &key).await;
        assert!(
            at == 2 || at == without_third,
            "only the keys of the missing one move"
        );
    }
    println!("keys of each server: {of_each:?}");
    assert!(of_each.iter().all(|keys| *keys >= 8), "{of_each:?}");
}
