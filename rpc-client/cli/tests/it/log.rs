use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Server, peer, peer_that_answers, peer_that_repeats, rpc_at, start_rpc_at};

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
fn tail_begins_with_the_last_entries_and_follows_until_it_is_interrupted() {
    let server = Server::start();
    fill(&server, 2_500);
    let mut tail = server.start_rpc(&["log", "tail", "-n", "2"]);
    assert_eq!(messages(&tail.next_line()), ["number 2499"]);
    assert_eq!(messages(&tail.next_line()), ["number 2500"]);
    server
        .rpc(&["log", "append", "new"])
        .assert(0, "2501\n", "");
    assert_eq!(messages(&tail.next_line()), ["new"]);
    tail.interrupt();
    tail.finish().assert(0, "", "");
}

#[test]
fn tail_finds_the_last_entries_that_pass_the_filters() {
    let server = Server::start();
    fill(&server, 2_500);
    let check = |arguments: &[&str], expected: &[&str]| {
        let mut tail = server.start_rpc(&[&["log", "tail"], arguments].concat());
        for message in expected {
            assert_eq!(messages(&tail.next_line()), [*message], "{arguments:?}");
        }
        tail.interrupt();
        tail.finish().assert(0, "", "");
    };
    check(&["--level", "error"], &["number 1000", "number 2000"]);
    check(&["-n", "1", "--level", "error"], &["number 2000"]);
    check(
        &["-n", "2", "--service", "even"],
        &["number 2498", "number 2500"],
    );
    check(
        &["-n", "3", "--contains", "number 1"],
        &["number 1997", "number 1998", "number 1999"],
    );
}

#[test]
fn tail_shows_an_impossible_time_as_a_number_and_ends_its_search_at_the_largest_one() {
    let address = peer_that_repeats(
        r#""code":0,"data":{"entries":[{"seq":1,"ts":1700000000000000,"level":"info","service":"s","message":"m"}],"next":18446744073709551615,"log":"a","oldest":1,"last":18446744073709551615}"#,
    );
    let mut tail = start_rpc_at(&address, &["log", "tail", "-n", "0", "--text"]);

    assert_eq!(tail.next_line(), "1700000000000000 info  s: m");

    tail.interrupt();
    let ran = tail.finish();
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
}

#[test]
fn tail_does_not_ask_again_at_once_where_a_server_does_not_wait() {
    let (asked, times) = std::sync::mpsc::channel();
    let address = peer(move |stream| {
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let page = r#""code":0,"data":{"log":"a","entries":[],"next":0,"oldest":1,"last":0}"#;
            if writeln!(&stream, r#"{{"id":{},{page}}}"#, request["id"]).is_err() {
                return;
            }
            let waits = request["params"]["wait_ms"].as_u64().unwrap_or_default() > 0;
            let _ = asked.send((Instant::now(), waits));
        }
    });
    let tail = start_rpc_at(&address, &["log", "tail"]);

    // What it asks for without waiting looks for the end of the log.
    let mut polls = times
        .iter()
        .filter_map(|(time, waits)| waits.then_some(time));
    let first = polls.next().unwrap();
    let fifth = polls.nth(3).unwrap();
    assert!(
        fifth - first >= Duration::from_millis(4 * 180),
        "{:?}",
        fifth - first
    );

    tail.interrupt();
    tail.finish().assert(0, "", "");
}

#[test]
fn tail_of_an_empty_log_waits_for_its_first_entry() {
    let server = Server::start();
    let mut tail = server.start_rpc(&["log", "tail", "--text"]);
    server
        .rpc(&[
            "log", "append", "--level", "warn", "--field", "a=b c", "one\ntwo",
        ])
        .assert(0, "1\n", "");
    let line = tail.next_line();
    assert!(line.ends_with("Z warn  rpc: one\\ntwo a=\"b c\""), "{line}");
    tail.interrupt();
    tail.finish().assert(0, "", "");
}

#[test]
fn tail_goes_on_after_a_restart_of_the_server_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("rpc.sock").display());
    let server = Server::start_at(&address, dir.path());
    server
        .rpc(&["log", "append", "before"])
        .assert(0, "1\n", "");
    let mut tail = server.start_rpc(&["log", "tail"]);
    assert_eq!(messages(&tail.next_line()), ["before"]);
    drop(server);
    let lost = tail.next_error_line();
    assert!(
        lost.starts_with(&format!("rpc: {address}: code 14 UNAVAILABLE: ")),
        "{lost}"
    );
    assert!(lost.ends_with("; trying again until it is back"), "{lost}");
    let server = Server::start_at(&address, dir.path());
    server.rpc(&["log", "append", "after"]).assert(0, "2\n", "");
    assert_eq!(messages(&tail.next_line()), ["after"]);
    assert_eq!(
        tail.next_error_line(),
        format!("rpc: {address}: back, going on behind entry 1")
    );
    tail.interrupt();
    tail.finish().assert(0, "", "");
}

#[test]
fn tail_of_a_log_that_is_replaced_says_what_is_lost_and_shows_the_new_one_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("rpc.sock").display());
    let server = Server::start_at(&address, dir.path());
    fill(&server, 5);
    let mut tail = server.start_rpc(&["log", "tail", "-n", "1"]);
    assert_eq!(messages(&tail.next_line()), ["number 5"]);

    drop(server);
    tail.next_error_line();
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    let server = Server::start_at(&address, dir.path());
    fill(&server, 7);

    for number in 1..=7 {
        assert_eq!(messages(&tail.next_line()), [format!("number {number}")]);
    }
    let lost = format!(
        "rpc: {address}: the log is another one now; what the old one had behind entry 5 is lost; going on with \
         the first entry of the new one, 1"
    );
    assert_eq!(tail.next_error_line(), lost);
    tail.interrupt();
    tail.finish().assert(0, "", "");
}

#[test]
fn tail_says_which_entries_were_deleted_before_it_read_them_and_which_the_log_has_lost() {
    let address = peer(|stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut answer = |is_due: fn(&Value) -> bool, reply: &str| {
            let request: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert!(is_due(&request["params"]), "{request}");
            writeln!(&stream, r#"{{"id":{},{reply}}}"#, request["id"]).unwrap();
        };
        let page = |next: u64, oldest: u64, last: u64| {
            format!(
                r#""code":0,"data":{{"log":"a","entries":[],"next":{next},"oldest":{oldest},"last":{last}}}"#
            )
        };

        answer(|params| params["log"].is_null(), &page(9, 1, 9));
        answer(
            |params| params["log"] == "a" && params["after"] == 9,
            &page(30, 21, 30),
        );
        let lost = r#""code":11,"message":"m","details":{"log":"a","oldest":21,"last":25}"#;
        answer(|params| params["after"] == 30, lost);
        answer(|params| params["after"] == 25, &page(25, 21, 25));
        lines.for_each(drop);
    });
    let mut tail = start_rpc_at(&address, &["log", "tail", "-n", "0"]);

    assert_eq!(
        [tail.next_error_line(), tail.next_error_line()],
        [
            format!("rpc: {address}: entries 10 to 20 were deleted before they were read"),
            format!(
                "rpc: {address}: the log ends with entry 25: entries 26 to 30 are lost; going on behind entry 25"
            ),
        ]
    );
    tail.interrupt();
    tail.finish().assert(0, "", "");
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

/// Appends `number 1` to `number COUNT`, each thousandth of them an error, by `odd` and `even`.
fn fill(server: &Server, count: u64) {
    let mut requests = String::new();
    for number in 1..=count {
        let level = if number % 1_000 == 0 { "error" } else { "info" };
        let service = if number % 2 == 0 { "even" } else { "odd" };
        let params =
            json!({"level": level, "service": service, "message": format!("number {number}")});
        writeln!(requests, "{}", json!({"cmdid": 1001, "params": params})).unwrap();
    }
    let replies = server.rpc_with_input(&["pipe"], requests).data();
    assert_eq!(replies.lines().count() as u64, count);
}

/// The entries without their time.
fn entries(stdout: &str) -> Vec<Value> {
    let entry = |line| {
        let mut entry: Value = serde_json::from_str(line).unwrap();
        assert!(
            entry
                .as_object_mut()
                .unwrap()
                .remove("ts")
                .is_some_and(|ts| ts.is_u64())
        );
        entry
    };
    stdout.lines().map(entry).collect()
}

fn messages(stdout: &str) -> Vec<String> {
    entries(stdout)
        .iter()
        .map(|entry| entry["message"].as_str().unwrap().to_owned())
        .collect()
}
