//! More calls than the server can do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rpc_server::layers::{ConcurrencyLimit, RateLimit};
use rpc_server::{Config, Reply, Route, Router, State, Status};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::rig::{HOLD, PANIC, Rig};
use crate::support::{TestServer, call, settle};

/// What the service can do at one time, and how long each call takes it: 1,000 calls a second.
const CAPACITY: usize = 10;
const SERVICE: Duration = Duration::from_millis(10);
const WORK: u32 = 200;

async fn work(State(capacity): State<Arc<Semaphore>>) {
    let _place = capacity.acquire().await.expect("it is never closed");
    tokio::time::sleep(SERVICE).await;
}

fn service() -> Router<Arc<Semaphore>> {
    Router::with_state(Arc::new(Semaphore::new(CAPACITY)))
        .route(WORK, work)
        .unwrap()
}

/// What became of calls.
#[derive(Default)]
struct Came {
    /// How many ended with each code.
    codes: HashMap<u64, usize>,
    /// The longest time of one that was done, and of one that was refused.
    done_within: Duration,
    refused_within: Duration,
}

/// Makes a number of calls a second for a time, whatever becomes of them, each with 200 ms to live.
async fn offer(server: &TestServer, per_second: u64, seconds: u64) -> Came {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    tokio::spawn(server.handle.serve_connection(far, "pipe"));
    let (read, mut write) = tokio::io::split(near);
    let begun = Instant::now();
    // Each call's id says when it was made.
    let writes = async move {
        for n in 0..per_second * seconds {
            let due = begun + Duration::from_micros(n * 1_000_000 / per_second);
            tokio::time::sleep_until(due).await;
            let line = call(n, WORK, "\"timeout_ms\":200,\"params\":{}");
            write.write_all(line.as_bytes()).await.unwrap();
        }
        write.shutdown().await.unwrap();
    };
    let reads = async {
        let (mut came, mut lines) = (Came::default(), BufReader::new(read).lines());
        while let Some(line) = lines.next_line().await.unwrap() {
            let reply: serde_json::Value = serde_json::from_str(&line).unwrap();
            let (Some(id), Some(code)) = (reply["id"].as_u64(), reply["code"].as_u64()) else {
                panic!("{line} is not a reply")
            };
            *came.codes.entry(code).or_default() += 1;
            let took = begun
                .elapsed()
                .saturating_sub(Duration::from_micros(id * 1_000_000 / per_second));
            match code {
                0 => came.done_within = came.done_within.max(took),
                8 => {
                    assert_eq!(
                        (&reply["rejected"], reply["retry_after_ms"].is_u64()),
                        (&true.into(), true)
                    );
                    came.refused_within = came.refused_within.max(took);
                }
                _ => panic!("{line}"),
            }
        }
        came
    };
    tokio::join!(writes, reads).1
}

#[tokio::test(start_paused = true)]
async fn at_three_times_the_capacity_the_server_does_what_it_can_and_refuses_the_rest_at_once() {
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 2 * CAPACITY),
        service(),
    )
    .await;
    let came = offer(&server, 3_000, 10).await;
    let (done, refused) = (came.codes[&0], came.codes[&8]);
    assert_eq!(done + refused, 30_000, "each has its answer");
    assert!(done >= 9_000, "{done} of the 10,000 that can be done");
    // A call takes its own time and once that of those before it; tokio's timer is precise to a millisecond.
    assert!(
        came.done_within <= Duration::from_millis(25),
        "{:?}",
        came.done_within
    );
    assert!(
        came.refused_within < Duration::from_millis(5),
        "{:?}",
        came.refused_within
    );
    // A second after, nothing is left of it.
    let came = offer(&server, 900, 1).await;
    assert_eq!(came.codes[&0], 900);
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_finds_what_the_service_can_do_and_sheds_the_surplus() {
    let config = Config::default().with(|config| {
        config.admission.adaptive = true;
        config.admission.adaptive_min = 4;
    });
    let server = TestServer::with(config, service()).await;
    assert_eq!(
        server.stats().limits.in_flight_limit,
        4,
        "it begins with few"
    );
    let came = offer(&server, 3_000, 20).await;
    let limit = server.stats().limits.in_flight_limit;
    assert!(
        (10..=20).contains(&limit),
        "{limit} for a service that does 10 at one time"
    );
    assert!(
        came.codes[&0] >= 18_000,
        "{:?} of the 20,000 that can be done",
        came.codes
    );
    assert_eq!(came.codes[&0] + came.codes[&8], 60_000);
    assert!(
        came.done_within <= Duration::from_millis(30),
        "{:?}",
        came.done_within
    );
    assert!(
        came.refused_within < Duration::from_millis(5),
        "{:?}",
        came.refused_within
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_that_fits_the_surplus_would_only_wait() {
    // What the two above are for: the same load, and nothing is done in time.
    let server = TestServer::with(
        Config::default().with(|config| config.admission.in_flight_max = 900),
        service(),
    )
    .await;
    let mut client = server.connect_through(1024 * 1024);
    for id in 0..900 {
        client
            .send(call(id, WORK, "\"timeout_ms\":200,\"params\":{}"))
            .await;
    }
    let mut done = 0;
    for _ in 0..900 {
        done += usize::from(client.reply().await["code"] == 0);
    }
    assert!(done < 250, "{done}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_one_command_sheds_its_calls_and_leaves_the_others_alone() {
    async fn hold(State(rig): State<Rig>) {
        rig.gate.pass().await;
    }
    let rig = Rig::new();
    let limit = ConcurrencyLimit::new(1);
    let router = Router::with_state(rig.clone())
        .route(WORK, Route::new(hold).layer(limit.clone()))
        .unwrap();
    let server = TestServer::start(rig.router().merge(router).unwrap()).await;
    let mut client = server.connect();
    client
        .send(call(1, WORK, "") + &call(2, WORK, "") + &call(3, HOLD, ""))
        .await;
    let shed = client.expect_code(2, 8).await;
    let message = shed["message"].as_str().unwrap();
    assert!(
        message.contains("`in_flight_max`") && message.contains("cmdid 200"),
        "{message}"
    );
    assert_eq!(
        (&shed["rejected"], shed["retry_after_ms"].is_u64()),
        (&true.into(), true)
    );
    assert_eq!(
        (limit.running(), limit.shed(), rig.probe.running()),
        (1, 1, 1)
    );
    assert_eq!(server.stats().limits.calls_rejected, 1);
    limit.set(2);
    client.send(call(4, WORK, "") + &call(5, WORK, "")).await;
    client.expect_code(5, 8).await;
    rig.gate.let_pass(3);
    for _ in 0..3 {
        assert_eq!(client.reply().await["code"], 0);
    }
    assert_eq!(limit.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_call_gives_its_place_within_a_limit_back() {
    async fn forever() -> Reply {
        Reply::stream(futures::stream::pending::<Result<u64, Status>>())
    }
    async fn two() -> Reply {
        Reply::stream(futures::stream::iter([Ok(1), Ok(2)]))
    }
    let rig = Rig::new();
    let limit = ConcurrencyLimit::new(1);
    let streams = Router::new()
        .route(300, forever)
        .unwrap()
        .route(301, two)
        .unwrap();
    let router = rig.router().merge(streams).unwrap().layer(limit.clone());
    let server = TestServer::start(router).await;
    let cancel = call(9, 4, "\"params\":{\"id\":1}");
    for (line, ending, code) in [
        (call(1, HOLD, ""), cancel.as_str(), 1),
        (call(1, 300, ""), &cancel, 1),
        (call(1, HOLD, "\"timeout_ms\":50"), "", 4),
        (call(1, PANIC, "\"params\":{\"at\":\"start\"}"), "", 13),
    ] {
        let mut client = server.connect();
        client.send(&line).await;
        settle().await;
        assert_eq!(limit.running(), usize::from(code != 13), "while {line}");
        client.send(ending).await;
        client.expect_code(1, code).await;
        settle().await;
        assert_eq!(limit.running(), 0, "after {line}");
    }
    let mut client = server.connect();
    client.send(call(1, 301, "")).await;
    client
        .expect("{\"id\":1,\"code\":0,\"more\":true,\"data\":1}")
        .await;
    client
        .expect("{\"id\":1,\"code\":0,\"more\":true,\"data\":2}")
        .await;
    client.expect("{\"id\":1,\"code\":0}").await;
    assert_eq!(limit.running(), 0);
    // A line that is prepared and turns out to be none takes no place.
    client
        .send(format!("{{\"id\":2,\"cmdid\":{HOLD},\"params\":[}}\n"))
        .await;
    client.expect_code(2, 3).await;
    assert_eq!((limit.running(), limit.shed()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_sheds_what_is_over_it_and_says_when_there_is_room() {
    async fn search() -> Result<u64, Status> {
        Ok(7)
    }
    let rate = RateLimit::per_second(10);
    let router = Router::new()
        .route(WORK, search)
        .unwrap()
        .layer(rate.clone());
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    for n in 0..10 {
        client.send(call(n, WORK, "\"params\":{}")).await;
        client.expect_code(n, 0).await;
    }
    client.send(call(10, WORK, "\"params\":{}")).await;
    let shed = client.expect_code(10, 8).await;
    assert!(
        shed["message"]
            .as_str()
            .unwrap()
            .contains("`requests_per_second`"),
        "{shed}"
    );
    assert_eq!(shed["rejected"], true);
    let after = shed["retry_after_ms"].as_u64().unwrap();
    assert!((100..=202).contains(&after), "{shed}");
    tokio::time::sleep(Duration::from_millis(after)).await;
    client.send(call(11, WORK, "\"params\":{}")).await;
    client.expect_code(11, 0).await;
    rate.set(0);
    for n in 12..100 {
        client.send(call(n, WORK, "\"params\":{}")).await;
        client.expect_code(n, 0).await;
    }
    assert_eq!(rate.shed(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_peer_has_its_share_of_the_calls_in_flight_and_others_have_theirs() {
    let rig = Rig::new();
    let config = Config::default().with(|config| config.admission.in_flight_per_peer = 3);
    let server = TestServer::with(config, rig.router()).await;
    let mut one = server.connect_from("192.0.2.1:1000");
    let mut same = server.connect_from("192.0.2.1:2000");
    let mut neighbour = server.connect_from("192.0.2.2:1000");
    let mut of_no_address = server.connect();
    let hold = |id: u64| call(id, HOLD, "");

    one.send(hold(1) + &hold(2)).await;
    settle().await;
    same.send(hold(1)).await;
    settle().await;
    same.send(hold(2) + &call(3, 0, "")).await;
    let refused = same.expect_code(2, 8).await;
    assert_eq!(refused["rejected"], true);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("3 calls in flight, the maximum (`admission.in_flight_per_peer`)"),
        "{refused}"
    );
    same.expect_code(3, 0).await;

    // Others have room, and one without an address has no such limit.
    neighbour.send((1..=3).map(hold).collect::<String>()).await;
    of_no_address
        .send((1..=5).map(hold).collect::<String>())
        .await;
    settle().await;
    assert_eq!(server.stats().in_flight, 11);

    // With a connection its calls are gone.
    drop(one);
    settle().await;
    same.send(hold(4) + &hold(5)).await;
    rig.gate.let_pass(20);
    for id in [1, 4, 5] {
        same.expect_code(id, 0).await;
    }
    assert_eq!(server.stats().limits.calls_shed, 1);
}
