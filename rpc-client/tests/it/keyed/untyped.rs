//! Calls without a type that have a key: they keep the rule of typed ones.

use std::time::Duration;

use rpc_client::{Client, Code, Config, Error, RawJson, Request, Service};
use rpc_core::Descriptor;
use rpc_server::layers::Deduplicate;
use rpc_server::{Route, Router};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Gateway, Network, Sms, one, two};

/// Sends a message as a call with a key.
async fn send(client: &Client, text: &str) -> Result<u64, Error> {
    let keyed = client.command(100).idempotency_key("order 4211");
    keyed.call(&text).await
}

/// A server whose command cuts its connections, described as `description` says; and its client.
async fn plain(description: Descriptor, config: Config) -> (Gateway, Client) {
    let network = Network::default();
    let gateway = Gateway::new(&network, "a:1");
    let cut = {
        let gateway = gateway.clone();
        move || {
            let gateway = gateway.clone();
            async move { gateway.send("cut".into()).await }
        }
    };

    let route = Route::new(cut).describe(description);
    let router = Router::new().route(100, route).unwrap();
    network.host("a:1", router).await;
    let client = network.untyped("a:1", config);
    (gateway, client)
}

/// What says nothing of repetitions.
fn once() -> Descriptor {
    Descriptor::new("sms", "send")
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_key_is_repeated_at_the_store_that_has_it() {
    let keys = Deduplicate::default();
    let (network, gateway, _) = one(&keys).await;
    let client = network.untyped("a:1", Config::default());

    assert_eq!(send(&client, "cut, and slow").await.unwrap(), 1);
    let stats = keys.stats();
    assert_eq!((gateway.count(), stats.ran, stats.attached), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_key_is_not_repeated_at_another_store() {
    let keys = [Deduplicate::default(), Deduplicate::default()];
    let (network, gateways, _) = two([&keys[0], &keys[1]]).await;
    let client = network.untyped("a:1,b:1", Config::default());

    let error = send(&client, "gone").await.unwrap_err();
    assert!(error.code() == Code::UNAVAILABLE && error.may_have_run());
    assert_eq!(error.attempts(), 1, "{error}");
    let ran: u64 = gateways.iter().map(Gateway::count).sum();
    assert_eq!(ran, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_passed_on_with_a_key_keeps_the_rule() {
    let keys = Deduplicate::default();
    let (network, gateway, _) = one(&keys).await;
    let client = network.untyped("a:1", Config::default());
    let mut request = Request::new(100, RawJson::serialize("gone").unwrap());
    request.id = Some(7);
    request.meta = request.meta.with([("idempotency-key", "order 4211")]);

    let first = tokio::spawn(Service::call(&client, request));
    while gateway.count() == 0 {
        assert!(!first.is_finished(), "it did not run");
        sleep(Duration::from_millis(1)).await;
    }
    let after = Deduplicate::default();
    network.start("a:1", &gateway, &after).await;

    let failure = first.await.unwrap().unwrap_err();
    assert!(failure.code() == Code::UNAVAILABLE && !failure.is_rejected());
    assert_eq!((gateway.count(), after.stats().ran), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_call_of_a_command_with_dedup_has_a_key_of_its_own() {
    let keys = Deduplicate::default();
    let (network, gateway, _) = one(&keys).await;
    let client = network.untyped("a:1", Config::default());

    let send = client.command(100).dedup();
    assert_eq!(send.call::<_, u64>("cut").await.unwrap(), 1);
    assert_eq!(send.call::<_, u64>("cut").await.unwrap(), 2);
    let stats = keys.stats();
    assert_eq!((gateway.count(), stats.ran, stats.replayed), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_key_alone_does_not_repeat_a_command_that_ignores_it() {
    let (gateway, client) = plain(once(), Config::default()).await;

    let error = send(&client, "cut").await.unwrap_err();
    assert!(error.code() == Code::UNAVAILABLE && error.may_have_run());
    assert_eq!((gateway.count(), error.attempts()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_may_run_twice_is_repeated_wherever_whether_its_server_or_its_caller_says_so()
 {
    let harmless = Descriptor {
        idempotent: true,
        ..once()
    };
    let (gateway, client) = plain(harmless, Config::default()).await;
    assert!(send(&client, "cut").await.is_err());
    assert_eq!(gateway.count(), 3, "the server says so");

    let (gateway, client) = plain(once(), Config::default()).await;
    let both = client.command(100).idempotency_key("k").idempotent();
    assert!(both.call::<_, u64>(&()).await.is_err());
    let both = client.command(100).idempotent().idempotency_key("k");
    assert!(both.call::<_, u64>(&()).await.is_err());
    assert_eq!(gateway.count(), 6, "the caller says so");
}

#[tokio::test(start_paused = true)]
async fn a_command_of_the_settings_is_repeated_though_its_server_says_nothing_of_it() {
    let listed = Config::default().with(|config| config.retry.idempotent_cmdids = vec![100]);
    let (gateway, client) = plain(once(), listed).await;

    assert!(send(&client, "cut").await.is_err());
    assert_eq!(gateway.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_describe_itself_holds_a_call_with_a_key_up_for_half_of_its_time() {
    let (calls, mut lines) = mpsc::unbounded_channel();
    let client = Client::builder("a:1")
        .connector(move |_| {
            let (ours, theirs) = tokio::io::duplex(4096);
            tokio::spawn(silent(theirs, calls.clone()));
            async { Ok(ours) }
        })
        .build();

    let begin = Instant::now();
    let keyed = client.command(100).idempotency_key("k");
    let keyed = keyed.timeout(Duration::from_secs(2));
    assert_eq!(keyed.call::<_, u64>(&()).await.unwrap(), 7);
    assert_eq!(begin.elapsed().as_millis(), 1_000);

    let mut seen = Vec::new();
    while let Ok(line) = lines.try_recv() {
        seen.push(line["cmdid"].as_u64().unwrap());
    }
    assert_eq!(seen, [1, 4, 100], "the question, its end, and the call");
}

/// A server that answers nothing but 100.
async fn silent(stream: tokio::io::DuplexStream, calls: mpsc::UnboundedSender<Value>) {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let call: Value = serde_json::from_str(&line).unwrap();
        if call["cmdid"] == 100 {
            let reply = format!("{{\"id\":{},\"code\":0,\"data\":7}}\n", call["id"]);
            write.write_all(reply.as_bytes()).await.unwrap();
        }
        calls.send(call).unwrap();
    }
}
