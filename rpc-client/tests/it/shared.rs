use std::sync::Arc;

use rpc_client::{Client, Config, Mode, Registry, ServiceConfig, shared};
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

/// How many connections the server has taken, after two calls of a client with options of its own and two of the shared
/// one.
async fn connections_with(own_options: &str) -> u64 {
    let (address, server) = tcp(Seen::default()).await;
    let file = format!("[log]\ntarget = \"{address}\"\n{own_options}");
    let registry = Registry::from_config(toml::from_str(&file).unwrap());

    let own = registry.client_with("log", |config| {
        config.pool.mode = Mode::Single;
        config.timeouts.call_timeout_ms = 60_000;
    });
    for client in [
        own.clone(),
        own,
        registry.client("log"),
        registry.client("log"),
    ] {
        let answer: u64 = client.call(100, &json!({"value": 1})).await.unwrap();
        assert_eq!(answer, 1);
    }

    server.stats().connections_accepted
}

#[tokio::test]
async fn a_caller_with_options_of_its_own_has_a_connection_of_its_own_or_one_for_each_call() {
    assert_eq!(connections_with("").await, 2);
    assert_eq!(connections_with("own_options = \"kept\"").await, 2);
    assert_eq!(connections_with("own_options = \"short\"").await, 3);
}

#[test]
fn what_own_options_may_be_is_said_where_it_is_something_else() {
    let file = json!({"target": "127.0.0.1:8889", "own_options": "pooled"});
    let error = serde_json::from_value::<ServiceConfig>(file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown variant `pooled`, expected `kept` or `short`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_with_settings_that_cannot_work_fails_each_call_with_what_is_wrong() {
    let file = json!({
        "target": "127.0.0.1:8889",
        "settings": {"limits": {"in_flight_per_connection": 0}, "timeouts": {"call_timeout_ms": 1}}
    });
    let service: ServiceConfig = serde_json::from_value(file).unwrap();
    let registry = Registry::default();
    registry.define("log", service.clone());

    let (ours, _theirs) = tokio::io::duplex(64);
    let over = Client::over(ours, "pipe", service.settings);
    for client in [registry.client("log"), over] {
        let error = client.call::<_, ()>(100, &()).await.unwrap_err();
        assert!(error.is_unreachable() && !error.may_have_run(), "{error}");
        assert!(
            error
                .to_string()
                .contains("`limits.in_flight_per_connection` is 0 and must be at least 1"),
            "{error}"
        );
    }
}

#[test]
fn a_setting_of_a_services_file_that_has_moved_is_refused_with_its_new_place() {
    let file = json!({"target": "127.0.0.1:8889", "settings": {"mode": "short"}});
    let error = serde_json::from_value::<ServiceConfig>(file).unwrap_err();
    assert_eq!(error.to_string(), "`mode` has moved: it is `pool.mode` now");

    let file = json!({"target": "127.0.0.1:8889", "settings": {"balance": "round_robin"}});
    let error = serde_json::from_value::<ServiceConfig>(file).unwrap_err();
    assert!(error.to_string().contains("`balance.policy`"), "{error}");
}
