use std::sync::Arc;

use rpc_client::{Config, Registry, shared};
use serde_json::json;
use tokio::sync::Barrier;

use crate::support::{Seen, tcp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_that_ask_at_once_get_the_same_one_connection() {
    let (address, server) = tcp(Seen::default()).await;
    let barrier = Arc::new(Barrier::new(100));
    let mut tasks = tokio::task::JoinSet::new();
    for value in 0..100u64 {
        let (address, barrier) = (address.clone(), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            assert_eq!(
                shared(&address)
                    .call::<_, u64>(100, &json!({"value": value}))
                    .await
                    .unwrap(),
                value
            );
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let stats = server.stats();
    assert_eq!((stats.connections_accepted, stats.requests), (1, 100));
}

#[tokio::test]
async fn a_registry_gives_one_client_for_each_address() {
    let (first, first_server) = tcp(Seen::default()).await;
    let (second, second_server) = tcp(Seen::default()).await;
    let registry = Registry::new(Config::default());
    for _ in 0..3 {
        for address in [&first, &second] {
            registry
                .client(address)
                .call::<_, u64>(100, &json!({"value": 1}))
                .await
                .unwrap();
        }
    }
    assert_eq!(first_server.stats().connections_accepted, 1);
    assert_eq!(second_server.stats().connections_accepted, 1);
    registry.forget(&first);
    registry
        .client(&first)
        .call::<_, u64>(100, &json!({"value": 1}))
        .await
        .unwrap();
    assert_eq!(first_server.stats().connections_accepted, 2);
}
