//! Its own log: panics, and text that callers send.

use serde_json::json;

use super::Running;

#[test]
fn a_panic_is_logged_with_its_text_and_the_daemon_lives() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    assert_eq!(peer.ask("{\"id\":1,\"cmdid\":10002}")["code"], 13);
    // Where the program was, and then which command it was.
    for which in ["panicked at ", "a handler panicked cmdid=10002"] {
        let line = daemon.log_line(which);
        assert!(
            line.contains("ERROR") && line.contains("a secret of the handler"),
            "{line}"
        );
    }
    assert_eq!(peer.ask("{\"cmdid\":0,\"params\":1}")["data"], 1);
}

#[test]
fn what_a_caller_sends_cannot_forge_or_colour_the_log() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    let hostile = "\\u001b[31m \u{9b}31m \\n \u{2028} \u{7f} 2026-01-01 ERROR forged";
    assert_eq!(
        peer.ask(&format!("{{\"cmdid\":10000,\"params\":\"{hostile}\"}}")),
        json!({"code": 0})
    );
    let line = daemon.log_line("forged");
    assert!(line.contains(" INFO test peer=127.0.0.1:"), "{line}");
    assert!(
        !line.contains(|c: char| c.is_control() || c == '\u{2028}'),
        "{}",
        line.escape_debug()
    );
    // The parameters of all other commands are private.
    peer.append("a private matter");
    assert_eq!(
        peer.ask("{\"cmdid\":10004,\"params\":{\"a\":\"a private matter\"}}")["code"],
        3
    );
    daemon.signal("TERM");
    drop(peer);
    let (_, log) = daemon.ended();
    assert!(!log.contains("private matter"), "{log}");
}
