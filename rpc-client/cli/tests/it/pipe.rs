use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::support::Server;

#[test]
fn ordered_requests_keep_their_order() {
    const COUNT: u64 = 100_000;
    let mut requests = String::new();
    let mut replies = String::new();
    for number in 0..COUNT {
        writeln!(requests, r#"{{"cmdid":0,"params":{number}}}"#).unwrap();
        writeln!(replies, r#"{{"code":0,"data":{number}}}"#).unwrap();
    }
    let stdout = Server::start().rpc_with_input(&["pipe"], requests).data();
    assert!(
        stdout == replies,
        "{} of {COUNT} lines",
        stdout.lines().count()
    );
}

#[test]
fn each_reply_carries_the_id_of_its_line() {
    const COUNT: u64 = 10_000;
    let mut requests = String::new();
    for id in 0..COUNT {
        writeln!(
            requests,
            r#"{{"id":{id},"cmdid":10004,"params":{{"a":{id},"b":1}}}}"#
        )
        .unwrap();
    }
    let stdout = Server::start().rpc_with_input(&["pipe"], requests).data();
    let mut seen = BTreeSet::new();
    for line in stdout.lines() {
        let reply: Value = serde_json::from_str(line).unwrap();
        let id = reply["id"].as_u64().unwrap();
        assert_eq!(reply["data"]["sum"], id + 1, "{line}");
        seen.insert(id);
    }
    assert_eq!(seen.len() as u64, COUNT);
}

#[test]
fn a_request_that_fails_is_a_reply_and_exit_code_1() {
    let server = Server::start();
    let requests = "{\"id\":1,\"cmdid\":10006,\"params\":{\"code\":1042,\"message\":\"x\"}}\n\
                    \n\
                    {\"id\":2,\"cmdid\":10000,\"oneway\":true}\n\
                    {\"id\":3}\n";
    let ran = server.rpc_with_input(&["pipe"], requests);
    let replies: BTreeSet<&str> = ran.stdout.lines().collect();
    let mut replies = replies.into_iter();
    assert_eq!(
        replies.next(),
        Some(r#"{"id":1,"code":1042,"message":"x"}"#)
    );
    assert!(replies.next().is_some_and(|reply| {
        reply.starts_with(r#"{"id":3,"code":3,"message":"`cmdid` is missing"#)
    }));
    assert_eq!(replies.next(), None);
    let summary = format!(
        "rpc: {}: 2 requests, 2 replies, 2 failures\n",
        server.address
    );
    assert_eq!((ran.exit, ran.stderr), (1, summary));
}

#[test]
fn an_empty_input_is_done_at_once_and_a_last_line_needs_no_line_break() {
    let server = Server::start();
    server.rpc_with_input(&["pipe"], "").assert(0, "", "");
    server
        .rpc_with_input(&["pipe"], r#"{"cmdid":0}"#)
        .assert(0, "{\"code\":0,\"data\":{}}\n", "");
}

#[test]
fn the_timeout_is_that_of_requests_without_their_own() {
    let server = Server::start();
    let requests = "{\"id\":1,\"cmdid\":10001,\"params\":{\"ms\":60000}}\n";
    let ran = server.rpc_with_input(&["pipe", "--timeout", "50ms"], requests);
    assert_eq!(ran.exit, 1);
    assert!(
        ran.stdout.starts_with(r#"{"id":1,"code":4,"#),
        "{}",
        ran.stdout
    );
}
