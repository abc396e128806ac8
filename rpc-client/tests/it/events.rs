//! Connection events, and byte streams of the user's own.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use rpc_client::{Client, Config, ConnectionEvent};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use crate::support::{Seen, router};

/// A connector to servers that live in memory, one for each connection, and the ends that they hold.
fn in_memory(ends: &Arc<Mutex<Vec<DuplexStream>>>) -> impl rpc_client::Connect + use<> {
    let ends = Arc::clone(ends);
    move |_address: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        ends.lock().unwrap().push(theirs);
        std::future::ready(Ok(ours))
    }
}

#[tokio::test]
async fn a_connector_opens_the_streams_and_is_asked_again_after_a_failure() {
    let server = rpc_server::Server::builder()
        .router(router(Seen::default()))
        .bind()
        .await
        .unwrap();
    let handle = server.handle();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let connect = move |address: String| {
        let (handle, is_first) = (handle.clone(), count.fetch_add(1, Ordering::SeqCst) == 0);
        async move {
            assert_eq!(address, "whatever it is called");
            if is_first {
                return Err(io::Error::other("not yet"));
            }
            let (ours, theirs) = tokio::io::duplex(1024);
            tokio::spawn(handle.serve_connection(theirs, "memory"));
            Ok(ours)
        }
    };
    let client = Client::builder("whatever it is called")
        .connector(connect)
        .build();
    assert_eq!(
        client
            .call::<_, u64>(100, &json!({"value": 7}))
            .await
            .unwrap(),
        7
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn events_tell_of_each_connection_its_beginning_its_goaway_and_its_end() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let client = Client::builder("a").connector(in_memory(&ends)).build();
    let mut events = client.events();
    client.connect().await.unwrap();
    let Some(ConnectionEvent::Connected {
        address,
        connection,
    }) = events.next().await
    else {
        panic!()
    };
    assert_eq!(&*address, "a");

    let mut end = ends.lock().unwrap().pop().unwrap();
    end.write_all(b"{\"event\":\"goaway\",\"message\":\"moving\"}\n")
        .await
        .unwrap();
    let goaway = ConnectionEvent::Goaway {
        address: address.clone(),
        connection,
        message: "moving".into(),
    };
    assert_eq!(events.next().await, Some(goaway));
    let reason = "the connection was closed by this side".into();
    let gone = ConnectionEvent::Disconnected {
        address: address.clone(),
        connection,
        reason,
    };
    assert_eq!(events.next().await, Some(gone));

    client.connect().await.unwrap();
    let Some(ConnectionEvent::Connected {
        connection: second, ..
    }) = events.next().await
    else {
        panic!()
    };
    assert!(second > connection);
    drop(ends.lock().unwrap().pop());
    let Some(ConnectionEvent::Disconnected {
        reason, connection, ..
    }) = events.next().await
    else {
        panic!()
    };
    assert_eq!(
        (connection, &*reason),
        (second, "the server closed the connection")
    );

    drop(client);
    assert_eq!(events.next().await, None, "the events end with the client");
}

#[tokio::test]
async fn a_slow_reader_of_events_is_told_how_many_it_missed() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let config = Config::default().with(|config| {
        config.limits.events_max = 4;
        // None of these connections serves a call; the next one still comes at once.
        config.reconnect.base_ms = 0;
    });
    let client = Client::builder("a")
        .config(config)
        .connector(in_memory(&ends))
        .build();
    let mut events = client.events();
    for _ in 0..5 {
        client.connect().await.unwrap();
        let mut end = BufReader::new(ends.lock().unwrap().pop().unwrap());
        end.write_all(b"{\"event\":\"goaway\",\"message\":\"x\"}\n")
            .await
            .unwrap();
        // The client closes a connection that it is done with.
        assert_eq!(end.read_line(&mut String::new()).await.unwrap(), 0);
    }
    let Some(ConnectionEvent::Missed { events: missed }) = events.next().await else {
        panic!()
    };
    drop(client);
    assert_eq!((missed, events.count().await), (5 * 3 - 4, 4));
}
