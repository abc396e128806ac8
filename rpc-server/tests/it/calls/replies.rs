//! Replies: none of a oneway call, an error of a panic, at most a number of bytes.

use std::time::Duration;

use rpc_server::{Config, Params, Route, Router, Status};
use serde::Deserialize;

use crate::rig::{ECHO, FILL, HOLD, PANIC, Rig, SLEEP, filled};
use crate::support::{TestServer, call, settle};

#[tokio::test(start_paused = true)]
async fn a_oneway_call_never_answers_whatever_becomes_of_it() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.limits.reply_bytes_max = 100;
        config.timeouts.handler_timeout_ms = 1_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    for id in ["", "\"id\":1,"] {
        for rest in [
            format!("\"cmdid\":{ECHO}"),
            "\"cmdid\":0".into(),
            "\"cmdid\":99".into(),
            "\"cmdid\":4000000000".into(),
            format!("\"cmdid\":{SLEEP},\"params\":1"),
            format!("\"cmdid\":{PANIC},\"params\":{{\"at\":\"start\"}}"),
            format!("\"cmdid\":{ECHO},\"params\":{}", filled(101)),
            format!("\"cmdid\":{HOLD}"),
            format!("\"cmdid\":{HOLD},\"timeout_ms\":0"),
        ] {
            client
                .send(format!("{{{id}\"oneway\":true,{rest}}}\n"))
                .await;
        }
    }
    client.expect_silence_for(Duration::from_secs(60)).await;
    let replies = server.stats().replies;
    let counted = |name: &str| replies.get(name).copied().unwrap_or(0);
    assert_eq!(
        (counted("OK"), counted("UNIMPLEMENTED"), counted("INTERNAL")),
        (4, 4, 2),
        "{replies:?}"
    );
    assert_eq!(
        (counted("INVALID_ARGUMENT"), counted("RESOURCE_EXHAUSTED")),
        (2, 2),
        "{replies:?}"
    );
    assert_eq!(counted("DEADLINE_EXCEEDED"), 4, "{replies:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_code_13_without_its_text_and_frees_its_place() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 1);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    for (id, at) in (0..20).zip(["start", "later"].into_iter().cycle()) {
        let params = format!("\"params\":{{\"at\":\"{at}\"}}");
        let request = if id % 4 < 2 {
            call(id, PANIC, &params)
        } else {
            format!("{{\"cmdid\":{PANIC},{params}}}\n")
        };
        client.send(request).await;
        settle().await;
        rig.gate.let_pass(usize::from(at == "later"));
        let reply = client.expect_code((id % 4 < 2).then_some(id), 13).await;
        assert!(!reply.to_string().contains("secret"), "{reply}");
        // It names the command, for a reader of the log.
        assert!(
            reply["message"]
                .as_str()
                .unwrap()
                .contains(&PANIC.to_string()),
            "{reply}"
        );
    }
    client.send("{\"id\":1,\"cmdid\":0,\"params\":1}\n").await;
    client.expect("{\"id\":1,\"code\":0,\"data\":1}").await;
    assert_eq!((rig.probe.running(), server.stats().in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_task_of_its_own_or_in_decoding_is_code_13_as_well() {
    #[derive(Deserialize)]
    #[serde(try_from = "u64")]
    struct Hostile;
    impl TryFrom<u64> for Hostile {
        type Error = String;
        fn try_from(_: u64) -> Result<Self, String> {
            panic!("a secret of the decoder");
        }
    }
    async fn decode(Params(Hostile): Params<Hostile>) {}
    async fn panic() {
        panic!("a secret of the handler");
    }
    let router = Router::new()
        .route(100, decode)
        .and_then(|router| router.route(101, Route::new(panic).spawned()))
        .and_then(|router| router.route(102, Route::new(panic).detached()))
        .and_then(|router| router.route(103, Route::new(decode).detached()))
        .and_then(|router| {
            router.route(
                104,
                Route::blocking(|| -> Result<u64, Status> { panic!("a secret of the function") }),
            )
        })
        .unwrap();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    for (id, cmdid) in [(1, 100), (2, 101), (3, 102), (4, 103), (5, 104)] {
        client.send(call(id, cmdid, "\"params\":1")).await;
        let reply = client.expect_code(id, 13).await;
        assert!(!reply.to_string().contains("secret"), "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn data_of_exactly_the_limit_is_sent_and_one_byte_more_is_not() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.limits.reply_bytes_max = 1_000);
    let server = TestServer::with(config, rig.router()).await;
    let mut client = server.connect();
    rig.gate.let_pass(2);
    client
        .send(call(1, FILL, "\"params\":{\"bytes\":1000}"))
        .await;
    assert_eq!(
        client.expect_code(1, 0).await["data"]
            .as_str()
            .unwrap()
            .len(),
        998
    );
    client
        .send(call(1, FILL, "\"params\":{\"bytes\":1001}"))
        .await;
    let refused = client.expect_code(1, 8).await;
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.reply_bytes_max` is 1000"),
        "{refused}"
    );
}
