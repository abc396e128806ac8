//! Sockets that are handed over, as systemd does it.

use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use serde_json::json;

use super::{PATIENCE, Peer, Running, output};

#[test]
fn restarts_with_a_socket_that_is_handed_over_refuse_no_connection() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Connects, asks and closes, again and again, whether there is a daemon or not.
    let (stop, stopped) = channel::<()>();
    let caller = thread::spawn(move || {
        let mut answers = Vec::new();
        while stopped.try_recv() != Err(TryRecvError::Disconnected) {
            let stream = TcpStream::connect(address).expect("it is never refused");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut peer = Peer(BufReader::new(stream));
            let mut answer = peer.ask("{\"id\":1,\"cmdid\":10000}");
            if answer["event"] == "goaway" {
                answer = serde_json::from_str(&peer.line()).unwrap();
            }
            assert!(
                answer["code"] == 0 || answer["rejected"] == true,
                "{answer}"
            );
            answers.push(answer);
        }
        answers
    });
    for _ in 0..4 {
        let mut daemon = Running::inherit(&listener, data.path());
        assert_eq!(daemon.address(), address.to_string());
        let mut peer = Peer(BufReader::new(TcpStream::connect(address).unwrap()));
        assert_eq!(
            peer.ask("{\"cmdid\":0,\"params\":1}"),
            json!({"code": 0, "data": 1})
        );
        daemon.signal("TERM");
        let (status, log) = daemon.ended();
        assert!(status.success(), "{log}");
    }
    // The caller waits for the next daemon by now.
    let _last = Running::inherit(&listener, data.path());
    drop(stop);
    let answers = caller.join().unwrap();
    assert!(
        answers.iter().any(|answer| answer["code"] == 0),
        "{} answers",
        answers.len()
    );
}

#[test]
fn an_inherited_connection_stops_the_start_with_what_to_set() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

    let (status, log) = Running::inherit_socket(OwnedFd::from(connection), data.path()).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("set `Accept=no` in the socket unit"), "{log}");
}

#[test]
fn what_is_to_be_inherited_and_is_not_there_stops_the_start() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let (output, _, log) = output(&["--listen", "inherited", "--data-dir", data], &[]);
    assert!(
        !output.status.success() && log.contains("`LISTEN_FDS` names none"),
        "{log}"
    );
}
