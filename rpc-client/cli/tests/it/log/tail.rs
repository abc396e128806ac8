//! `rpc log tail`.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{fill, messages};
use crate::support::{Server, peer, peer_that_repeats, rpc_at, start_rpc_at};

#[test]
fn tail_begins_with_the_last_entries_and_follows_until_it_is_interrupted() {
    let server = Server::start();
    fill(&server, 2_500);
    let mut tail = server.start_rpc(&["log", "tail", "-f", "-n", "2"]);
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
        let stdout = server.rpc(&[&["log", "tail"], arguments].concat()).data();
        assert_eq!(messages(&stdout), expected, "{arguments:?}");
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
    check(&["-n", "0"], &[]);
    check(&["-n", "3", "--contains", "nothing"], &[]);
}

#[test]
fn tail_shows_an_impossible_time_as_a_number_and_ends_its_search_where_a_page_leads_nowhere() {
    let address = peer_that_repeats(
        r#""code":0,"data":{"entries":[{"seq":1,"ts":1700000000000000,"level":"info","service":"s","message":"m"}],"next":18446744073709551615,"log":"a","oldest":1,"last":18446744073709551615,"more":true}"#,
    );

    let ran = rpc_at(&address, &["log", "tail", "-n", "5", "--text"], "");

    ran.assert(0, "1700000000000000 info  s m\n", "");
}

#[test]
fn tail_does_not_ask_again_at_once_where_a_server_ends_its_streams() {
    let (asked, times) = std::sync::mpsc::channel();
    let address = peer(move |stream| {
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
            // Before the answer: the client cannot have begun to wait earlier.
            let came_at = Instant::now();
            let data = match request["cmdid"] == 1006 {
                true => "",
                false => r#","data":{"log":"a","entries":[],"next":0,"oldest":1,"last":0}"#,
            };
            if writeln!(&stream, r#"{{"id":{},"code":0{data}}}"#, request["id"]).is_err() {
                return;
            }
            let _ = asked.send((came_at, request["cmdid"] == 1006));
        }
    });
    let tail = start_rpc_at(&address, &["log", "tail", "-f"]);

    let mut streams = times
        .iter()
        .filter_map(|(time, is_stream)| is_stream.then_some(time));
    let first = streams.next().unwrap();
    let fifth = streams.nth(3).unwrap();
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
    let mut tail = server.start_rpc(&["log", "tail", "-f", "--text", "--utc"]);
    server
        .rpc(&[
            "log", "append", "--level", "warn", "--field", "a=b c", "one\ntwo",
        ])
        .assert(0, "1\n", "");
    let line = tail.next_line();
    assert!(line.ends_with("Z warn  rpc one\\ntwo a=\"b c\""), "{line}");
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
    let mut tail = server.start_rpc(&["log", "tail", "-f"]);
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
    let mut tail = server.start_rpc(&["log", "tail", "-f", "-n", "1"]);
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
        "rpc: {address}: the server has another log now; entries of the old log after entry 5 are lost; continuing \
         with the first entry of the new log, 1"
    );
    assert_eq!(tail.next_error_line(), lost);
    tail.interrupt();
    tail.finish().assert(0, "", "");
}

#[test]
fn tail_says_which_entries_were_deleted_before_it_read_them_and_which_the_log_has_lost() {
    let address = peer(|stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut answer = |is_due: fn(&Value) -> bool, replies: &[&str]| {
            let request: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            assert!(is_due(&request["params"]), "{request}");
            for reply in replies {
                writeln!(&stream, r#"{{"id":{},{reply}}}"#, request["id"]).unwrap();
            }
        };

        let page = r#""code":0,"data":{"log":"a","entries":[],"next":9,"oldest":1,"last":9}"#;
        answer(|params| params["log"].is_null(), &[page]);
        let item = r#""code":0,"more":true,"data":{"log":"a","entries":[],"next":30,"lost":11}"#;
        let stops = r#""code":14,"message":"stops""#;
        answer(
            |params| params["log"] == "a" && params["after"] == 9,
            &[item, stops],
        );
        let lost = r#""code":11,"message":"m","details":{"log":"a","oldest":21,"last":25}"#;
        answer(|params| params["after"] == 30, &[lost]);
        let item = r#""code":0,"more":true,"data":{"log":"a","entries":[],"next":25}"#;
        answer(|params| params["after"] == 25, &[item]);
        lines.for_each(drop);
    });
    let mut tail = start_rpc_at(&address, &["log", "tail", "-f", "-n", "0"]);

    let said = [(); 3].map(|()| tail.next_error_line());
    assert_eq!(
        said[0],
        format!("rpc: {address}: 11 entries after entry 9 were deleted before they were read")
    );
    assert!(
        said[1].contains("code 14 UNAVAILABLE: stops"),
        "{}",
        said[1]
    );
    assert_eq!(
        said[2],
        format!(
            "rpc: {address}: the log ends with entry 25: entries 26 to 30 are lost; continuing after entry 25"
        )
    );
    tail.interrupt();
    tail.finish().assert(0, "", "");
}
