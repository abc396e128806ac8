//! `rpc log` as its users have it.

mod append;
mod layer;
mod read;
mod ship;
mod tail;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::Server;

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
