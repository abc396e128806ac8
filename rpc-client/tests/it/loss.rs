use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rpc_client::{Client, Code, Config};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{Nowhere, PATIENCE, Peer, Seen, tcp};

#[tokio::test]
async fn a_missing_listener_is_said_at_once_where_the_client_is_told_to() {
    let nowhere = Nowhere::new();
    let address = nowhere.address.to_string();
    let client = Client::with_config(
        &address,
        Config::default().with(|config| config.reconnect.fail_fast_after_ms = 0),
    );
    let error = client.call::<_, ()>(0, &()).await.unwrap_err();
    assert!(error.is_unreachable() && error.is_retryable() && !error.was_sent());
    assert_eq!(error.code(), Code::UNAVAILABLE);
    assert!(
        error.to_string().starts_with(&format!(
            "{address}: code 14 UNAVAILABLE: not sent: cannot connect: "
        )),
        "{error}"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn what_is_not_an_address_is_refused_with_what_one_is() {
    let client = Client::with_config(
        "8889",
        Config::default().with(|config| config.reconnect.fail_fast_after_ms = 0),
    );
    let error = client.call::<_, ()>(0, &()).await.unwrap_err();
    assert!(
        error.to_string().contains("HOST:PORT or unix:PATH"),
        "{error}"
    );
}

#[tokio::test]
async fn calls_in_flight_when_the_connection_is_lost_may_have_run() {
    let (client, mut peer) = Peer::new(Config::default());
    let calls = async {
        tokio::join!(
            client.call::<_, u64>(100, &()),
            client.call::<_, u64>(100, &())
        )
    };
    let play = async {
        peer.line().await;
        let second = peer.line().await["id"].as_u64().unwrap();
        peer.send(&format!(r#"{{"id":{second},"code":0,"data":2}}"#))
            .await;
        drop(peer);
    };
    let both = async { tokio::join!(calls, play) };
    let ((first, second), ()) = timeout(PATIENCE, both)
        .await
        .expect("they end with the connection");
    let error = first.unwrap_err();
    assert!(
        error.may_have_run() && error.was_sent() && !error.is_retryable(),
        "{error}"
    );
    assert!(error.connection().is_some());
    assert_eq!(second.unwrap(), 2, "what was answered before is not lost");
}

#[tokio::test]
async fn a_frame_that_did_not_leave_whole_was_not_sent() {
    // The pipe holds 64 KiB, so that the second frame cannot have left.
    let (client, peer) = Peer::new(Config::default());
    let params = "x".repeat(60_000);
    let calls = async {
        let (first, second) = tokio::join!(
            client.call::<_, ()>(100, &params),
            client.call::<_, ()>(100, &params)
        );
        (first.unwrap_err(), second.unwrap_err())
    };
    let lose = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drop(peer);
    };
    let ((first, second), ()) = tokio::join!(calls, lose);
    assert!(first.may_have_run(), "{first}");
    assert!(
        second.is_unreachable() && second.is_retryable() && !second.may_have_run(),
        "{second}"
    );
}

#[tokio::test]
async fn the_next_call_after_a_loss_opens_a_new_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap().to_string());
    for round in 0..3u64 {
        let call = client.call::<_, u64>(100, &());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut line = vec![0; 1000];
            let length = stream.read(&mut line).await.unwrap();
            let request: serde_json::Value = serde_json::from_slice(&line[..length]).unwrap();
            let reply = format!("{{\"id\":{},\"code\":0,\"data\":{round}}}\n", request["id"]);
            stream.write_all(reply.as_bytes()).await.unwrap();
            stream
        };
        let (reply, stream) = tokio::join!(call, serve);
        assert_eq!(reply.unwrap(), round);
        drop(stream);
        // The client sees the end before it calls again.
        let seen = async {
            while client.flush().await.is_ok() && client.is_connected() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, seen).await.expect("it sees the end");
    }
}

#[tokio::test]
async fn a_client_comes_back_by_itself_when_its_server_does() {
    let nowhere = Nowhere::new();
    let address = nowhere.address.to_string();
    let client = Client::new(&address);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call::<_, u64>(100, &json!({"value": 5})).await }
    });
    // The first attempts fail; the server comes up while the call waits.
    tokio::task::yield_now().await;
    let server = rpc_server::Server::builder()
        .listen(&address)
        .router(crate::support::router(Seen::default()))
        .bind()
        .await
        .unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    assert_eq!(waiting.await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn a_drained_server_loses_no_call_of_a_client() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let seen = Seen::default();
    let server = rpc_server::Server::builder()
        .listen("127.0.0.1:0")
        .router(crate::support::router(seen))
        .bind()
        .await
        .unwrap();
    let client = Client::new(server.addresses()[0].to_string());
    let handle = server.handle();
    let serving = tokio::spawn(server.serve(async move {
        let _ = stopped.await;
    }));
    client
        .call::<_, u64>(100, &json!({"value": 1}))
        .await
        .unwrap();
    let params = json!({"value": 2, "ms": 200});
    let slow = client.call::<_, u64>(100, &params);
    let drain = async {
        while handle.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap()
    };
    let both = async { tokio::join!(slow, drain) };
    let (reply, drained) = timeout(PATIENCE, both)
        .await
        .expect("the call begins, is answered, and the drain ends");
    assert_eq!(reply.unwrap(), 2);
    assert!(drained.is_clean && drained.dropped == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_that_drove_the_connection_may_end() {
    let (address, _server) = tcp(Seen::default()).await;
    let client = Client::new(&address);
    let elsewhere = client.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime
            .block_on(elsewhere.call::<_, u64>(100, &json!({"value": 1})))
            .unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 2}))
            .await
            .unwrap(),
        2
    );
}

/// As the system does where a peer has vanished: the error is told once, to writing; reading finds the end.
struct Vanished {
    error: Option<io::Error>,
}

impl AsyncRead for Vanished {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.error.is_none() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl AsyncWrite for Vanished {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self
            .error
            .take()
            .expect("it is not written to after an error")))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_server_that_has_vanished_is_not_said_to_have_closed_the_connection() {
    for (kind, expected) in [
        (
            io::ErrorKind::TimedOut,
            "the connection was lost: timed out",
        ),
        (
            io::ErrorKind::BrokenPipe,
            "the server closed the connection",
        ),
    ] {
        let client = Client::over(
            Vanished {
                error: Some(kind.into()),
            },
            "gone",
            Config::default(),
        );
        let error = client.call::<_, ()>(100, &()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
