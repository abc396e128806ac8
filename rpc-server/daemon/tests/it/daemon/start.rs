//! The start: where it listens, and what keeps it from starting.

use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::{PATIENCE, Peer, Running, output};

#[test]
fn it_says_where_it_listens_in_text_and_in_json() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    assert_eq!(
        daemon.connect().ask("{\"cmdid\":0,\"params\":1}"),
        json!({"code": 0, "data": 1})
    );
    let line = daemon.seen.pop().unwrap();
    assert!(
        line.contains(" INFO listening on 127.0.0.1:") && !line.contains('\u{1b}'),
        "{line}"
    );
    drop(daemon);
    let mut daemon = Running::start(data.path(), &["--log-format", "json"]);
    assert_eq!(
        daemon.connect().ask("{\"cmdid\":0,\"params\":1}"),
        json!({"code": 0, "data": 1})
    );
    let line: Value = serde_json::from_str(&daemon.seen.pop().unwrap()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("listening on 127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn its_version_names_the_program() {
    let (printed, stdout, _) = output(&["--version"], &[]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(stdout.starts_with("rpc-server "), "{stdout}");
}

#[test]
fn a_second_daemon_on_one_data_directory_says_why_it_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Running::start(data.path(), &[]);
    let mut peer = first.connect();
    let (status, log) = Running::start(data.path(), &[]).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("is in use: another daemon holds its lock") && log.contains("ERROR"),
        "{log}"
    );
    assert!(
        log.contains(data.path().to_str().unwrap()) && !log.contains("listening"),
        "{log}"
    );
    assert_eq!(peer.append("the first one goes on"), 1);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, log) = Running::start_on(&["--listen", &address], data.path(), &[]).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains(&format!("cannot listen on {address}: ")),
        "{log}"
    );
}

#[test]
fn a_unix_socket_is_served_and_what_a_killed_daemon_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rpc.sock");
    let listen = format!("unix:{}", path.display());
    for signal in ["KILL", "TERM"] {
        let mut daemon = Running::start_on(&["--listen", &listen], directory.path(), &[]);
        assert_eq!(daemon.address(), listen);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(
            Peer(BufReader::new(stream)).ask("{\"cmdid\":0,\"params\":1}")["data"],
            1
        );
        // A second daemon leaves a living one alone.
        let other = directory.path().join("other");
        let (status, log) = Running::start_on(&["--listen", &listen], &other, &[]).ended();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(
            log.contains(&listen) && log.contains("another process listens there"),
            "{log}"
        );
        daemon.signal(signal);
        daemon.ended();
        assert_eq!(path.exists(), signal == "KILL");
    }
}

#[test]
fn it_listens_on_every_address_that_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", directory.path().join("s").display());
    let listen = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &unix,
        "--listen",
        "127.0.0.1:0",
    ];
    let mut daemon = Running::start_on(&listen, directory.path(), &[]);
    let addresses = [daemon.address(), daemon.address(), daemon.address()];
    assert_eq!(addresses[1], unix);
    for address in [&addresses[0], &addresses[2]] {
        let mut peer = Peer(BufReader::new(TcpStream::connect(address).unwrap()));
        assert_eq!(peer.ask("{\"cmdid\":0,\"params\":1}")["data"], 1);
    }
}
