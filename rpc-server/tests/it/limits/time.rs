//! Limits of time.

use std::time::Duration;

use rpc_server::{Config, Context, Router, State};
use tokio::time::Instant;

use crate::rig::{ECHO, HOLD, PANIC, Rig, SLEEP};
use crate::support::{TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_passed_while_its_line_waited_for_room_is_not_run() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    let late =
        call(2, ECHO, "\"timeout_ms\":499") + &call(3, ECHO, "\"timeout_ms\":2000,\"params\":[]");
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":500}") + &late)
        .await;
    client.expect_code(1, 0).await;
    let expired = client.expect_code(2, 4).await;
    assert!(
        expired["message"]
            .as_str()
            .unwrap()
            .ends_with("it did not run"),
        "{expired}"
    );
    client.expect("{\"id\":3,\"code\":0,\"data\":[]}").await;
    assert_eq!(server.stats().limits.calls_expired, 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_counts_from_when_its_bytes_were_read() {
    async fn remaining(context: Context) -> Result<u64, rpc_server::Status> {
        let left = context
            .deadline()
            .expect("it has one")
            .saturating_duration_since(Instant::now().into_std());
        Ok(u64::try_from(left.as_millis()).expect("it is short"))
    }
    let rig = Rig::new();
    let router = rig.router().route(200, remaining).unwrap();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let server = TestServer::with(config, router).await;
    let mut client = server.connect();
    let waits = call(2, 200, "\"timeout_ms\":2000,\"params\":{}");
    client
        .send(call(1, SLEEP, "\"params\":{\"ms\":500}") + &waits)
        .await;
    client.expect_code(1, 0).await;
    client.expect("{\"id\":2,\"code\":0,\"data\":1500}").await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_passed_while_others_of_its_batch_computed_is_not_run() {
    /// Computes, as far as the connection can tell: time passes and no other work of its thread goes on.
    async fn compute(State(rig): State<Rig>) {
        rig.probe.enter().finish();
        std::thread::sleep(Duration::from_millis(3));
    }
    let rig = Rig::new();
    let router = rig
        .router()
        .merge(Router::with_state(rig.clone()).route(200, compute).unwrap())
        .unwrap();
    let server = TestServer::with(Config::default(), router).await;
    tokio::time::resume();
    let mut client = server.connect();
    client
        .send(
            (0..64)
                .map(|id| call(id, 200, "\"timeout_ms\":10,\"params\":{}"))
                .collect::<String>(),
        )
        .await;
    let mut codes = Vec::new();
    for _ in 0..64 {
        codes.push(client.reply().await["code"].as_u64().unwrap());
    }
    // The clock is looked at once for 16 calls: the first chunk runs, however long it takes.
    assert_eq!((codes[0], codes[63]), (0, 4), "{codes:?}");
    assert!(rig.probe.finished() < 64);
    assert_eq!(
        server.stats().limits.calls_expired,
        codes.iter().filter(|code| **code == 4).count() as u64
    );
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_hours_apart_have_no_effect() {
    let server = TestServer::start(Rig::new().router()).await;
    let mut client = server.connect();
    for timestamp in [0_u64, 1, 4_102_444_800, (1 << 53) - 1] {
        client
            .send(call(
                1,
                SLEEP,
                &format!("\"timestamp\":{timestamp},\"timeout_ms\":100,\"params\":{{\"ms\":99}}"),
            ))
            .await;
        client.expect("{\"id\":1,\"code\":0,\"data\":99}").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_speaks_is_kept_unless_it_has_to_speak_by_a_time() {
    let rig = Rig::new();
    let patient = TestServer::start(rig.router()).await;
    let mut silent = patient.connect();
    silent.expect_silence_for(Duration::from_secs(86_400)).await;
    assert_eq!(silent.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);

    let config = Config::default().with(|config| config.accept.first_frame_timeout_ms = 3_000);
    let strict = TestServer::with(config, rig.router()).await;
    for begun in ["", "\n\n", "{\"id\":7,\"cmdid\":0"] {
        let mut client = strict.connect();
        client.send(begun).await;
        client
            .expect_silence_for(Duration::from_millis(2_998))
            .await;
        let told = client.expect_code((begun.len() > 2).then_some(7), 4).await;
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .contains("`accept.first_frame_timeout_ms` of 3000 ms"),
            "{told}"
        );
        client.expect_end().await;
    }
    let mut speaks = strict.connect();
    assert_eq!(speaks.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
    speaks.expect_silence_for(Duration::from_secs(86_400)).await;
    assert_eq!(strict.stats().limits.first_frame_timeouts, 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_asked_to_go_and_one_with_a_call_in_flight_is_not() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.timeouts.idle_timeout_ms = 5_000;
        config.timeouts.handler_timeout_ms = 600_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let (mut multiplexed, mut plain, mut busy) =
        (server.connect(), server.connect(), server.connect());
    busy.send(call(1, HOLD, "")).await;
    for _ in 0..3 {
        multiplexed.send(call(1, ECHO, "")).await;
        multiplexed.expect_code(1, 0).await;
        assert_eq!(plain.ask("{\"cmdid\":0,\"params\":1}").await["data"], 1);
        // Empty lines are no requests.
        tokio::time::sleep(Duration::from_millis(4_900)).await;
        multiplexed.send("\n").await;
    }
    multiplexed.send(call(1, ECHO, "")).await;
    multiplexed.expect_code(1, 0).await;
    let last = Instant::now();
    let goaway = multiplexed.line().await;
    assert!(
        goaway.starts_with(
            "{\"event\":\"goaway\",\"message\":\"the connection was idle for `timeouts.idle_timeout_ms`"
        ),
        "{goaway}"
    );
    assert_eq!(last.elapsed().as_millis(), 5_000);
    // What was on its way then is answered.
    multiplexed.send(call(2, ECHO, "")).await;
    multiplexed.expect_code(2, 0).await;
    multiplexed.expect_end().await;
    plain.expect_end().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        (
            server.stats().connections_open,
            server.stats().limits.idle_timeouts
        ),
        (1, 2)
    );
    rig.gate.let_pass(1);
    busy.expect("{\"id\":1,\"code\":0}").await;
    let last = Instant::now();
    busy.line().await;
    assert_eq!(
        last.elapsed().as_millis(),
        5_000,
        "counted from the end of its call"
    );
}

#[tokio::test(start_paused = true)]
async fn panics_and_handlers_that_never_return_are_counted_and_the_callers_own_time_is_not() {
    let rig = Rig::new();
    let server = TestServer::with(
        Config::default().with(|config| config.timeouts.handler_timeout_ms = 1_000),
        rig.router(),
    )
    .await;
    let mut client = server.connect();
    client
        .send(
            call(1, PANIC, "\"params\":{\"at\":\"start\"}")
                + &call(2, HOLD, "")
                + &call(3, HOLD, "\"timeout_ms\":10"),
        )
        .await;
    client.expect_code(1, 13).await;
    client.expect_code(3, 4).await;
    client.expect_code(2, 4).await;
    client
        .send(call(
            4,
            PANIC,
            "\"oneway\":true,\"params\":{\"at\":\"start\"}",
        ))
        .await;
    settle().await;
    let limits = server.stats().limits;
    assert_eq!((limits.handler_panics, limits.handler_timeouts), (2, 1));
}
