//! Streams of a server that is away for some seconds.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::StreamExt;
use rpc_client::{BoxService, CallOptions, Client, Code, Service, layers};
use rpc_server::{Router, Server};
use tokio::time::Instant;

use super::breaking::Breaking;
use super::{Counting, NumbersClient, NumbersServer};

/// The first connection to a server that cannot be reached for ten seconds.
#[derive(Clone, Copy, PartialEq)]
enum First {
    /// It is made, and breaks: the ten seconds begin.
    Breaks,
    /// It cannot be made: the ten seconds have begun already.
    Fails,
}

/// A client of a server that is away for ten seconds.
async fn client_of_a_server_that_is_away(first: First) -> Client {
    let router = Router::new().serve(NumbersServer(Counting)).unwrap();
    let server = Server::builder().router(router).bind().await.unwrap();
    let handle = server.handle();
    let begun = Mutex::new((first == First::Fails).then(Instant::now));

    let connect = move |_: String| {
        let mut begun = begun.lock().unwrap();
        if begun.is_some_and(|begun| begun.elapsed().as_secs() < 10) {
            return std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }

        begun.get_or_insert_with(Instant::now);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let breaking = Breaking {
            io: theirs,
            left: 600,
            breaks: Arc::default(),
        };
        tokio::spawn(handle.serve_connection(breaking, "test"));
        std::future::ready(Ok(ours))
    };
    Client::builder("far").connector(connect).build()
}

/// Reads a stream whose server is away for ten seconds.
async fn check_that_it_comes_back(service: impl Service) {
    let begun = Instant::now();
    let numbers = NumbersClient::new(service);
    let mut items = numbers.follow(0, 40).await.unwrap();
    for wanted in 1..=40 {
        assert_eq!(items.next().await.unwrap().unwrap().n, wanted);
    }

    assert!(items.next().await.is_none());
    assert!(begun.elapsed().as_secs() >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_when_its_server_was_away_for_some_seconds() {
    check_that_it_comes_back(client_of_a_server_that_is_away(First::Breaks).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_when_its_server_was_away_at_its_first_call() {
    check_that_it_comes_back(client_of_a_server_that_is_away(First::Fails).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_begun_fails_at_its_deadline() {
    let client = client_of_a_server_that_is_away(First::Fails).await;
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let numbers = NumbersClient::new(client).with(options);
    let begun = Instant::now();

    let failure = numbers.follow(0, 40).await.unwrap_err();
    assert_eq!(failure.code(), Code::DEADLINE_EXCEEDED);
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_resumable_fails_when_it_cannot_be_begun() {
    let client = client_of_a_server_that_is_away(First::Fails).await;
    let begun = Instant::now();

    let failure = NumbersClient::new(client).once(0, 40).await.unwrap_err();
    assert_eq!(failure.code(), Code::UNAVAILABLE);
    assert!(begun.elapsed().as_secs() < 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_behind_layers_has_the_back_off_of_its_client() {
    let client = client_of_a_server_that_is_away(First::Breaks).await;
    let layered = client
        .layer(layers::Timeout::new(Duration::from_secs(5)))
        .layer(layers::Retry::new(&rpc_client::Config::default()))
        .layer(layers::Trace);
    check_that_it_comes_back(BoxService::new(layered)).await;
}
