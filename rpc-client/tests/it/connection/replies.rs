//! Replies: whose they are, and what becomes of those that make no sense.

use std::time::Duration;

use rpc_client::{Code, Config};
use serde_json::json;

use crate::support::Peer;

#[tokio::test(start_paused = true)]
async fn a_late_reply_answers_no_call_and_the_next_one_gets_its_own() {
    let (client, mut peer) = Peer::new(Config::default());
    let late = client.command(100).timeout(Duration::from_millis(10));
    assert!(late.call::<_, u64>(&()).await.unwrap_err().is_deadline());
    let first = peer.line().await["id"].as_u64().unwrap();
    assert_eq!(
        peer.line().await,
        json!({"cmdid": 4, "oneway": true, "params": {"id": first}})
    );

    let next = client.call::<_, u64>(100, &());
    let play = async {
        let second = peer.line().await["id"].as_u64().unwrap();
        assert_ne!(
            first, second,
            "an id is not used again while its reply may come"
        );
        peer.send(&format!(r#"{{"id":{first},"code":0,"data":1}}"#))
            .await;
        peer.send(&format!(r#"{{"id":{second},"code":0,"data":2}}"#))
            .await;
    };
    assert_eq!(tokio::join!(next, play).0.unwrap(), 2);
}

#[tokio::test]
async fn nonsense_that_names_no_call_ends_the_connection_with_a_reason() {
    let (client, mut peer) = Peer::new(Config::default());
    let call = client.call::<_, u64>(100, &());
    let play = async {
        peer.line().await;
        peer.send("HTTP/1.1 400 Bad Request").await;
    };
    let error = tokio::join!(call, play).0.unwrap_err();
    assert_eq!(
        (error.code(), error.may_have_run()),
        (Code::UNAVAILABLE, true)
    );
    assert!(
        error.to_string().contains("the reply is not a JSON object"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reply_with_a_repeated_field_fails_its_call_and_with_a_repeated_id_the_connection() {
    for (rest, message, goes_on) in [
        (
            r#""code":0,"data":1,"data":2"#,
            "`data` appears twice",
            true,
        ),
        (
            r#""code":0,"data":1,"code":8"#,
            "`code` appears twice",
            true,
        ),
        (
            r#""data":1,"code":0,"data":1"#,
            "`data` appears twice",
            true,
        ),
        (r#""code":8,"code":0"#, "`code` appears twice", true),
        (r#""code":8,"id":0"#, "`id` appears twice", false),
        (r#""code":0,"data":1,"id":0"#, "`id` appears twice", false),
    ] {
        let (client, mut peer) = Peer::new(Config::default());
        let call = client.call::<_, u64>(100, &());
        let play = async {
            let id = peer.line().await["id"].as_u64().unwrap();
            peer.send(&format!(r#"{{"id":{id},{rest}}}"#)).await;
        };

        let error = tokio::join!(call, play).0.unwrap_err();
        assert!(error.to_string().contains(message), "{rest}: {error}");
        assert!(error.may_have_run(), "{rest}: {error}");
        assert_eq!(client.is_connected(), goes_on, "{rest}");
    }
}

#[tokio::test]
async fn a_success_with_the_ids_of_two_calls_answers_neither_and_ends_the_connection() {
    let (client, mut peer) = Peer::new(Config::default());
    let calls = async {
        tokio::join!(
            client.call::<_, u64>(100, &()),
            client.call::<_, u64>(100, &())
        )
    };
    let play = async {
        let one = peer.line().await["id"].as_u64().unwrap();
        let two = peer.line().await["id"].as_u64().unwrap();
        peer.send(&format!(r#"{{"id":{one},"code":0,"data":1,"id":{two}}}"#))
            .await;
    };

    let ((one, two), ()) = tokio::join!(calls, play);
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(error.to_string().contains("`id` appears twice"), "{error}");
        assert!(
            error.may_have_run() && error.code() == Code::UNAVAILABLE,
            "{error}"
        );
    }
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_reply_over_the_limit_ends_the_connection_with_a_reason() {
    let (client, mut peer) =
        Peer::new(Config::default().with(|config| config.limits.frame_bytes_max = 100));
    let call = client.call::<_, u64>(100, &());
    let play = async {
        peer.line().await;
        peer.send(&"x".repeat(200)).await;
    };
    let error = tokio::join!(call, play).0.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`limits.frame_bytes_max` of 100 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn replies_are_found_however_the_bytes_are_cut() {
    let (client, mut peer) = Peer::new(Config::default());
    let call = client.call::<_, String>(100, &());
    let play = async {
        let id = peer.line().await["id"].as_u64().unwrap();
        let line = format!("\r\n{{\"data\":\"caf\u{e9}\",\"code\":0,\"id\":{id}}}\r\n");
        for byte in line.bytes() {
            tokio::io::AsyncWriteExt::write_all(&mut peer.output, &[byte])
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::join!(call, play).0.unwrap(), "caf\u{e9}");
    // The end of one line and the beginning of another in one piece, cut at each place.
    for size in 1..=80 {
        let (client, mut peer) = Peer::new(Config::default());
        let calls =
            futures::future::join_all([0, 1, 2].iter().map(|n| client.call::<u64, u64>(100, n)));
        let play = async {
            let mut replies = Vec::new();
            for _ in 0..3 {
                let call = peer.line().await;
                let reply = format!(
                    "{{\"id\":{},\"data\":{},\"code\":0}}\n",
                    call["id"], call["params"]
                );
                replies.extend_from_slice(reply.as_bytes());
            }
            for piece in replies.chunks(size) {
                tokio::io::AsyncWriteExt::write_all(&mut peer.output, piece)
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::join!(calls, play).0;
        assert_eq!(
            came.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            [0, 1, 2],
            "pieces of {size}"
        );
    }
}
