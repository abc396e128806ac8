//! Servers as tornado-TCP was: in order, and with nothing between two replies.

use std::future::ready;
use std::time::Duration;

use rpc_client::{Client, Config, Connect, Mode};
use rpc_core::Code;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use crate::support::Peer;

fn as_it_was() -> Config {
    Config::default().with(|config| {
        config.pool.ordered = true;
        config.pool.undelimited_replies = true;
    })
}

/// A connector, and the other ends of what it opens.
fn played() -> (impl Connect, mpsc::UnboundedReceiver<DuplexStream>) {
    let (opened, theirs) = mpsc::unbounded_channel();
    let connect = move |_address: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        opened.send(theirs).unwrap();
        ready(Ok(ours))
    };
    (connect, theirs)
}

/// Reads one request.
async fn request(server: &mut DuplexStream) -> Value {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(server.read_u8().await.unwrap());
    }
    serde_json::from_slice(&line).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reply_ends_where_its_object_ends_however_its_bytes_come() {
    let (client, mut peer) = Peer::new(as_it_was());
    let whole = r#"{"code":0,"data":"}{\"]"}"#;

    for reply in [whole, "{\"code\": 0,\r\n \"data\": \"}{\\\"]\"}\n", whole] {
        let call = client.call::<_, String>(100, &());
        let answer = async {
            let line = peer.line().await;
            assert_eq!((line.get("id"), line["cmdid"].as_u64()), (None, Some(100)));
            for byte in reply.bytes() {
                peer.output.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (answer, ()) = tokio::join!(call, answer);
        assert_eq!(answer.unwrap(), "}{\"]");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_not_json_fails_its_call_in_words_and_the_next_one_is_answered() {
    let (client, mut peer) = Peer::new(as_it_was());

    for _ in 0..3 {
        let params = json!({"content": "Hello world!"});
        let call = client.call::<_, ()>(10_000, &params);
        let answer = async {
            peer.line().await;
            peer.output.write_all(b"{'code':0}").await.unwrap();
        };
        let error = tokio::join!(call, answer).0.unwrap_err();
        assert!(error.code() == Code::INTERNAL && error.may_have_run());
        let message = error.to_string();
        assert!(
            message.contains("the reply is not a JSON object"),
            "{message}"
        );
        assert!(message.contains("it begins with `{'code':0}`"), "{message}");
    }

    let call = client.call::<_, u64>(10_001, &());
    let answer = async {
        peer.line().await;
        peer.output
            .write_all(b"{\"code\":0,\"data\":7}")
            .await
            .unwrap();
    };
    assert_eq!(tokio::join!(call, answer).0.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_begin_no_object_end_the_connection_with_what_they_are() {
    let (client, mut peer) = Peer::new(as_it_was());

    let call = client.call::<_, ()>(100, &());
    let answer = async {
        peer.line().await;
        peer.output.write_all(b"ok").await.unwrap();
    };
    let error = tokio::join!(call, answer).0.unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("a reply begins with `ok`, and must be a JSON object"),
        "{message}"
    );
    assert!(error.may_have_run());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_sent_once_the_one_before_it_is_answered() {
    let (connect, mut opened) = played();
    let client = Client::builder("played")
        .connector(connect)
        .config(as_it_was())
        .build();
    let calls = (0..3).map(|_| client.call::<_, u64>(100, &()));
    let calls = futures::future::join_all(calls);

    let answers = async {
        let mut server = opened.recv().await.unwrap();
        for number in 0..3 {
            request(&mut server).await;
            // Nothing is behind it, however long the server takes.
            let early = tokio::time::timeout(Duration::from_secs(1), server.read_u8()).await;
            assert!(early.is_err(), "{early:?}");
            let reply = format!("{{\"code\":0,\"data\":{number}}}");
            server.write_all(reply.as_bytes()).await.unwrap();
        }
    };

    let (answers, ()) = tokio::join!(calls, answers);
    let answers: Vec<u64> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_takes_its_connection_along_and_not_the_next_reply() {
    let (connect, mut opened) = played();
    let client = Client::builder("played")
        .connector(connect)
        .config(as_it_was())
        .build();

    // Its handler raised: the server sends nothing.
    let limit = Duration::from_millis(100);
    let error = client.command(100).timeout(limit).call::<_, u64>(&()).await;
    assert_eq!(error.unwrap_err().code(), Code::DEADLINE_EXCEEDED);
    let mut first = opened.recv().await.unwrap();
    request(&mut first).await;

    let call = client.call::<_, u64>(100, &());
    let answer = async {
        let mut second = opened.recv().await.unwrap();
        request(&mut second).await;
        second.write_all(b"{\"code\":0,\"data\":2}").await.unwrap();
        second
    };
    assert_eq!(tokio::join!(call, answer).0.unwrap(), 2);
    assert_eq!(first.read(&mut [0]).await.unwrap(), 0, "it is closed");
}

#[tokio::test(start_paused = true)]
async fn with_several_connections_as_many_calls_run_side_by_side() {
    let (connect, mut opened) = played();
    let config = as_it_was().with(|config| config.pool.mode = Mode::Pooled(2));
    let client = Client::builder("played")
        .connector(connect)
        .config(config)
        .build();
    let calls = futures::future::join_all((0..2).map(|_| client.call::<_, u64>(100, &())));

    let answers = async {
        let mut servers = Vec::new();
        for _ in 0..2 {
            let mut server = opened.recv().await.unwrap();
            request(&mut server).await;
            servers.push(server);
        }
        for server in &mut servers {
            server.write_all(b"{\"code\":0,\"data\":1}").await.unwrap();
        }
        servers
    };

    let (answers, _servers) = tokio::join!(calls, answers);
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_oneway_call_and_a_client_with_ids_are_refused_with_what_to_do() {
    let (client, _peer) = Peer::new(as_it_was());
    let error = client.notify(100, &()).await.unwrap_err();
    assert!(error.code() == Code::FAILED_PRECONDITION && !error.may_have_run());
    assert!(
        error
            .to_string()
            .contains("there are no oneway calls: call the command"),
        "{error}"
    );

    let with_ids = as_it_was().with(|config| config.pool.ordered = false);
    let error = with_ids.check().unwrap_err();
    assert_eq!(error.setting(), "pool.undelimited_replies");
    assert!(
        error.to_string().contains("needs `pool.ordered = true`"),
        "{error}"
    );
}
