//! Bytes that connections hold: of one connection, and of all together.

mod results;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_server::blocking::{BlockingPool, CallToken, Caller, ResultSize};
use rpc_server::{Config, Params, RawJson, Reply, Router, Server, State, Status};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rig::{ECHO, FILL, HOLD, Rig, filled};
use crate::support::{Client, PATIENCE, TestServer, call, settle};

/// Room for ten calls with params of 8,000 bytes, after which memory is scarce.
fn little_memory() -> Config {
    Config::default().with(|config| {
        config.limits.frame_bytes_max = 20_000;
        config.limits.output_bytes_soft_max = 20_000;
        config.limits.connection_bytes_max = 100_000;
        config.limits.memory_bytes_max = 120_000;
    })
}

fn hold(id: u64) -> String {
    call(id, HOLD, &format!("\"params\":{}", filled(8_000)))
}

#[tokio::test(start_paused = true)]
async fn where_memory_is_scarce_a_connection_above_its_share_waits_and_another_is_served() {
    let rig = Rig::new();
    let server = TestServer::with(little_memory(), rig.router()).await;
    let (mut greedy, mut good) = (server.connect(), server.connect());

    greedy.send((0..10).map(hold).collect::<String>()).await;
    settle().await;
    greedy.send(call(99, ECHO, "")).await;
    greedy.expect_silence_for(Duration::from_secs(5)).await;

    good.send(call(1, ECHO, "")).await;
    good.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;
    let stats = server.stats();
    assert_eq!(
        (stats.limits.memory_pauses, stats.limits.memory_sheds),
        (1, 0)
    );
    assert_eq!(stats.in_flight, 10);

    // With its first calls over it is read from again.
    rig.gate.let_pass(10);
    let mut ids = Vec::new();
    for _ in 0..11 {
        ids.push(greedy.reply().await["id"].as_u64().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99]);
}

#[tokio::test(start_paused = true)]
async fn where_memory_runs_out_the_calls_of_the_largest_holder_end_and_others_go_on() {
    let rig = Rig::new();
    let server = TestServer::with(little_memory(), rig.router()).await;
    let (mut larger, mut smaller, mut small) =
        (server.connect(), server.connect(), server.connect());

    larger.send((0..6).map(hold).collect::<String>()).await;
    smaller.send((0..4).map(hold).collect::<String>()).await;
    settle().await;
    assert_eq!(server.stats().in_flight, 10);

    small.send(hold(1) + &hold(2)).await;
    for _ in 0..6 {
        let reply = larger.reply().await;
        assert_eq!(reply["code"], 8, "{reply}");
        assert!(
            reply["message"]
                .as_str()
                .unwrap()
                .contains("`limits.memory_bytes_max`"),
            "{reply}"
        );
        assert!(reply["rejected"].is_null(), "it has begun: {reply}");
    }

    rig.gate.let_pass(6);
    small.expect_code(Some(1), 0).await;
    small.expect_code(Some(2), 0).await;
    for _ in 0..4 {
        assert_eq!(smaller.reply().await["code"], 0);
    }
    assert_eq!(server.stats().limits.memory_sheds, 6);

    // It is served on.
    larger.send(call(7, ECHO, "")).await;
    larger.expect("{\"id\":7,\"code\":0,\"data\":{}}").await;
}

#[tokio::test(start_paused = true)]
async fn where_memory_is_scarce_an_item_of_a_connection_above_its_share_ends_its_stream() {
    async fn items(State(ready): State<Arc<Notify>>) -> Reply {
        Reply::stream(stream::once(async move {
            ready.notified().await;
            Ok("x".repeat(9_998))
        }))
    }

    let (ready, rig) = (Arc::<Notify>::default(), Rig::new());
    let items = Router::with_state(Arc::clone(&ready)).route(200, items);
    let router = items.unwrap().merge(rig.router()).unwrap();
    let server = TestServer::with(little_memory(), router).await;
    let (mut greedy, mut good) = (server.connect(), server.connect());

    good.send(call(1, 200, "")).await;
    greedy.send(call(99, 200, "")).await;
    greedy.send((0..10).map(hold).collect::<String>()).await;
    settle().await;

    // Both have their items at the same time.
    ready.notify_waiters();
    let refused = greedy.expect_code(Some(99), 8).await;
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("`limits.memory_bytes_max`"), "{refused}");
    assert!(refused["more"].is_null() && refused["rejected"].is_null());

    let item = good.reply().await;
    assert_eq!(item["data"].as_str().unwrap().len(), 9_998);
    good.expect("{\"id\":1,\"code\":0}").await;
    assert_eq!(server.stats().limits.memory_sheds, 1);

    // The calls of the other one go on.
    rig.gate.let_pass(10);
    for _ in 0..10 {
        assert_eq!(greedy.reply().await["code"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn items_that_wait_for_credit_count_among_the_bytes_of_their_connection() {
    async fn items(State(built): State<Arc<AtomicUsize>>) -> Reply {
        Reply::stream(stream::repeat(()).map(move |()| {
            built.fetch_add(1, Ordering::Relaxed);
            Ok("x".repeat(9_998))
        }))
    }

    let built = Arc::<AtomicUsize>::default();
    let router = Router::with_state(Arc::clone(&built))
        .route(100, items)
        .unwrap();
    let config = little_memory().with(|config| config.limits.memory_bytes_max = 0);
    let server = TestServer::with(config, router).await;
    let mut client = server.connect();

    let mut refused = 0;
    for id in 0..50 {
        client.send(call(id, 100, "\"credit\":1")).await;
        let reply = client.reply().await;
        if reply["code"] == 8 {
            let message = reply["message"].as_str().unwrap();
            assert!(message.contains("`limits.connection_bytes_max`"), "{reply}");
            refused += 1;
        }
    }

    // Each has sent one item, and has the next one ready: without a limit it would be a hundred.
    let built = built.load(Ordering::Relaxed);
    assert!(
        refused > 35 && (10..30).contains(&built),
        "{refused} refused, {built} items"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_credit_outlives_calls_that_fill_its_connection() {
    async fn items(State(ready): State<Arc<Notify>>) -> Reply {
        let first = stream::once(async { Ok("x".repeat(198)) });
        let second = stream::once(async move {
            ready.notified().await;
            Ok("x".repeat(298))
        });
        Reply::stream(first.chain(second))
    }

    let (ready, rig) = (Arc::<Notify>::default(), Rig::new());
    let items = Router::with_state(Arc::clone(&ready)).route(200, items);
    let router = items.unwrap().merge(rig.router()).unwrap();
    let config = little_memory().with(|config| config.limits.memory_bytes_max = 0);
    let server = TestServer::with(config, router).await;
    let mut client = server.connect();

    // It looks for its second item, and calls take all room.
    client.send(call(99, 200, "\"credit\":1")).await;
    assert_eq!(client.reply().await["more"], true);
    client.send((0..18).map(hold).collect::<String>()).await;
    settle().await;
    let running = rig.probe.running();
    assert!((10..18).contains(&running), "it is not full: {running}");

    ready.notify_one();
    client.expect_silence_for(Duration::from_secs(1)).await;

    rig.gate.let_pass(18);
    for _ in 0..18 {
        assert_eq!(client.reply().await["code"], 0);
    }
    client
        .send("{\"cmdid\":5,\"params\":{\"id\":99,\"n\":1}}\n")
        .await;
    assert_eq!(client.reply().await["data"].as_str().unwrap().len(), 298);
    client.expect("{\"id\":99,\"code\":0}").await;
}

#[tokio::test]
async fn blocking_work_does_not_begin_without_memory_for_its_result() {
    async fn large(
        State(pool): State<BlockingPool>,
        caller: Caller,
        Params(bytes_max): Params<usize>,
    ) -> Result<Reply, Status> {
        let size = ResultSize {
            bytes_max,
            of: |data: &RawJson<'static>| data.as_bytes().len(),
        };
        let data = pool.run_sized(caller, size, |_| filled(4_000)).await?;
        Ok(Reply::raw(data))
    }

    let (pool, rig) = (BlockingPool::default(), Rig::new());
    let large = Router::with_state(pool.clone()).route(200, large).unwrap();
    let server = Server::builder()
        .config(little_memory())
        .blocking(pool)
        .router(large.merge(rig.router()).unwrap());
    let server = TestServer::of(server.bind().await.unwrap());

    let (mut greedy, mut good) = (server.connect(), server.connect());
    greedy.send((0..10).map(hold).collect::<String>()).await;
    settle().await;

    good.send(call(1, 200, "\"params\":5000")).await;
    assert_eq!(
        good.expect_code(Some(1), 0).await["data"]
            .as_str()
            .unwrap()
            .len(),
        3_998
    );

    good.send(call(2, 200, "\"params\":40000")).await;
    let refused = good.expect_code(Some(2), 8).await;
    assert_eq!(refused["rejected"], true);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("`limits.memory_bytes_max`"),
        "{refused}"
    );
}

/// What a handler needs for work that may have a result of 200,000 bytes, and lasts until it is told to end.
#[derive(Clone)]
struct LongWork {
    pool: BlockingPool,
    started: Arc<Notify>,
    end: Arc<Mutex<mpsc::Receiver<()>>>,
}

async fn long(State(work): State<LongWork>, caller: Caller) -> Result<Reply, Status> {
    let size = ResultSize {
        bytes_max: 200_000,
        of: |(): &()| 0,
    };
    let (started, end) = (work.started, work.end);
    let piece = move |_: &CallToken| {
        started.notify_one();
        end.lock().unwrap().recv().unwrap();
    };
    work.pool.run_sized(caller, size, piece).await?;
    Ok(Reply::empty())
}

/// A server with such work as command 200; what tells that it has started, and what ends it.
async fn server_of_long_work() -> (TestServer, Arc<Notify>, mpsc::Sender<()>) {
    let (end, ended) = mpsc::channel();
    let work = LongWork {
        pool: BlockingPool::default(),
        started: Arc::default(),
        end: Arc::new(Mutex::new(ended)),
    };

    let router = Router::with_state(work.clone()).route(200, long).unwrap();
    let server = Server::builder()
        .config(little_memory().with(|config| config.limits.memory_bytes_max = 0))
        .blocking(work.pool)
        .router(router.merge(Rig::new().router()).unwrap());
    let server = TestServer::of(server.bind().await.unwrap());
    (server, work.started, end)
}

/// Has the long work begin as call 2, and cancels that.
async fn cancel_long_work(client: &mut Client<DuplexStream>, started: &Notify) {
    client.send(call(2, 200, "")).await;
    started.notified().await;
    let cancel = "{\"cmdid\":4,\"oneway\":true,\"params\":{\"id\":2}}\n";
    client.send(cancel).await;
    client.expect_code(Some(2), 1).await;
}

#[tokio::test]
async fn a_full_connection_reads_on_when_work_ends_whose_call_was_cancelled() {
    let (server, started, end) = server_of_long_work().await;
    let mut client = server.connect();

    // One that lasts is in flight: without any call there is always room for one.
    client.send(call(1, HOLD, "")).await;
    cancel_long_work(&mut client, &started).await;

    client.send(call(3, ECHO, "")).await;
    while server.stats().limits.in_flight_pauses == 0 {
        tokio::task::yield_now().await;
    }

    // No other call comes on the connection.
    end.send(()).unwrap();
    client.expect("{\"id\":3,\"code\":0,\"data\":{}}").await;
}

#[tokio::test]
async fn a_connection_without_calls_tells_when_work_ends_whose_call_was_cancelled() {
    let (server, started, end) = server_of_long_work().await;
    let mut client = server.connect();
    cancel_long_work(&mut client, &started).await;
    assert!(held_bytes(&server).await >= 200_000);

    // The connection has no other event.
    end.send(()).unwrap();
    let given_back = tokio::time::timeout(PATIENCE, async {
        while held_bytes(&server).await >= 200_000 {
            tokio::task::yield_now().await;
        }
    });
    given_back.await.expect("the bytes do not count any more");
}

/// Bytes that all connections hold, as `stats` tells.
async fn held_bytes(server: &TestServer) -> u64 {
    let stats = server.connect().ask("{\"id\":1,\"cmdid\":3}").await;
    let limits = stats["data"]["limits"].as_array().unwrap();
    let memory = limits
        .iter()
        .find(|limit| limit["name"] == "limits.memory_bytes_max");
    memory.unwrap()["used"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_had_a_long_line_holds_nothing_of_it() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router()).await;
    let mut client = server.connect();

    let line = call(1, HOLD, &format!("\"params\":{}", filled(300_000)));
    client.send(&line[..200_000]).await;
    settle().await;
    assert!(held_bytes(&server).await >= 200_000);

    client.send(&line[200_000..]).await;
    settle().await;
    let held = held_bytes(&server).await;
    assert!((300_000..330_000).contains(&held), "only its call: {held}");

    rig.gate.let_pass(1);
    client.expect_code(Some(1), 0).await;
    settle().await;
    assert_eq!(held_bytes(&server).await, 0);
}

/// Room for a long reply, with short lines.
fn room_for_a_reply() -> Config {
    Config::default().with(|config| {
        config.limits.frame_bytes_max = 20_000;
        config.limits.output_bytes_soft_max = 20_000;
        config.limits.connection_bytes_max = 300_000;
    })
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_sent_a_long_reply_holds_nothing_of_it() {
    let rig = Rig::new();
    let server = TestServer::with(room_for_a_reply(), rig.router()).await;
    let mut client = server.connect();

    rig.gate.let_pass(1);
    let fill = call(1, FILL, "\"params\":{\"bytes\":250000}");
    client.send(fill).await;
    client.expect_code(Some(1), 0).await;
    settle().await;
    assert_eq!(held_bytes(&server).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_in_the_room_that_a_connection_at_rest_gives_back() {
    let rig = Rig::new();
    let empty = async || Reply::stream(stream::empty::<Result<u32, Status>>());
    let router = Router::new().route(200, empty).unwrap();
    let router = router.merge(rig.router()).unwrap();
    let server = TestServer::with(room_for_a_reply(), router).await;
    let mut client = server.connect();

    // The stream may not look for its end, because calls hold the room for that.
    let fill = call(1, FILL, "\"params\":{\"bytes\":300000}");
    client.send((2..30).map(hold).collect::<String>()).await;
    client.send(fill).await;
    client.send(call(99, 200, "\"credit\":0")).await;
    settle().await;
    assert_eq!(server.stats().in_flight, 30);

    // They end together. Then their replies hold the room, and at last a buffer in which nothing waits any more.
    rig.gate.let_pass(29);
    settle().await;
    let begun = Instant::now();
    for _ in 0..30 {
        assert_eq!(client.reply().await["code"], 0);
    }
    let took = begun.elapsed();
    assert!(
        took < Duration::from_millis(500),
        "a timer woke it: {took:?}"
    );
    assert_eq!(server.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_an_ordered_stream_is_bounded_and_is_no_call_of_the_server() {
    let router = Router::new()
        .route(100, async || {
            Reply::stream(stream::pending::<Result<u32, Status>>())
        })
        .unwrap();
    let config = Config::default().with(|config| config.admission.in_flight_per_connection = 10);
    let server = TestServer::with(config, router).await;
    let mut client = server.connect();

    let lines = "{\"cmdid\":0}\n".repeat(500) + &"no request\n".repeat(5);
    client
        .send(String::from("{\"cmdid\":100}\n") + &lines)
        .await;
    settle().await;
    let stats = server.stats();
    assert_eq!(stats.in_flight, 1, "pings are no calls of services");
    assert_eq!(stats.limits.in_flight_pauses, 1);
    assert!(stats.requests < 30, "{} lines were taken", stats.requests);
}

#[tokio::test(start_paused = true)]
async fn half_lines_give_their_memory_back_and_small_results_are_always_sent() {
    let rig = Rig::new();
    let config = Config::default().with(|config| {
        config.limits.frame_bytes_max = 60_000;
        config.limits.output_bytes_soft_max = 20_000;
        config.limits.connection_bytes_max = 100_000;
        config.limits.memory_bytes_max = 120_000;
    });
    let server = TestServer::with(config, rig.router()).await;
    let mut good = server.connect();

    let half = format!(
        "{{\"id\":7,\"cmdid\":{ECHO},\"params\":\"{}",
        "x".repeat(50_000)
    );
    let mut holders: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for holder in &mut holders {
        holder.send(&half).await;
        settle().await;
    }
    good.send(call(1, ECHO, "")).await;
    good.expect("{\"id\":1,\"code\":0,\"data\":{}}").await;

    // A few KiB of a connection are read whatever there is.
    let peak = server.stats().limits.memory_bytes_peak;
    assert!(
        (90_000..=120_000 + 4_096).contains(&peak),
        "{peak} bytes were held"
    );

    // At the latest when their time is up.
    good.expect_silence_for(Duration::from_secs(12)).await;
    assert_eq!(held_bytes(&server).await, 0);
    for holder in &mut holders {
        let refused = holder.reply().await;
        assert_eq!(refused["id"], 7, "{refused}");
        assert!(refused["code"] == 4 || refused["code"] == 8, "{refused}");
        holder.expect_end().await;
    }
}
