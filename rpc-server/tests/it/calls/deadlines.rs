//! Deadlines: of the caller, of the server, before a call has begun.

use std::time::Duration;

use rpc_server::Config;
use tokio::time::Instant;

use crate::rig::{HOLD, HOLD_SPAWNED, Rig, SLEEP};
use crate::support::{TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_handler_past_the_servers_limit_is_dropped_and_its_code_is_4() {
    for cmdid in [HOLD, HOLD_SPAWNED] {
        let rig = Rig::new();
        let config = Config::default().with(|config| config.timeouts.handler_timeout_ms = 5_000);
        let server = TestServer::with(config, rig.router()).await;
        let mut client = server.connect();
        let start = Instant::now();
        client.send(call(1, cmdid, "")).await;
        client
            .expect_silence_for(Duration::from_millis(4_999))
            .await;
        assert_eq!(rig.probe.running(), 1);
        client.expect_code(1, 4).await;
        assert_eq!(start.elapsed().as_secs(), 5);
        settle().await;
        assert_eq!(
            (rig.probe.running(), rig.probe.finished()),
            (0, 0),
            "{cmdid}"
        );
        assert_eq!(server.stats().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_the_callers_and_the_servers_limit_counts() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.timeouts.handler_timeout_ms = 1_000);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    for (timeout_ms, ends_after) in [(300, 300), (5_000, 1_000), (u64::MAX, 1_000)] {
        let start = Instant::now();
        client
            .send(call(1, HOLD, &format!("\"timeout_ms\":{timeout_ms}")))
            .await;
        client.expect_code(1, 4).await;
        assert_eq!(start.elapsed().as_millis(), ends_after);
    }
    assert_eq!(rig.probe.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_turn_past_its_time_is_not_executed() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();
    client
        .send(format!(
            "{{\"cmdid\":{SLEEP},\"params\":{{\"ms\":500}}}}\n{{\"cmdid\":{HOLD},\"timeout_ms\":499}}\n"
        ))
        .await;
    client.expect_code(None, 0).await;
    let late = client.expect_code(None, 4).await;
    assert!(
        late["message"].as_str().unwrap().contains("did not run"),
        "{late}"
    );
    assert_eq!(rig.probe.started(), 1);
}
