//! `rpc log append`.

use serde_json::json;

use super::{entries, messages};
use crate::support::{Server, peer_that_repeats, rpc_at};

#[test]
fn append_prints_the_number_of_the_entry_and_read_prints_it_as_it_is_stored() {
    let server = Server::start();
    server
        .rpc(&["log", "append", "backup done"])
        .assert(0, "1\n", "");
    let whole = [
        "--level",
        "warn",
        "--service",
        "order",
        "--trace",
        "4bf9",
        "--field",
        "user=4211",
    ];
    let whole = [
        &["log", "append"],
        &whole[..],
        &["--field", "amount:=9.5", "refused"],
    ]
    .concat();
    server.rpc(&whole).assert(0, "2\n", "");
    let entries = entries(&server.rpc(&["log", "read"]).data());
    assert_eq!(
        entries,
        [
            json!({"seq": 1, "level": "info", "service": "rpc", "message": "backup done"}),
            json!({"seq": 2, "level": "warn", "service": "order", "message": "refused", "trace": "4bf9",
                   "fields": {"user": "4211", "amount": 9.5}}),
        ]
    );
}

#[test]
fn fields_are_stored_as_they_were_given() {
    let server = Server::start();
    let fields = [
        "--field",
        "order:=12345678901234567890123",
        "--field",
        "price:=1.50",
        "--field",
        "a:={\"x\":1, \"x\":2}",
    ];
    server
        .rpc(&[&["log", "append"], &fields[..], &["paid"]].concat())
        .assert(0, "1\n", "");

    let stdout = server.rpc(&["log", "read"]).data();
    let stored = r#""fields":{"order":12345678901234567890123,"price":1.50,"a":{"x":1, "x":2}}"#;
    assert!(stdout.contains(stored), "{stdout}");
}

#[test]
fn each_line_of_standard_input_is_an_entry_in_order() {
    let server = Server::start();
    let ran = server.rpc_with_input(
        &["log", "append", "--service", "build", "-"],
        b"one\r\ntwo\n\n\xff four",
    );
    ran.assert(0, "1\n2\n3\n4\n", "");
    let stdout = server.rpc(&["log", "read", "--service", "build"]).data();
    assert_eq!(messages(&stdout), ["one", "two", "", "\u{fffd} four"]);
}

#[test]
fn a_line_that_fails_is_reported_and_counted_and_the_others_are_written() {
    let server = Server::start();
    let too_long = "x".repeat(2 << 20);

    let ran = server.rpc_with_input(&["log", "append", "-"], format!("one\n{too_long}\ntwo\n"));

    let lines: Vec<&str> = ran.stderr.lines().collect();
    let [reported, counted] = lines.as_slice() else {
        panic!("{}", ran.stderr);
    };
    let address = &server.address;
    assert!(
        reported.starts_with(&format!(
            "rpc: line 2: {address}: code 8 RESOURCE_EXHAUSTED: "
        )),
        "{reported}"
    );
    assert_eq!(*counted, format!("rpc: {address}: 1 of 3 lines failed"));
    assert_eq!((ran.exit, ran.stdout.as_str()), (1, "1\n2\n"));
    assert_eq!(
        messages(&server.rpc(&["log", "read"]).data()),
        ["one", "two"]
    );
}

#[test]
fn a_line_without_an_end_in_sight_is_not_kept_and_the_next_one_is_written() {
    let server = Server::start();
    let endless = "x".repeat((8 << 20) + 100_000);

    let ran = server.rpc_with_input(
        &["log", "append", "-"],
        format!("{endless}\ntwo\n{endless}"),
    );

    let stderr = format!(
        "rpc: line 1: not sent: it is longer than 8388608 bytes\n\
         rpc: line 3: not sent: it is longer than 8388608 bytes\n\
         rpc: {}: 2 of 3 lines failed\n",
        server.address
    );
    ran.assert(2, "1\n", &stderr);
    assert_eq!(messages(&server.rpc(&["log", "read"]).data()), ["two"]);
}

#[test]
fn the_lines_of_a_peer_that_refuses_them_all_are_reported_up_to_a_limit() {
    let address = peer_that_repeats(r#""code":12,"message":"no""#);

    let ran = rpc_at(&address, &["log", "append", "-"], "x\n".repeat(100));

    assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 12, "{}", ran.stderr);
    assert!(lines[9].starts_with("rpc: line 10: "), "{}", lines[9]);
    assert_eq!(lines[10], "rpc: further lines that fail are counted");
    assert_eq!(
        lines[11],
        format!("rpc: {address}: 100 of 100 lines failed")
    );
}
