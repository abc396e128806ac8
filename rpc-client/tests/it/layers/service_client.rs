//! Typed calls of any service.

use std::time::Duration;

use futures::StreamExt;
use rpc_client::layers::{Timeout, Trace};
use rpc_client::{Code, Config, Reply, Service, ServiceClient, service_fn};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Seen, pair, router};

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_waited_for_until_the_deadline() {
    let silent = || service_fn(|_| std::future::pending());
    let started = Instant::now();
    let error = ServiceClient::new(silent())
        .call::<_, ()>(100, &())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), started.elapsed().as_millis()),
        (Code::DEADLINE_EXCEEDED, 5_000)
    );

    let started = Instant::now();
    let client = ServiceClient::new(silent()).call_timeout(Duration::from_millis(40));
    assert_eq!(
        client.notify(100, &()).await.unwrap_err().code(),
        Code::DEADLINE_EXCEEDED
    );
    let stream = client
        .command(100)
        .timeout(Duration::from_millis(2))
        .stream::<_, ()>(&())
        .await;
    assert_eq!(
        stream.map(drop).unwrap_err().code(),
        Code::DEADLINE_EXCEEDED
    );
    assert_eq!(started.elapsed().as_millis(), 42);

    // The longest time that there is does not overflow.
    let endless = client.command(100).timeout(Duration::MAX);
    let waiting = endless.call::<_, ()>(&());
    tokio::pin!(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
}

#[tokio::test]
async fn a_router_a_client_and_a_layered_one_are_called_alike() {
    async fn check(client: &ServiceClient<impl Service>) {
        check_calls_and_their_errors(client).await;
        check_metadata(client).await;
        check_streams(client).await;
        check_notifications(client).await;
    }

    check(&ServiceClient::new(router(Seen::default()))).await;

    let (client, _server) = pair(Seen::default(), Config::default()).await;
    check(&ServiceClient::new(client)).await;

    let (client, _server) = pair(Seen::default(), Config::default()).await;
    check(
        &client
            .layer(Trace)
            .layer(Timeout::new(Duration::from_secs(2))),
    )
    .await;
}

/// A request says what its call was made with.
#[tokio::test(start_paused = true)]
async fn a_call_of_any_service_takes_the_options_that_a_client_s_takes() {
    let seen = service_fn(|request: rpc_client::Request<'_>| {
        let until = request.scope.deadline.map(Instant::from_std);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let seen = json!({
            "is_ordered": request.id.is_none(),
            "left_ms": left.map(|left| left.as_millis()),
            "key": request.meta.get("idempotency-key"),
            "trace": request.meta.get("traceparent"),
        });
        std::future::ready(Reply::new(&seen))
    });
    let client = ServiceClient::new(seen);
    let soon = Instant::now() + Duration::from_millis(300);

    let call = client.command(100).timeout(Duration::from_secs(9));
    let plain: serde_json::Value = call.clone().call(&()).await.unwrap();
    assert_eq!(
        plain,
        json!({"is_ordered": false, "left_ms": 9_000, "key": null, "trace": null})
    );

    let mut parent = rpc_client::Request::new(100, rpc_client::RawJson::NULL);
    parent.scope.deadline = Some((soon + Duration::from_secs(1)).into_std());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    parent.meta = rpc_core::Meta::from_entries(&[("traceparent".into(), trace.into())].into());
    let call = call
        .within(&parent)
        .deadline(soon.into_std())
        .idempotency_key("order 4211")
        .ordered();
    let seen: serde_json::Value = call.call(&()).await.unwrap();
    assert_eq!(
        seen,
        json!({"is_ordered": true, "left_ms": 300, "key": "order 4211", "trace": trace})
    );
}

async fn check_calls_and_their_errors(client: &ServiceClient<impl Service>) {
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 7}))
            .await
            .unwrap(),
        7
    );

    let error = client
        .call::<_, u64>(100, &json!({"value": "x"}))
        .await
        .unwrap_err();
    assert!(
        error.code() == Code::INVALID_ARGUMENT && error.message().contains("`params.value`"),
        "{error}"
    );

    let error = client.call::<_, ()>(103, &json!({})).await.unwrap_err();
    assert!(
        error.is_rejected() && error.retry_after() == Some(Duration::from_millis(20)),
        "{error}"
    );

    assert_eq!(
        client.call::<_, u64>(999, &()).await.unwrap_err().code(),
        Code::UNIMPLEMENTED
    );
    assert_eq!(
        client
            .call::<_, String>(100, &json!({"value": 7}))
            .await
            .unwrap_err()
            .code(),
        Code::INTERNAL
    );
    assert_eq!(
        client.call::<_, ()>(106, &()).await.unwrap_err().code(),
        Code::INTERNAL
    );
}

async fn check_metadata(client: &ServiceClient<impl Service>) {
    let meta: (Option<String>, bool) = client
        .command(105)
        .meta("traceparent", "00-ab")
        .call(&())
        .await
        .unwrap();
    assert_eq!(meta, (Some("00-ab".to_owned()), true));
}

async fn check_streams(client: &ServiceClient<impl Service>) {
    let items = client
        .stream::<_, u64>(104, &json!({"value": 300}))
        .await
        .unwrap();
    let items: Vec<u64> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, (0..300).collect::<Vec<_>>());

    let one = client
        .stream::<_, u64>(100, &json!({"value": 5}))
        .await
        .unwrap();
    assert_eq!(one.map(Result::unwrap).collect::<Vec<_>>().await, [5]);

    let error = client
        .call::<_, u64>(104, &json!({"value": 3}))
        .await
        .unwrap_err();
    assert!(error.message().contains("answers with a stream"), "{error}");
}

/// Checks, by what the server counts, that a notification runs and that params which are not valid JSON never get there.
async fn check_notifications(client: &ServiceClient<impl Service>) {
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert_eq!(
        client
            .call::<_, u64>(102, &no_json)
            .await
            .unwrap_err()
            .code(),
        Code::INVALID_ARGUMENT
    );

    client.notify(102, &()).await.unwrap();

    // One connection keeps the order of what begins on it, so this one runs behind.
    assert_eq!(client.call::<_, u64>(102, &()).await.unwrap(), 2);
}
