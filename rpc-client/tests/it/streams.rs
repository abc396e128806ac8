use futures::StreamExt;
use rpc_client::{Code, Config};
use serde_json::json;

use crate::support::{Peer, Seen, pair};

#[tokio::test]
async fn a_stream_brings_every_item_in_order_through_a_small_window() {
    let (client, server) = pair(
        Seen::default(),
        Config::default().with(|config| config.limits.stream_credit = 4),
    )
    .await;
    let mut items = client
        .stream::<_, u64>(104, &json!({"value": 1000}))
        .await
        .unwrap();
    for expected in 0..1000 {
        assert_eq!(items.next().await.unwrap().unwrap(), expected);
    }
    assert!(items.next().await.is_none() && items.next().await.is_none());
    assert_eq!(server.stats().replies["OK"], 1);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_held_by_its_credit_and_delays_no_other_call() {
    let (client, _server) = pair(
        Seen::default(),
        Config::default().with(|config| config.limits.stream_credit = 4),
    )
    .await;
    let mut items = client
        .stream::<_, u64>(104, &json!({"value": u64::MAX}))
        .await
        .unwrap();
    for value in 0..100u64 {
        assert_eq!(
            client
                .call::<_, u64>(100, &json!({"value": value}))
                .await
                .unwrap(),
            value
        );
    }
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    drop(items);
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_bounded_in_bytes_and_ends_with_code_8_behind_what_was_kept() {
    let (client, mut peer) =
        Peer::new(Config::default().with(|config| config.limits.stream_bytes_max = 1_000));
    let mut items = client.stream::<_, String>(104, &()).await.unwrap();
    let id = peer.line().await["id"].as_u64().unwrap();

    // Items of 400 bytes: the third one reaches the limit, and the fourth passes it. A small one behind that would fit
    // again once the reader has made room, and the reader would not see that something is missing.
    let item = |text: &str| format!(r#"{{"id":{id},"code":0,"more":true,"data":"{text}"}}"#);
    for text in [
        &*"a".repeat(398),
        &"b".repeat(398),
        &"c".repeat(398),
        &"d".repeat(398),
        "e",
    ] {
        peer.send(&item(text)).await;
    }
    // Answered behind the items, so that all of them have come.
    let call = client.call::<_, u64>(100, &());
    let play = async {
        let id = peer.line().await["id"].as_u64().unwrap();
        peer.send(&format!(r#"{{"id":{id},"code":0,"data":1}}"#))
            .await;
    };
    assert_eq!(tokio::join!(call, play).0.unwrap(), 1);

    for first in ["a", "b", "c"] {
        assert!(items.next().await.unwrap().unwrap().starts_with(first));
        peer.send(&item("e")).await;
    }
    let error = items.next().await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run()),
        (Code::RESOURCE_EXHAUSTED, true)
    );
    assert!(
        error
            .to_string()
            .contains("`limits.stream_bytes_max` of 1000 bytes"),
        "{error}"
    );
    assert!(items.next().await.is_none());
    assert_eq!(peer.line().await["cmdid"], 4, "the server is told to stop");
}

#[tokio::test]
async fn a_stream_that_is_read_may_be_as_long_as_it_likes() {
    let config = Config::default().with(|config| {
        config.limits.stream_bytes_max = 10;
        config.limits.stream_credit = 2;
    });
    let (client, _server) = pair(Seen::default(), config).await;
    let items = client
        .stream::<_, u64>(104, &json!({"value": 1000}))
        .await
        .unwrap();
    let items: Vec<_> = items.map(Result::unwrap).collect().await;
    assert_eq!(items.len(), 1000);
}

#[tokio::test]
async fn a_unary_call_of_a_streaming_command_fails_and_stops_the_stream() {
    let (client, server) = pair(Seen::default(), Config::default()).await;
    let error = client
        .call::<_, u64>(104, &json!({"value": u64::MAX}))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("call it as a stream"), "{error}");
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 1}))
            .await
            .unwrap(),
        1
    );
    assert_eq!(server.stats().replies["CANCELLED"], 1);
}

#[tokio::test]
async fn a_failure_comes_after_the_items_before_it() {
    let (client, mut peer) = Peer::new(Config::default());
    let stream = client.stream::<_, u64>(104, &());
    let play = async {
        let id = peer.line().await["id"].as_u64().unwrap();
        peer.send(&format!(r#"{{"id":{id},"code":0,"more":true,"data":1}}"#))
            .await;
        peer.send(&format!(r#"{{"id":{id},"code":15,"message":"gone"}}"#))
            .await;
    };
    let mut items = tokio::join!(stream, play).0.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 1);
    assert_eq!(items.next().await.unwrap().unwrap_err().code().number(), 15);
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn a_server_that_ignores_credit_is_stopped() {
    let (client, mut peer) =
        Peer::new(Config::default().with(|config| config.limits.stream_credit = 2));
    let stream = client.stream::<_, u64>(104, &());
    let play = async {
        let request = peer.line().await;
        assert_eq!(request["credit"], 2);
        for n in 0..10 {
            peer.send(&format!(
                r#"{{"id":{},"code":0,"more":true,"data":{n}}}"#,
                request["id"]
            ))
            .await;
        }
        tokio::task::yield_now().await;
    };
    let mut items = tokio::join!(stream, play).0.unwrap();
    let mut last = None;
    while let Some(item) = items.next().await {
        last = Some(item);
    }
    assert!(
        last.unwrap()
            .unwrap_err()
            .to_string()
            .contains("more items than it had `credit` for")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_item_is_lost_while_items_and_their_reader_race() {
    let (client, _server) = pair(
        Seen::default(),
        Config::default().with(|config| config.limits.stream_credit = 8),
    )
    .await;
    for round in 0..300u64 {
        let length = round % 40;
        let items = client
            .stream::<_, u64>(104, &json!({"value": length}))
            .await
            .unwrap();
        let items: Vec<u64> = items.map(Result::unwrap).collect().await;
        assert_eq!(items, (0..length).collect::<Vec<_>>());
    }
}
