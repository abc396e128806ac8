//! The timing of a call, as callers of generated clients and readers of streams receive it.

use std::time::{Duration, Instant};

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use rpc_client::{CallOptions, Client, Code, Config, LastTiming, Service, ServiceClient, layers};
use rpc_server::{Router, Status, service};
use serde_json::json;

use crate::support::in_memory;

#[service]
trait Clock {
    /// Answers after `ms` milliseconds.
    #[rpc(cmdid = 100, idempotent)]
    async fn wait(&self, ms: u64) -> Result<u64, Status>;

    /// Fails.
    #[rpc(cmdid = 101, dedup)]
    async fn fail(&self) -> Result<(), Status>;

    /// Items, each after `ms` milliseconds; the item `fails_at` is a failure.
    #[rpc(cmdid = 102, no_timeout)]
    fn ticks(&self, ms: u64, fails_at: u64) -> impl Stream<Item = Result<u64, Status>> + Send;
}

struct Real;

impl Clock for Real {
    async fn wait(&self, ms: u64) -> Result<u64, Status> {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(ms)
    }

    async fn fail(&self) -> Result<(), Status> {
        Err(Status::not_found("no clock"))
    }

    fn ticks(&self, ms: u64, fails_at: u64) -> impl Stream<Item = Result<u64, Status>> + Send {
        stream::iter(1..=4).then(move |n| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            if n == fails_at {
                return Err(Status::data_loss("the spring has broken"));
            }
            Ok(n)
        })
    }
}

fn router() -> Router {
    Router::new().serve(ClockServer(Real)).unwrap()
}

async fn client() -> Client {
    let (connect, _server) = in_memory(router()).await;
    Client::builder("memory").connector(connect).build()
}

/// What was told is at least `least`, and no more than the caller's own time since `begun`.
fn check(timing: &LastTiming, least: Duration, begun: Instant) {
    let own = begun.elapsed();
    let server = timing.get().expect("the server tells it");
    assert!(server.run >= least, "{server:?}");
    assert!(server.queue + server.run <= own, "{server:?} of {own:?}");
}

/// Calls of every kind of a generated client.
async fn every_kind(service: impl Service) {
    let timing = LastTiming::new();
    let clock = ClockClient::new(service).with(CallOptions::new().timing(&timing));

    let begun = Instant::now();
    assert_eq!(clock.wait(3).await.unwrap(), 3);
    check(&timing, Duration::from_millis(3), begun);

    let begun = Instant::now();
    assert_eq!(clock.fail().await.unwrap_err().code(), Code::NOT_FOUND);
    check(&timing, Duration::ZERO, begun);

    // Only when the stream has ended: with its end, or with a failure.
    for fails_at in [0, 4] {
        let begun = Instant::now();
        let mut ticks = clock.ticks(1, fails_at).await.unwrap();
        for _ in 0..3 {
            ticks.next().await.unwrap().unwrap();
            assert_eq!(timing.get(), None);
        }
        let rest: Result<Vec<_>, _> = ticks.try_collect().await;
        assert_eq!(rest.is_err(), fails_at == 4);
        check(&timing, Duration::from_millis(4), begun);
    }
}

#[tokio::test]
async fn a_generated_client_is_told_where_the_time_of_each_of_its_calls_went() {
    every_kind(client().await).await;
}

#[tokio::test]
async fn a_generated_client_is_told_through_layers_too() {
    let layered = client().await.layer(layers::Trace);
    let retried = layered.layer(layers::Retry::new(&Config::default()));
    every_kind(retried).await;
}

#[tokio::test]
async fn a_service_that_is_no_client_tells_nothing() {
    let timing = LastTiming::new();
    let clock = ClockClient::new(router()).with(CallOptions::new().timing(&timing));
    assert_eq!(clock.wait(0).await.unwrap(), 0);
    assert_eq!(timing.get(), None);
}

#[tokio::test]
async fn a_call_that_reached_no_handler_takes_back_what_an_earlier_one_was_told() {
    let timing = LastTiming::new();
    let clock = ClockClient::new(client().await).with(CallOptions::new().timing(&timing));
    clock.wait(0).await.unwrap();
    assert!(timing.get().is_some());

    let soon = clock.with(CallOptions::new().timeout(Duration::from_millis(1)));
    let late = soon.wait(60_000).await.unwrap_err();
    assert_eq!(late.code(), Code::DEADLINE_EXCEEDED);
    // The server may have answered this first.
    assert!(
        timing
            .get()
            .is_none_or(|server| server.run < Duration::from_secs(60))
    );

    let never = clock.with(CallOptions::new().timeout(Duration::ZERO));
    never.wait(0).await.unwrap_err();
    assert_eq!(timing.get(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_of_plain_threads_is_told_too() {
    let blocking = client().await.blocking();
    let thread = std::thread::spawn(move || {
        let timing = LastTiming::new();
        let clock = ClockBlockingClient::new(blocking).with(CallOptions::new().timing(&timing));

        let begun = Instant::now();
        assert_eq!(clock.wait(2).unwrap(), 2);
        check(&timing, Duration::from_millis(2), begun);

        let begun = Instant::now();
        assert_eq!(clock.ticks(1, 0).unwrap().count(), 4);
        check(&timing, Duration::from_millis(4), begun);
    });
    thread.join().unwrap();
}

#[tokio::test]
async fn a_command_with_options_is_told_for_its_calls_and_streams() {
    let timing = LastTiming::new();
    let client = client().await;
    let begun = Instant::now();
    let waited: u64 = client.command(100).timing(&timing).call(&2).await.unwrap();
    assert_eq!(waited, 2);
    check(&timing, Duration::from_millis(2), begun);

    let begun = Instant::now();
    let ticks = client.command(102).timing(&timing);
    let params = json!({"ms": 1, "fails_at": 0});
    let items = ticks.stream::<_, u64>(&params).await.unwrap();
    assert_eq!(items.count().await, 4);
    check(&timing, Duration::from_millis(4), begun);

    // A client with layers has the same options.
    let layered = ServiceClient::new(client);
    let begun = Instant::now();
    let command = layered.command(102).timing(&timing);
    let items = command.stream::<_, u64>(&params).await.unwrap();
    assert_eq!(items.count().await, 4);
    check(&timing, Duration::from_millis(4), begun);
}
