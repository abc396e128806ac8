//! The end: signals, a drain, a kill.

use serde_json::json;

use super::{Running, command};

#[test]
fn sigterm_drains_and_a_call_in_flight_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    // It goes on once it is given credit.
    let first = peer.ask("{\"id\":1,\"cmdid\":10005,\"credit\":1,\"params\":{\"n\":2}}");
    assert_eq!(first["data"], json!({"i": 0}));
    peer.send("{\"id\":2,\"cmdid\":1002,\"params\":{\"wait_ms\":25000}}");
    assert_eq!(
        peer.ask("{\"id\":3,\"cmdid\":0}")["id"],
        3,
        "both others run"
    );
    daemon.signal("TERM");
    daemon.log_line("SIGTERM: draining");
    // The long poll ends; what comes behind the notice is too late.
    let mut lines = vec![peer.line()];
    while !lines
        .iter()
        .any(|line| line.starts_with("{\"event\":\"goaway\","))
    {
        lines.push(peer.line());
    }
    peer.send("{\"id\":4,\"cmdid\":10004,\"params\":{\"a\":1,\"b\":2}}");
    lines.resize_with(3, || peer.line());
    lines.sort_unstable();
    assert!(lines[0].starts_with("{\"event\":\"goaway\","), "{lines:?}");
    assert!(
        lines[1].starts_with("{\"id\":2,\"code\":0,\"data\":{\"log\":\"")
            && lines[1].ends_with("\"entries\":[],\"next\":0,\"oldest\":1,\"last\":0}}"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("{\"id\":4,\"code\":14,") && lines[2].contains("\"rejected\":true"),
        "{lines:?}"
    );

    peer.send("{\"cmdid\":5,\"params\":{\"id\":1,\"n\":1}}");
    assert_eq!(
        peer.line(),
        "{\"id\":1,\"code\":0,\"more\":true,\"data\":{\"i\":1}}"
    );
    assert_eq!(peer.line(), "{\"id\":1,\"code\":0}");
    assert_eq!(peer.line(), "", "then the end");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped connections=1 dropped=0"), "{log}");
}

#[test]
fn sigint_drains_as_well() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let peer = daemon.connect();
    daemon.signal("INT");
    daemon.log_line("SIGINT: draining");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_second_signal_stops_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut command = command();
    command
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path());
    // Longer than this test waits for the end.
    command.env("RPC_SERVER_DRAIN_TIMEOUT_MS", "600000");
    command.env("RPC_SERVER_SERVICES", "conformance");
    let mut daemon = Running::spawn(command);
    let mut peer = daemon.connect();
    peer.send("{\"id\":1,\"cmdid\":10001,\"params\":{\"ms\":600000}}");
    assert_eq!(peer.ask("{\"id\":2,\"cmdid\":0}")["id"], 2);
    daemon.signal("TERM");
    daemon.log_line("SIGTERM: draining");
    daemon.signal("TERM");
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("SIGTERM again: stopped at once"), "{log}");
}

#[test]
fn entries_survive_a_restart_and_a_kill() {
    let data = tempfile::tempdir().unwrap();
    for (round, signal) in [(0, "TERM"), (1, "KILL"), (2, "KILL")] {
        let mut daemon = Running::start(data.path(), &[]);
        let mut peer = daemon.connect();
        assert_eq!(peer.append(&format!("entry {round}")), round + 1);
        daemon.signal(signal);
        let (status, log) = daemon.ended();
        assert_eq!(status.success(), signal == "TERM", "{log}");
    }
    let mut daemon = Running::start(data.path(), &[]);
    assert_eq!(
        daemon.connect().messages(),
        ["entry 0", "entry 1", "entry 2"]
    );
}
