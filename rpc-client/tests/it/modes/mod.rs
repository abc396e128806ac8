//! Number and life of the connections that each mode opens.

mod kept;
mod short;

use std::sync::Arc;

use rpc_client::{Client, Config, Mode};
use serde_json::json;
use tokio::sync::Barrier;

/// Starts this many tasks at once, each with one call; all must succeed.
async fn call_at_once(client: &Client, tasks: u64, ms: u64) {
    let barrier = Arc::new(Barrier::new(usize::try_from(tasks).unwrap()));
    let mut calls = tokio::task::JoinSet::new();
    for value in 0..tasks {
        let (client, barrier) = (client.clone(), Arc::clone(&barrier));
        calls.spawn(async move {
            barrier.wait().await;
            let params = json!({"value": value, "ms": ms});
            assert_eq!(client.call::<_, u64>(100, &params).await.unwrap(), value);
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

fn with_mode(address: &str, mode: Mode) -> Client {
    let config = Config::default().with(|config| {
        config.pool.mode = mode;
        config.timeouts.call_timeout_ms = 60_000;
        config.timeouts.connect_timeout_ms = 30_000;
    });
    Client::with_config(address, config)
}
