//! The share of the calls that each server gets.

use std::time::Duration;

use rpc_client::{Balance, Client, Config};
use rpc_core::Status;
use rpc_server::{Router, ServerHandle};
use serde_json::json;

use crate::support::{Seen, connect_all, serving, tcp};

/// Three servers, and their addresses with commas between them.
async fn three() -> (Vec<String>, Vec<ServerHandle>) {
    let (mut addresses, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (address, server) = tcp(Seen::default()).await;
        addresses.push(address);
        servers.push(server);
    }
    (addresses, servers)
}

/// A server whose every call takes this long.
async fn slow(ms: u64) -> (String, ServerHandle) {
    let answer = move || async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<u64, Status>(1)
    };
    serving(Router::new().route(100, answer).unwrap()).await
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

#[tokio::test]
async fn every_server_gets_its_share_over_one_connection_each() {
    let (addresses, servers) = three().await;
    let client = Client::new(addresses.join(", "));
    connect_all(&client).await;
    let shares = shares(&client, &servers, 24, 2_400, 1).await;
    assert!(
        shares.iter().all(|share| (15..=55).contains(share)),
        "{shares:?}"
    );
    assert!(
        servers
            .iter()
            .all(|server| server.stats().connections_accepted == 1)
    );
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

#[tokio::test]
async fn round_robin_gives_each_the_same() {
    let (addresses, servers) = three().await;
    let config = Config::default().with(|config| config.balance.policy = Balance::RoundRobin);
    let client = Client::with_config(addresses.join(","), config);
    connect_all(&client).await;
    let shares = shares(&client, &servers, 3, 900, 0).await;
    assert_eq!(shares, [33, 33, 33]);
}

#[tokio::test]
async fn a_slow_server_gets_less() {
    let (first, first_server) = slow(2).await;
    let (second, second_server) = slow(2).await;
    let (third, third_server) = slow(60).await;
    let client = Client::new([first, second, third].join(","));
    connect_all(&client).await;
    let servers = [first_server, second_server, third_server];
    let shares = shares(&client, &servers, 16, 1_600, 0).await;
    assert!(
        shares[2] < 10 && shares[2] < shares[0].min(shares[1]),
        "{shares:?}"
    );
}

#[tokio::test]
async fn a_key_goes_to_its_server_from_every_client_and_moves_only_with_it() {
    let (addresses, servers) = three().await;
    let target = addresses.join(",");
    let (one, other) = (Client::new(&target), Client::new(addresses[..2].join(",")));
    connect_all(&one).await;
    connect_all(&other).await;
    let counts = || {
        servers
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
