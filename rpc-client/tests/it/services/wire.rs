//! Requests as the attributes say, and what `describe` tells of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_client::{CallOptions, Code, Request, Service, service_fn};
use rpc_core::{Descriptor, Kind, Reply, RetryCategory};
use serde_json::{Value, json};

use super::{OrdersClient, OrdersService, Shop, order, over_a_connection};

#[tokio::test]
async fn the_wire_is_as_a_hand_would_write_it() {
    let shop = Arc::new(Shop::default());
    let client = over_a_connection(&shop).await;

    // One argument is the params, none is an object without fields, several are named.
    let placed: u64 = client
        .call(2001, &json!({"item": "apple", "count": 3}))
        .await
        .unwrap();
    let count: usize = client.call(2004, &json!({"item": "apple"})).await.unwrap();
    assert_eq!((placed, count), (1, 1));
    client.call::<_, ()>(2005, &json!({})).await.unwrap();

    let error = client
        .call::<_, Value>(2004, &json!({"item": 7}))
        .await
        .unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::INVALID_ARGUMENT,
            "`params.item`: invalid type: integer `7`, expected a string"
        )
    );

    let error = client
        .call::<_, Value>(2001, &json!({"item": "pear", "count": 3}))
        .await
        .unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(
        (status.code().number(), status.message()),
        (1001, "only 2 of `pear` are left")
    );
    assert_eq!(
        status.details().unwrap().get(),
        r#"{"item":"pear","left":2}"#
    );
}

/// Writes down what a client sends.
fn recorder() -> (impl Service, Arc<Mutex<Vec<Request<'static>>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&requests);
    let service = service_fn(move |request| {
        written.lock().unwrap().push(request);
        std::future::ready(Ok(Reply::empty()))
    });
    (service, requests)
}

#[tokio::test]
async fn options_and_attributes_reach_the_request() {
    let (service, requests) = recorder();
    let orders = OrdersClient::new(service);
    let slow = orders.with(
        CallOptions::new()
            .timeout(Duration::from_secs(9))
            .meta("tenant", "a"),
    );

    // What comes back does not decode, and is not looked at.
    let _ = orders.place(order("apple", 1)).await;
    let _ = slow.place(order("apple", 1)).await;
    let _ = slow
        .with(CallOptions::new().idempotency_key("mine"))
        .forget()
        .await;
    let _ = orders.forget().await;
    let _ = orders.watch(0).await;
    orders.viewed("/").await.unwrap();

    let requests = std::mem::take(&mut *requests.lock().unwrap());
    let [first, second, with_key, without, watch, viewed] = requests.as_slice() else {
        panic!("six calls");
    };

    assert_eq!(first.timeout, Some(Duration::from_millis(700)));
    assert_eq!(first.params.as_str(), r#"{"item":"apple","count":1}"#);
    assert_eq!(first.scope.retry, RetryCategory::Dedup);
    assert_eq!(second.timeout, Some(Duration::from_secs(9)));
    assert_eq!(second.meta.get("tenant").as_deref(), Some("a"));
    assert_ne!(first.meta.get("idempotency-key"), None);
    assert_ne!(
        first.meta.get("idempotency-key"),
        second.meta.get("idempotency-key"),
        "each call has a key of its own"
    );

    assert_eq!(
        with_key.meta.get("idempotency-key").as_deref(),
        Some("mine")
    );
    assert_eq!(with_key.meta.get("tenant").as_deref(), Some("a"));
    assert_eq!(with_key.scope.retry, RetryCategory::Dedup);
    assert_eq!(with_key.params.as_str(), "{}");
    assert!(without.meta.is_empty());
    assert_eq!(without.scope.retry, RetryCategory::Neither);

    assert_eq!(watch.scope.retry, RetryCategory::Idempotent);
    assert!(watch.credit.is_some() && watch.timeout.is_none());
    assert!(viewed.oneway);
}

#[tokio::test]
async fn describe_tells_what_the_attributes_say() {
    let descriptors = OrdersService::descriptors();
    let names: Vec<_> = descriptors.iter().map(Descriptor::name).collect();
    assert_eq!(
        names,
        [
            "orders.place",
            "orders.viewed",
            "orders.watch",
            "orders.count_of",
            "orders.forget"
        ]
    );

    let kinds: Vec<_> = descriptors.iter().map(|command| command.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Unary,
            Kind::Oneway,
            Kind::Stream,
            Kind::Unary,
            Kind::Unary
        ]
    );
    let place = serde_json::to_value(&descriptors[0]).unwrap();
    assert_eq!(
        place,
        json!({
            "cmdid": 2001, "service": "orders", "method": "place",
            "doc": "Places an order.\n\nIt answers once the order is stored.",
            "kind": "unary", "idempotent": false, "dedup": {}, "timeout_ms": 700,
            "errors": [
                {"code": 1001, "name": "SoldOut", "doc": "There are fewer of the item."},
                {"code": 1002, "name": "Closed", "doc": "The shop is closed."},
                {"code": 1003, "name": "Unknown", "doc": "The item is not known."},
            ],
        })
    );
    assert!(descriptors[2].no_timeout && descriptors[2].idempotent);
    assert_eq!(descriptors[3].deprecated.as_deref(), Some("use `watch`"));
    assert!(descriptors[4].dedup.as_ref().unwrap().by_caller);

    // The router has them all, and `describe` answers them.
    let client = over_a_connection(&Arc::default()).await;
    let mut description: Value = client.call(1, &json!({"cmdid": 2001})).await.unwrap();
    // The store of keys is the server's own.
    let dedup = description["commands"][0]["dedup"].as_object_mut().unwrap();
    assert!(dedup.remove("store").unwrap().is_string());
    assert_eq!(description["commands"], json!([place]));
}
