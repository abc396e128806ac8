//! `rpc log read`.

use serde_json::json;

use super::{entries, fill, messages};
use crate::support::{Server, peer_that_answers, rpc_at};

#[test]
fn read_pages_as_far_as_it_is_asked_to() {
    let server = Server::start();
    fill(&server, 2_500);
    let check = |arguments: &[&str], first: u64, count: usize| {
        let stdout = server.rpc(&[&["log", "read"], arguments].concat()).data();
        let entries = entries(&stdout);
        assert_eq!(
            (entries.len(), &entries[0]["seq"]),
            (count, &json!(first)),
            "{arguments:?}"
        );
    };
    check(&[], 1, 100);
    check(&["--limit", "1"], 1, 1);
    check(&["--limit", "1500"], 1, 1_500);
    check(&["--after", "2000", "--limit", "1000"], 2_001, 500);
    check(&["--all"], 1, 2_500);
    check(&["--all", "--after", "17"], 18, 2_483);
    check(&["--all", "--level", "error"], 1_000, 2);
    check(&["--service", "even", "--limit", "3"], 2, 3);
    check(&["--contains", "number 249", "--all"], 249, 11);
    assert_eq!(
        server.rpc(&["log", "read", "--service", "nobody"]).data(),
        ""
    );
}

#[test]
fn read_finds_entries_by_text_trace_and_time() {
    let server = Server::start();
    let append = |arguments: &[&str]| {
        let ran = server.rpc(&[&["log", "append"], arguments].concat());
        assert_eq!(ran.exit, 0, "{ran:?}");
    };
    append(&["--trace", "4bf9", "one"]);
    append(&["--field", "user=anna", "two"]);
    append(&["three"]);

    let check = |arguments: &[&str], expected: &[&str]| {
        let stdout = server.rpc(&[&["log", "read"], arguments].concat()).data();
        assert_eq!(messages(&stdout), expected, "{arguments:?}");
    };
    check(&["--anywhere", "anna"], &["two"]);
    check(&["--anywhere", "t"], &["two", "three"]);
    check(&["--trace", "4bf9"], &["one"]);
    check(&["--since", "1h"], &["one", "two", "three"]);
    check(&["--until", "1h"], &[]);
    check(
        &[
            "--since",
            "2026-01-05T10:20:30Z",
            "--until",
            "2026-01-05 10:20:31",
        ],
        &[],
    );

    let wrong = server.rpc(&["log", "read", "--since", "yesterday"]);
    assert_eq!(wrong.exit, 2);
    assert!(wrong.stderr.contains("as 10m or 2h"), "{}", wrong.stderr);
}

#[test]
fn a_server_without_the_log_service_is_an_error() {
    let address = peer_that_answers(r#""code":12,"message":"no 1001 here""#);
    rpc_at(&address, &["log", "append", "x"], "").assert(
        1,
        "",
        &format!(
            "rpc: {address}: code 12 UNIMPLEMENTED: no 1001 here\n\
             hint: `rpc describe` lists the commands that there are\n"
        ),
    );
}
