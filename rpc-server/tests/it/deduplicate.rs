//! Repeated calls: the layer `Deduplicate` on the wire and as a service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_server::layers::{Deduplicate, DeduplicateConfig};
use rpc_server::{Params, Request, Route, Router, Service, State, Status, service};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Client, Gate, TestServer, settle};

const SEND: u32 = 100;

#[derive(Clone)]
struct Sender {
    gate: Gate,
    sent: Arc<AtomicU32>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    text: String,
    /// Fails with it.
    code: Option<u32>,
    #[serde(default)]
    rejected: bool,
}

impl Sender {
    fn new() -> Self {
        Self {
            gate: Gate::closed(),
            sent: Arc::default(),
        }
    }

    fn open() -> Self {
        let sender = Self::new();
        sender.gate.let_pass(10_000);
        sender
    }

    fn router(&self, keys: &Deduplicate) -> Router<Self> {
        Router::with_state(self.clone())
            .route(SEND, Route::new(send).layer(keys.clone()))
            .unwrap()
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn send(
    State(sender): State<Sender>,
    Params(message): Params<Message>,
) -> Result<String, Status> {
    sender.gate.pass().await;
    let number = sender.sent.fetch_add(1, Ordering::SeqCst) + 1;

    match message.code {
        None => Ok(format!("{} {number}", message.text)),
        Some(code) => {
            let status = Status::new(code, format!("failure {number}"));
            Err(if message.rejected {
                status.with_rejected()
            } else {
                status
            })
        }
    }
}

/// A line of a call with a key.
fn keyed(id: u64, key: &str, params: &Value) -> String {
    let meta = json!({ "idempotency-key": key });
    json!({"id": id, "cmdid": SEND, "meta": meta, "params": params}).to_string()
}

/// The same as a repetition.
fn repeated(id: u64, key: &str, age_ms: u64, params: &Value) -> String {
    let meta = json!({"idempotency-key": key, "idempotency-age-ms": age_ms.to_string()});
    json!({"id": id, "cmdid": SEND, "meta": meta, "params": params}).to_string()
}

fn text(text: &str) -> Value {
    json!({ "text": text })
}

async fn send_line<IO>(client: &mut Client<IO>, line: &str)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    client.send(format!("{line}\n")).await;
}

#[tokio::test(start_paused = true)]
async fn a_repetition_attaches_to_the_call_that_runs_and_gets_its_result() {
    let (sender, keys) = (Sender::new(), Deduplicate::default());
    let server = TestServer::start(sender.router(&keys)).await;
    let (mut first, mut second) = (server.connect(), server.connect());

    send_line(&mut first, &keyed(1, "a", &text("hi"))).await;
    settle().await;
    send_line(&mut second, &keyed(7, "a", &text("hi"))).await;
    settle().await;
    sender.gate.let_pass(1);

    assert_eq!(
        first.reply().await,
        json!({"id": 1, "code": 0, "data": "hi 1"})
    );
    assert_eq!(
        second.reply().await,
        json!({"id": 7, "code": 0, "data": "hi 1"})
    );
    assert_eq!(sender.sent(), 1);
    assert_eq!((keys.stats().ran, keys.stats().attached), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_runs_on_though_its_caller_leaves_and_its_repetition_is_answered() {
    let (sender, keys) = (Sender::new(), Deduplicate::default());
    let server = TestServer::start(sender.router(&keys)).await;

    let mut first = server.connect();
    send_line(&mut first, &keyed(1, "a", &text("hi"))).await;
    settle().await;
    drop(first);
    settle().await;
    sender.gate.let_pass(1);
    settle().await;
    assert_eq!(sender.sent(), 1);

    let mut second = server.connect();
    let reply = second.ask(&repeated(2, "a", 500, &text("hi"))).await;
    assert_eq!(reply, json!({"id": 2, "code": 0, "data": "hi 1"}));
    assert_eq!((sender.sent(), keys.stats().replayed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_up_runs_on_and_its_repetition_gets_the_result() {
    let (sender, keys) = (Sender::new(), Deduplicate::default());
    let server = TestServer::start(sender.router(&keys)).await;
    let mut client = server.connect();

    let late = json!({
        "id": 1, "cmdid": SEND, "timeout_ms": 50,
        "meta": {"idempotency-key": "a"}, "params": {"text": "hi"},
    });
    assert_eq!(client.ask(&late.to_string()).await["code"], 4);
    sender.gate.let_pass(1);
    settle().await;

    let reply = client.ask(&keyed(2, "a", &text("hi"))).await;
    assert_eq!(reply["data"], "hi 1");
}

#[tokio::test(start_paused = true)]
async fn the_key_of_another_call_is_a_conflict_with_details() {
    let (sender, keys) = (Sender::open(), Deduplicate::default());
    let server = TestServer::start(sender.router(&keys)).await;
    let mut client = server.connect();
    client.ask(&keyed(1, "a", &text("hi"))).await;

    let reply = client.ask(&keyed(2, "a", &text("ho"))).await;
    assert_eq!(
        (&reply["code"], &reply["details"]),
        (&json!(6), &json!({"idempotency_key": "a"}))
    );
    assert_eq!((sender.sent(), keys.stats().conflicts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_did_not_run_is_forgotten_and_all_other_outcomes_are_kept() {
    let (sender, keys) = (Sender::open(), Deduplicate::default());
    let server = TestServer::start(sender.router(&keys)).await;
    let mut client = server.connect();

    for (place, (params, runs)) in [
        (json!({"code": 8}), 2),
        (json!({"code": 14}), 2),
        (json!({"code": 5, "rejected": true}), 2),
        (json!({"code": 4}), 1),
        (json!({"code": 13}), 1),
        (json!({"code": 1001}), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let (key, before) = (place.to_string(), sender.sent());
        let first = client.ask(&keyed(1, &key, &params)).await;
        let second = client.ask(&keyed(1, &key, &params)).await;
        assert_eq!(sender.sent() - before, runs, "{params}");
        assert_eq!(first == second, runs == 1, "{first} {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_key_is_refused_to_a_repetition_that_says_its_age() {
    let sender = Sender::open();
    let keys = Deduplicate::new(DeduplicateConfig {
        age_max_ms: 60_000,
        ..DeduplicateConfig::default()
    });
    let server = TestServer::start(sender.router(&keys)).await;
    // The server is older than all that comes.
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let mut client = server.connect();
    client.ask(&keyed(1, "a", &text("hi"))).await;

    tokio::time::advance(Duration::from_secs(59)).await;
    let kept = client.ask(&repeated(2, "a", 59_000, &text("hi"))).await;
    assert_eq!(kept["data"], "hi 1");

    tokio::time::advance(Duration::from_secs(2)).await;
    let expired = client.ask(&repeated(3, "a", 61_000, &text("hi"))).await;
    assert_eq!(
        (&expired["code"], &expired["rejected"]),
        (&json!(9), &Value::Null)
    );
    assert_eq!((sender.sent(), keys.stats().keys), (1, 0));

    // A call that was sent long after the key was lost is no repetition of that one.
    tokio::time::advance(Duration::from_secs(60)).await;
    let young = client.ask(&repeated(4, "b", 1_000, &text("ho"))).await;
    assert_eq!(young["data"], "ho 2");
}

#[tokio::test(start_paused = true)]
async fn an_evicted_key_is_refused_to_a_repetition_and_others_stay() {
    let sender = Sender::open();
    let keys = Deduplicate::new(DeduplicateConfig {
        keys_per_identity: 2,
        ..DeduplicateConfig::default()
    });
    let server = TestServer::start(sender.router(&keys)).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let mut client = server.connect();
    for key in ["a", "b", "c"] {
        client.ask(&keyed(1, key, &text(key))).await;
    }

    let evicted = client.ask(&repeated(2, "a", 10, &text("a"))).await;
    assert_eq!(evicted["code"], 9);
    let kept = client.ask(&repeated(3, "c", 10, &text("c"))).await;
    assert_eq!(kept["data"], "c 3");
    assert_eq!((sender.sent(), keys.stats().refused), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn calls_that_run_are_not_evicted_and_further_ones_do_not_run() {
    let sender = Sender::new();
    let keys = Deduplicate::new(DeduplicateConfig {
        keys_per_identity: 2,
        ..DeduplicateConfig::default()
    });
    let server = TestServer::start(sender.router(&keys)).await;
    let mut client = server.connect();
    for (id, key) in [(1, "a"), (2, "b")] {
        send_line(&mut client, &keyed(id, key, &text(key))).await;
    }
    settle().await;

    let refused = client.ask(&keyed(3, "c", &text("c"))).await;
    assert_eq!(
        (&refused["code"], &refused["rejected"]),
        (&json!(8), &json!(true))
    );
    assert!(refused["retry_after_ms"].is_u64());

    sender.gate.let_pass(3);
    client.reply().await;
    client.reply().await;
    assert_eq!(client.ask(&keyed(3, "c", &text("c"))).await["data"], "c 3");
}

#[tokio::test(start_paused = true)]
async fn a_result_without_room_is_answered_and_not_kept() {
    let sender = Sender::open();
    let keys = Deduplicate::new(DeduplicateConfig {
        bytes_per_identity: 1_000,
        ..DeduplicateConfig::default()
    });
    let server = TestServer::start(sender.router(&keys)).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let mut client = server.connect();

    let long = "x".repeat(990 - 100);
    let reply = client.ask(&keyed(1, "a", &text(&long))).await;
    assert_eq!(reply["data"], format!("{long} 1"));
    assert!(keys.stats().bytes <= 1_000);
    let other = client.ask(&keyed(2, "b", &text(&long))).await;
    assert_eq!(other["data"], format!("{long} 2"));
    assert_eq!(keys.stats().keys, 1, "the older one made room");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_does_not_run_what_may_have_run_before() {
    let sender = Sender::open();
    let before = Deduplicate::default();
    let router = sender.router(&before);
    let first = ask(&router, &keyed(1, "a", &text("hi"))).await;
    assert_eq!(first.unwrap(), "hi 1");
    drop(router);

    // Keys in memory are gone with the process.
    tokio::time::advance(Duration::from_secs(30)).await;
    let after = Deduplicate::default();
    let router = sender.router(&after);
    tokio::time::advance(Duration::from_secs(1)).await;
    let status = ask(&router, &repeated(1, "a", 31_000, &text("hi")))
        .await
        .unwrap_err();
    assert_eq!(status.code().number(), 9);
    assert!(!status.is_rejected(), "it may have run");

    // What was sent first when it was there already runs.
    tokio::time::advance(Duration::from_secs(60)).await;
    let young = ask(&router, &repeated(1, "b", 1_000, &text("ho"))).await;
    assert_eq!(young.unwrap(), "ho 2");
    assert_ne!(before.store(), after.store());
}

#[tokio::test(start_paused = true)]
async fn two_servers_have_stores_of_their_own_and_say_so() {
    /// Sends messages.
    #[service]
    trait Messages {
        /// Sends a message.
        #[rpc(cmdid = 100, dedup)]
        async fn send(&self, text: String) -> Result<u32, Status>;
    }

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Messages for Counter {
        async fn send(&self, _text: String) -> Result<u32, Status> {
            Ok(self.0.fetch_add(1, Ordering::SeqCst) + 1)
        }
    }

    let start = async || {
        let router = Router::new().serve(MessagesServer(Counter::default()));
        TestServer::start(router.unwrap()).await
    };
    let (one, other) = (start().await, start().await);
    let (mut first, mut second) = (one.connect(), other.connect());

    // A typed method with `dedup` needs no layer of its own.
    let line = keyed(1, "a", &json!("hi"));
    for _ in 0..2 {
        assert_eq!(first.ask(&line).await["data"], 1);
    }
    assert_eq!(
        second.ask(&line).await["data"],
        1,
        "another server has not seen it"
    );

    let describe = r#"{"id":2,"cmdid":1,"params":{"cmdid":100}}"#;
    let store = |reply: Value| reply["data"]["commands"][0]["dedup"]["store"].clone();
    let (first, second) = (first.ask(describe).await, second.ask(describe).await);
    assert_eq!(first["data"]["instance"], second["data"]["instance"]);
    let (first, second) = (store(first), store(second));
    assert_ne!(first, second);
    assert!(first.as_str().unwrap().starts_with(rpc_server::instance()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_call_that_runs_on_without_its_caller() {
    /// Waits.
    #[service]
    trait Waits {
        /// Waits at a gate.
        #[rpc(cmdid = 100, dedup)]
        async fn wait(&self) -> Result<(), Status>;
    }

    impl Waits for Sender {
        async fn wait(&self) -> Result<(), Status> {
            self.gate.pass().await;
            self.sent.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    let sender = Sender::new();
    let router = Router::new().serve(WaitsServer(sender.clone())).unwrap();
    let mut server = TestServer::start(router).await;
    let mut client = server.connect();
    send_line(&mut client, &keyed(1, "a", &json!({}))).await;
    settle().await;
    drop(client);
    settle().await;

    server.begin_to_drain();
    settle().await;
    assert!(!server.has_drained());
    sender.gate.let_pass(1);
    server.drained().await;
    assert_eq!(sender.sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_repetitions_over_connections_that_are_cut_run_the_handler_once() {
    let (sender, keys) = (Sender::open(), Deduplicate::default());
    let server = TestServer::start(sender.router(&keys)).await;
    let server = Arc::new(server);

    let callers = (0..64_u64).map(|caller| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(caller);
            let mut answered = 0;
            for _ in 0..=1_000 / 64 {
                let mut client = server.connect();
                let line = format!("{}\n", keyed(1, "a", &text("hi")));
                if random.bool() {
                    // Cut in the middle of the line, or behind it.
                    let cut = random.usize(1..=line.len());
                    client.send(&line[..cut]).await;
                    continue;
                }
                client.send(line).await;
                assert_eq!(client.reply().await["data"], "hi 1");
                answered += 1;
            }
            answered
        })
    });
    let callers: Vec<_> = callers.collect();

    let mut answered = 0;
    for caller in callers {
        answered += caller.await.unwrap();
    }
    assert!(answered > 300, "{answered} were answered");
    assert_eq!((sender.sent(), keys.stats().ran), (1, 1));
}

/// Calls a router as a service.
async fn ask(router: &Router<Sender>, line: &str) -> Result<String, Status> {
    let request = Request::decode(line.as_bytes()).unwrap();
    let reply = router.call(request).await?;
    Ok(reply.data().unwrap().decode().unwrap())
}
