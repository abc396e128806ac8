//! A client among the services of `tower`.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use rpc_client::tower::{IntoTower, TowerLayer};
use rpc_client::{Client, Code, Config, Error, RawJson, Reply, Request, ServiceClient, Status};
use serde_json::json;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::retry::Policy;
use tower::{ServiceBuilder, ServiceExt};

use crate::support::{Seen, pair, router, tcp};

fn request(cmdid: u32, params: &serde_json::Value) -> Request<'static> {
    let mut request = Request::new(cmdid, RawJson::serialize(params).unwrap());
    request.id = Some(0);
    request
}

/// Without retries of the client's own.
fn once() -> Config {
    Config::default().with(|config| config.retry.attempts_max = 1)
}

#[tokio::test(start_paused = true)]
async fn behind_a_buffer_and_load_shed_an_error_is_still_the_clients_own() {
    let (client, _server) = pair(Seen::default(), once()).await;
    let service = ServiceBuilder::new()
        .load_shed()
        .buffer(8)
        .concurrency_limit(2)
        .service(client);

    let reply = service.clone().oneshot(request(100, &json!({"value": 7})));
    assert_eq!(reply.await.unwrap().data().unwrap().as_str(), "7");

    let failed = service.clone().oneshot(request(103, &json!({}))).await;
    let failed = failed.unwrap_err().downcast::<Error>().unwrap();
    assert!(failed.is_retryable() && !failed.may_have_run(), "{failed}");
    let status = failed.status().unwrap();
    assert_eq!(status.retry_after(), Some(Duration::from_millis(20)));

    let mut streamed = request(104, &json!({"value": 3}));
    streamed.credit = Some(1);
    let reply = service.clone().oneshot(streamed).await.unwrap();
    let rpc_core::Body::Stream(items) = reply.into_body() else {
        panic!("it streams");
    };
    assert_eq!(items.try_collect::<Vec<_>>().await.unwrap().len(), 3);

    // Two run, eight wait in the buffer, of which the worker holds one; the rest is shed at once.
    let slow = || {
        let call = service.clone();
        call.oneshot(request(100, &json!({"value": 1, "ms": 50})))
    };
    let outcomes = futures::future::join_all((0..20).map(|_| slow())).await;
    let shed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert!((1..=12).contains(&shed), "{shed}");
}

#[tokio::test]
async fn as_a_service_again_a_client_behind_tower_says_whether_its_call_may_have_run() {
    let client = Client::with_config(
        "127.0.0.1:1",
        once().with(|config| config.reconnect.fail_fast_after_ms = 0),
    );
    let stack = ServiceBuilder::new().buffer(8).service(client);
    let client = ServiceClient::new(rpc_client::tower::service(stack));
    let unsent = client.call::<_, u64>(100, &()).await.unwrap_err();
    assert_eq!(unsent.code(), Code::UNAVAILABLE);
    assert!(unsent.is_rejected(), "it was not sent: {unsent}");

    let (address, _server) = tcp(Seen::default()).await;
    let stack = ServiceBuilder::new()
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(1))
        .service(Client::with_config(address, once()));
    let client = ServiceClient::new(rpc_client::tower::service(stack));
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 7}))
            .await
            .unwrap(),
        7
    );

    let panicked = client.call::<_, u64>(106, &()).await.unwrap_err();
    assert_eq!(
        (panicked.code(), panicked.is_rejected()),
        (Code::INTERNAL, false)
    );

    let params = json!({"value": 7, "ms": 20});
    let calls = (0..3).map(|_| client.call::<_, u64>(100, &params));
    let outcomes = futures::future::join_all(calls).await;
    let shed: Vec<&Status> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    assert_eq!(shed.len(), 2);
    for status in shed {
        assert_eq!(status.code(), Code::RESOURCE_EXHAUSTED);
        assert!(status.is_rejected(), "{status}");
    }
}

/// Tries again where the client's error says that the call has not run.
#[derive(Clone)]
struct WhereSafe(Arc<AtomicU64>);

impl Policy<Request<'static>, Reply, Error> for WhereSafe {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<'static>,
        result: &mut Result<Reply, Error>,
    ) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        let is_again = error.is_retryable() && self.0.fetch_add(1, Ordering::SeqCst) < 4;
        is_again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<'static>) -> Option<Request<'static>> {
        Some(request.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_towers_retry_asks_the_clients_error_whether_it_is_safe() {
    let (client, _server) = pair(Seen::default(), once()).await;
    for (cmdid, tries) in [(103, 5), (106, 0)] {
        let seen = Arc::<AtomicU64>::default();
        let service = ServiceBuilder::new()
            .retry(WhereSafe(Arc::clone(&seen)))
            .service(client.clone());
        service
            .oneshot(request(cmdid, &json!({})))
            .await
            .unwrap_err();
        assert_eq!(seen.load(Ordering::SeqCst), tries, "{cmdid}");
    }
}

#[tokio::test(start_paused = true)]
async fn tower_goes_around_a_router_and_a_router_into_tower() {
    let one = ServiceBuilder::new()
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(1));
    let limited = router(Seen::default()).layer(TowerLayer::new(one));
    let client = ServiceClient::new(limited);
    let params = json!({"value": 7, "ms": 20});
    let (first, second) = tokio::join!(
        client.call::<_, u64>(100, &params),
        client.call::<_, u64>(100, &params)
    );
    assert_eq!(first.unwrap(), 7);
    let shed = second.unwrap_err();
    assert_eq!(shed.code(), Code::RESOURCE_EXHAUSTED);
    assert!(shed.is_rejected());

    let service = IntoTower::new(router(Seen::default()));
    let reply = service.oneshot(request(100, &json!({"value": 7}))).await;
    assert_eq!(reply.unwrap().data().unwrap().as_str(), "7");
}
