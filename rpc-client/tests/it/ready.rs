//! Waiting for a service at start.

use std::future::ready;
use std::time::Duration;

use rpc_client::{Client, Code, Config, Connect, Mode};
use rpc_server::ServiceHealth;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::{Peer, Seen, Servers, tcp};

/// Where nothing that is sent is ever answered.
fn silent() -> impl Connect {
    |_| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        // It stays open, and is not read.
        std::mem::forget(theirs);
        ready(Ok(ours))
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Waits until the client is ready, and returns how long that took.
async fn ready_after(client: &Client) -> Duration {
    let began = Instant::now();
    client.ready(MINUTE).await.unwrap();
    began.elapsed()
}

/// Waits for so long, in vain, and returns what the error says.
async fn never_ready(client: &Client, timeout: Duration) -> String {
    let began = Instant::now();
    let error = client.ready(timeout).await.unwrap_err();
    let took = began.elapsed();
    assert!(
        took >= timeout && took < timeout + Duration::from_millis(50),
        "{took:?}"
    );
    assert!(error.is_retryable() && !error.was_sent(), "{error}");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_service_that_starts_late_is_waited_for_and_found_soon() {
    let servers = Servers::default();
    let client = servers.client("late");

    let start = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        servers.start("late").await
    };
    let (took, _server) = tokio::join!(ready_after(&client), start);
    assert!((20_000..21_500).contains(&took.as_millis()), "{took:?}");
    assert!(client.is_connected());

    // Of a service that is there, it is known at once.
    assert_eq!(ready_after(&client).await, Duration::ZERO);
    let seen: u64 = client.call(100, &json!({"value": 7})).await.unwrap();
    assert_eq!(seen, 7);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_starts_is_given_up_with_what_happened_last() {
    let servers = Servers::default();

    let said = never_ready(&servers.client("gone"), Duration::from_secs(10)).await;
    assert!(said.contains("not ready within 10s"), "{said}");
    assert!(said.contains("no such server yet"), "{said}");

    // Also where it has no time to fail before.
    let said = never_ready(&servers.client("gone"), Duration::from_millis(1)).await;
    assert!(said.contains("not ready within 1ms"), "{said}");

    // One that accepts and does not answer is no more ready than one that is not there.
    servers.add("silent", silent());
    let said = never_ready(&servers.client("silent"), Duration::from_secs(10)).await;
    assert!(said.contains("no reply before the deadline"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_serving_yet_is_waited_for() {
    let servers = Servers::default();
    let server = servers.start("sick").await;
    let client = servers.client("sick");
    // The handlers of the router are functions of the module `support`.
    let set = |health| server.set_service_health("support", health).unwrap();

    set(ServiceHealth::NotServing);
    let said = never_ready(&client, Duration::from_secs(2)).await;
    assert!(said.contains("its `health` is `not_serving`"), "{said}");

    let recover = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        set(ServiceHealth::Serving);
    };
    let (took, ()) = tokio::join!(ready_after(&client), recover);
    assert!((5_000..5_600).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_ready_endpoint_of_several_is_enough() {
    let servers = Servers::default();
    let sick = servers.start("sick:1").await;
    sick.set_service_health("support", ServiceHealth::NotServing)
        .unwrap();
    servers.add("silent:1", silent());
    let client = servers.client("gone:1,sick:1,silent:1,late:1");

    let said = never_ready(&client, Duration::from_secs(3)).await;
    assert!(said.contains("the last failure"), "{said}");

    let start = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        servers.start("late:1").await
    };
    let (took, _late) = tokio::join!(ready_after(&client), start);
    // The silent one is given `timeouts.connect_timeout_ms` each time that it is asked.
    assert!((5_000..12_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_change_is_told_at_once() {
    let refused = |code: u32, message: &'static str| async move {
        let (client, mut peer) = Peer::new(Config::default());
        let ready = tokio::spawn(async move { client.ready(MINUTE).await });
        let request = peer.line().await;
        assert_eq!(request["cmdid"], 2);
        let reply = format!(
            "{{\"id\":{},\"code\":{code},\"message\":\"{message}\"}}\n",
            request["id"]
        );
        peer.output.write_all(reply.as_bytes()).await.unwrap();
        ready.await.unwrap()
    };

    let error = refused(16, "who are you").await.unwrap_err();
    assert_eq!(error.code(), Code::UNAUTHENTICATED, "{error}");
    // A server of the same protocol that knows no such command answers, and that is enough.
    refused(12, "no such command").await.unwrap();

    let began = Instant::now();
    let client = Client::with_config(
        "nowhere:1",
        Config::default().with(|config| config.limits.frame_bytes_max = 0),
    );
    let error = client.ready(MINUTE).await.unwrap_err();
    assert!(error.to_string().contains("frame_bytes_max"), "{error}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn every_mode_of_connections_can_be_waited_for() {
    for mode in [Mode::Pooled(2), Mode::Short] {
        let servers = Servers::default();
        let config = Config::default().with(|config| config.pool.mode = mode);
        let client = Client::builder("late")
            .connector(servers.clone())
            .config(config)
            .build();

        let said = never_ready(&client, Duration::from_secs(2)).await;
        assert!(said.contains("no such server yet"), "{said}");
        let _server = servers.start("late").await;
        let took = ready_after(&client).await;
        assert!(took < Duration::from_millis(1_500), "{took:?}");
    }

    // A server without ids is not asked what it may not know.
    let config = Config::default().with(|config| config.pool.ordered = true);
    let (client, _peer) = Peer::new(config);
    assert_eq!(ready_after(&client).await, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_client_waits_too() {
    let (address, _server) = tcp(Seen::default()).await;
    let client = rpc_client::blocking::Client::new(&address);

    let error = client.ready(MINUTE).unwrap_err();
    assert_eq!(error.code(), Code::FAILED_PRECONDITION, "{error}");

    let ready = move || client.ready(MINUTE).map(|()| client.is_connected());
    assert!(std::thread::spawn(ready).join().unwrap().unwrap());
}
