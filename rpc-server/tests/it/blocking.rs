//! Plain functions that block: in threads of their own, a limited number at one time.

use std::sync::{Arc, Mutex};

use rpc_core::{RawJson, Request, Service};
use rpc_server::{Config, Params, Route, Router, Server, State, Status};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::logged::Logged;
use crate::support::{Client, PATIENCE, Probe, TestServer, call};

/// What a function that blocks needs: it says when it begins, and then waits for a word.
#[derive(Clone)]
struct Blocks {
    probe: Probe,
    begun: mpsc::UnboundedSender<u64>,
    word: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
}

fn block(State(blocks): State<Blocks>, Params(n): Params<u64>) -> Result<u64, Status> {
    let running = blocks.probe.enter();
    let _ = blocks.begun.send(n);
    // In the thread of the connection the word would never come.
    let word = blocks.word.lock().unwrap().recv_timeout(PATIENCE);
    word.map_err(|_| Status::internal("no word is said"))?;
    running.finish();
    Ok(n)
}

type Begins = mpsc::UnboundedReceiver<u64>;
type Word = std::sync::mpsc::Sender<()>;

/// A router whose command 100 blocks, `calls` of it at one time; what they begin, and the word.
fn blocking_router(calls: usize) -> (Router<Blocks>, Probe, Begins, Word) {
    let (say, word) = std::sync::mpsc::channel();
    let (begun, begins) = mpsc::unbounded_channel();
    let blocks = Blocks {
        probe: Probe::default(),
        begun,
        word: Arc::new(Mutex::new(word)),
    };
    let probe = blocks.probe.clone();
    let router = Router::with_state(blocks)
        .route(100, Route::blocking_at_most(calls, block))
        .unwrap();
    assert_eq!(
        router.descriptors()[0].method,
        "block",
        "and not that of what it is wrapped in"
    );
    (router, probe, begins, say)
}

/// A server of one thread with that.
async fn blocking(calls: usize) -> (TestServer, Probe, Begins, Word) {
    let (router, probe, begins, say) = blocking_router(calls);
    (TestServer::start(router).await, probe, begins, say)
}

#[tokio::test]
async fn a_blocking_function_leaves_the_thread_of_its_connection_to_others() {
    let (server, _, mut begins, say) = blocking(8).await;
    let mut client = server.connect();
    client
        .send(call(1, 100, "\"params\":1") + &call(2, 100, "\"params\":2"))
        .await;
    let mut begun = [begins.recv().await, begins.recv().await];
    begun.sort_unstable();
    assert_eq!(begun, [Some(1), Some(2)]);
    client.send(call(3, 0, "\"params\":\"meanwhile\"")).await;
    assert_eq!(client.expect_code(3, 0).await["data"], "meanwhile");
    say.send(()).unwrap();
    say.send(()).unwrap();
    let mut answered =
        [client.reply().await, client.reply().await].map(|reply| reply["data"].as_u64());
    answered.sort_unstable();
    assert_eq!(answered, [Some(1), Some(2)]);
    client.send(call(4, 100, "\"params\":\"no number\"")).await;
    client.expect_code(4, 3).await;
}

#[tokio::test]
async fn a_blocking_function_that_has_begun_goes_on_and_one_that_waits_is_not_run_for_a_caller_who_is_gone()
 {
    let (mut server, probe, mut begins, say) = blocking(1).await;
    let mut client = server.connect();
    client.send(call(1, 100, "\"params\":1")).await;
    assert_eq!(begins.recv().await, Some(1));
    client
        .send(call(2, 100, "\"params\":2,\"timeout_ms\":1") + &call(3, 100, "\"params\":3"))
        .await;
    client.expect_code(2, 4).await;
    for id in [1, 3] {
        client
            .send(format!("{{\"cmdid\":4,\"params\":{{\"id\":{id}}}}}\n"))
            .await;
        client.expect_code(id, 1).await;
    }
    drop(client);
    server.begin_to_drain();
    // No other work is left in this thread.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!server.has_drained(), "it waits for the one that has begun");
    say.send(()).unwrap();
    assert!(server.drained().await.is_clean);
    assert_eq!((probe.started(), probe.finished()), (1, 1));
}

#[test]
fn a_blocking_function_that_waits_for_a_thread_is_not_run_for_a_caller_who_is_gone() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap()
        .block_on(async {
            let (release, occupied) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || occupied.recv_timeout(PATIENCE));
            let (server, probe, _begins, _say) = blocking(8).await;
            let mut client = server.connect();
            client
                .send(call(1, 100, "\"params\":1") + "{\"cmdid\":4,\"params\":{\"id\":1}}\n")
                .await;
            client.expect_code(1, 1).await;
            drop(release);
            busy.await.unwrap().unwrap_err();
            // Whatever was in the queue of the only thread came before this.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert_eq!(probe.started(), 0);
        });
}

#[tokio::test]
async fn a_blocking_function_runs_in_the_span_of_its_call() {
    let log = Logged::begin_with_spans(FmtSpan::ENTER);
    let thread =
        || -> Result<String, Status> { Ok(format!("{:02?}", std::thread::current().id())) };
    let router = Router::new()
        .route(100, Route::blocking(thread))
        .unwrap()
        .traced();
    let reply = router
        .call(Request::new(100, RawJson::EMPTY_OBJECT))
        .await
        .unwrap();
    let thread: String = reply.data().unwrap().decode().unwrap();
    let text = log.text();
    let in_thread = |line: &&str| line.contains(&thread) && line.contains("rpc.cmdid=100");
    assert_eq!(
        text.lines().filter(in_thread).count(),
        1,
        "{thread}: {text}"
    );
}

#[tokio::test]
async fn a_blocking_function_that_hangs_in_a_thread_of_the_workers_does_not_hold_up_the_end() {
    let (router, probe, mut begins, say) = blocking_router(1);
    let config = Config::default().with(|config| config.drain.timeout_ms = 1);
    let builder = Server::builder()
        .listen("127.0.0.1:0")
        .workers(1)
        .config(config)
        .router(router);
    let server = builder.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let mut server = TestServer::of(server);
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.send(call(1, 100, "\"params\":1")).await;
    assert_eq!(begins.recv().await, Some(1));
    server.begin_to_drain();
    assert!(!server.drained().await.is_clean);
    assert_eq!(probe.finished(), 0);
    say.send(()).unwrap();
}

#[tokio::test]
async fn calls_of_a_blocking_route_take_turns_by_connection_and_stats_shows_them() {
    let (server, _, mut begins, say) = blocking(1).await;
    let (mut many, mut one) = (server.connect(), server.connect());
    for id in 1..=100 {
        many.send(call(id, 100, &format!("\"params\":{id}"))).await;
    }
    assert_eq!(begins.recv().await, Some(1));

    one.send(call(1, 100, "\"params\":1000")).await;
    one.send(call(2, 3, "")).await;
    let stats = one.expect_code(2, 0).await;
    let blocking = &stats["data"]["blocking"];
    let figures = ["threads_max", "running", "waiting", "started", "refused"];
    assert_eq!(
        figures.map(|figure| blocking[figure].as_u64().unwrap()),
        [64, 1, 100, 1, 0]
    );

    for _ in 0..101 {
        say.send(()).unwrap();
    }
    assert_eq!(begins.recv().await, Some(1000));
    assert_eq!(one.expect_code(1, 0).await["data"], 1000);
    for id in 1..=100 {
        many.expect_code(id, 0).await;
    }
}

#[tokio::test]
async fn further_calls_of_a_connection_that_would_wait_are_refused_and_not_run() {
    let (router, probe, mut begins, say) = blocking_router(64);
    let config = Config::default().with(|config| {
        config.blocking.threads_max = 1;
        config.blocking.waiting_per_connection = 2;
    });
    let server = TestServer::with(config, router).await;
    let mut client = server.connect();
    client.send(call(1, 100, "\"params\":1")).await;
    assert_eq!(begins.recv().await, Some(1));

    for id in 2..=4 {
        client.send(call(id, 100, "\"params\":1")).await;
    }
    let refused = client.expect_code(4, 8).await;
    assert_eq!(refused["rejected"], true);
    assert!(refused["retry_after_ms"].is_u64(), "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("(`blocking.waiting_per_connection`)"),
        "{message}"
    );

    for _ in 0..3 {
        say.send(()).unwrap();
    }
    for id in 1..=3 {
        client.expect_code(id, 0).await;
    }
    assert_eq!(probe.started(), 3);
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_not_for_what_waits() {
    let (router, probe, mut begins, say) = blocking_router(1);
    let config = Config::default().with(|config| config.drain.timeout_ms = 1);
    let mut server = TestServer::with(config, router).await;
    let mut client = server.connect();
    for id in 1..=100 {
        client.send(call(id, 100, "\"params\":1")).await;
    }
    assert_eq!(begins.recv().await, Some(1));

    server.begin_to_drain();
    let drained = server.drained().await;
    assert_eq!((drained.is_clean, drained.dropped), (false, 1));
    drop(say);
    assert_eq!(probe.started(), 1);
}
