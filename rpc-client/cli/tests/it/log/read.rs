//! `rpc log read`.

use serde_json::{Value, json};

use super::{entries, fill, messages};
use crate::support::{Server, command, peer_that_answers, rpc_at};

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
        server.rpc(&["log", "read", "--service", "unknown"]).data(),
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
    assert!(
        wrong.stderr.contains("for example 10m or 2h"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_server_without_the_log_service_is_an_error() {
    let address = peer_that_answers(r#""code":12,"message":"no 1001 here""#);
    rpc_at(&address, &["log", "append", "x"], "").assert(
        1,
        "",
        &format!(
            "rpc: {address}: code 12 UNIMPLEMENTED: no 1001 here\n\
             hint: `rpc describe` lists all commands\n"
        ),
    );
}

#[test]
fn read_prints_the_last_entries_that_pass_in_their_order() {
    let server = Server::start();
    fill(&server, 2_500);
    let check = |arguments: &[&str], first: &str, count: usize| {
        let stdout = server.rpc(&[&["log", "read"], arguments].concat()).data();
        let found = messages(&stdout);
        assert_eq!(
            (found.len(), found[0].as_str()),
            (count, first),
            "{arguments:?}"
        );
        assert!(entries(&stdout).is_sorted_by_key(|entry| entry["seq"].as_u64()));
    };
    check(&["--last", "3"], "number 2498", 3);
    check(&["--last", "1200"], "number 1301", 1_200);
    check(&["--last", "9999"], "number 1", 2_500);
    check(&["--last", "5", "--level", "error"], "number 1000", 2);
    check(
        &["--last", "2", "--service", "even", "--after", "2000"],
        "number 2498",
        2,
    );
    check(&["--last", "9", "--after", "2498"], "number 2499", 2);
    assert_eq!(server.rpc(&["log", "read", "--last", "0"]).data(), "");

    for other in ["--limit=1", "--all"] {
        let wrong = server.rpc(&["log", "read", "--last", "1", other]);
        assert_eq!(wrong.exit, 2, "{other}");
    }
}

#[test]
fn a_field_is_asked_for_as_a_text_or_a_number_or_as_the_number_alone() {
    let server = Server::start();
    for field in ["user=4211", "user:=4211", "user=42110"] {
        let ran = server.rpc(&["log", "append", "--field", field, field]);
        assert_eq!(ran.exit, 0, "{ran:?}");
    }

    let check = |field: &[&str], expected: &[&str]| {
        let stdout = server.rpc(&[&["log", "read"], field].concat()).data();
        assert_eq!(messages(&stdout), expected, "{field:?}");
    };
    check(&["--field", "user=4211"], &["user=4211", "user:=4211"]);
    check(&["--field", "user:=4211"], &["user:=4211"]);
    check(&["--field", "user=4211", "--field", "order=1"], &[]);

    let twice = server.rpc(&["log", "read", "--field", "a=1", "--field", "a=2"]);
    assert!(
        twice.exit == 2 && twice.stderr.contains("`a` twice"),
        "{twice:?}"
    );
}

#[test]
fn stats_are_json_in_a_pipe_and_a_table_for_people() {
    let server = Server::start();
    fill(&server, 3);

    let json: Value = serde_json::from_str(&server.rpc(&["log", "stats"]).data()).unwrap();
    assert_eq!(
        (&json["last"], &json["services"]["odd"]["entries"]),
        (&json!(3), &json!(2))
    );

    let table = server.rpc(&["log", "stats", "--text"]).data();
    assert!(table.contains("entries   1 to 3\n"), "{table}");
    assert!(
        table.contains("\nSERVICE       ENTRIES      BYTES    DROPPED\nodd "),
        "{table}"
    );
}

#[test]
fn times_are_shown_in_the_zone_of_the_environment_or_in_utc() {
    let server = Server::start();
    let call = r#"{"level":"warn","service":"order","message":"m","ts":1700000000123}"#;
    assert_eq!(server.rpc(&["call", "1001", call]).exit, 0);

    let shown = |arguments: &[&str]| {
        let arguments = [&["log", "read", "--text"], arguments].concat();
        let mut command = command(&server.address, &arguments);
        let output = command.env("TZ", "Asia/Tokyo").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(shown(&[]), "2023-11-15 07:13:20.123 warn  order m\n");
    assert_eq!(
        shown(&["--utc"]),
        "2023-11-14T22:13:20.123Z warn  order m\n"
    );
}
