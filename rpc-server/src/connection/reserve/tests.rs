//! Tests of the requests that a full server lets through.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::limit::Seats;

/// What a sieve lets through of these pieces, and how it ends.
async fn sift(pieces: &[&str]) -> (String, State) {
    let seats = Arc::new(Seats::new(1, 1));
    let seat = seats.take(None::<IpAddr>).unwrap();
    let (mut near, mut far) = tokio::io::duplex(64 * 1024);
    let mut sieve = Sieve::new(&mut far, seat.settled());
    let mut passed = String::new();

    for piece in pieces {
        near.write_all(piece.as_bytes()).await.unwrap();
    }
    drop(near);
    sieve.read_to_string(&mut passed).await.unwrap();
    (passed, sieve.state)
}

#[tokio::test]
async fn only_built_in_commands_and_pages_pass() {
    let ping = "{\"cmdid\":0}\n";
    let stats = "{\"id\":7,\"cmdid\":3}\n";
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let long = format!("{{\"cmdid\":0,\"params\":\"{}\"}}\n", "x".repeat(9_000));

    for (pieces, passed, state) in [
        (
            &[ping, stats][..],
            "{\"cmdid\":0}\n{\"id\":7,\"cmdid\":3}\n",
            State::Ended,
        ),
        (&["{\"cm", "did\":0}\n"], ping, State::Ended),
        (&[ping, "{\"cmdid\":100}\n", stats], ping, State::Refused),
        (
            &["{\"cmdid\":4,\"params\":{\"id\":1}}\n"],
            "",
            State::Refused,
        ),
        (&["\n"], "", State::Refused),
        (&["no JSON\n"], "", State::Refused),
        (&[&long], "", State::Refused),
        (
            &["G", "ET /healthz HTTP/1.1\r\n", "Host: localhost\r\n\r\n"],
            get,
            State::Ended,
        ),
        (
            &["GET / HTTP/1.1\n\n", "GET / HTTP/1.1\n\n"],
            "GET / HTTP/1.1\n\n",
            State::Ended,
        ),
        (&["POST / HTTP/1.1\r\n\r\n"], "", State::Refused),
        (&[ping, "GET / HTTP/1.1\r\n\r\n"], ping, State::Refused),
    ] {
        let (came, ended) = sift(pieces).await;
        assert_eq!(came, passed, "{pieces:?}");
        assert_eq!(ended, state, "{pieces:?}");
    }
}
