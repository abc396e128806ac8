//! `rpc log tail`.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{fill, messages};
use crate::support::{Server, peer, peer_that_repeats, start_rpc_at};

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
        format!("rpc: {address}: back, continuing after entry 1")
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
                "rpc: {address}: the log ends with entry 25: entries 26 to 30 are lost; continuing after entry 25"
            ),
        ]
    );
    tail.interrupt();
    tail.finish().assert(0, "", "");
}
