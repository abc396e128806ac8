//! Params that are refused, with what would be right.

use rpc_core::api::log::{
    CONTAINS_BYTES_MAX, LEVEL_BYTES_MAX, LOG_BYTES_MAX, SERVICE_BYTES_MAX, TEXT_BYTES_MAX,
    TRACE_BYTES_MAX,
};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use super::{APPEND, READ, Serving, append, line, read};
use crate::support::Client;

#[tokio::test]
async fn a_time_in_microseconds_is_refused_in_words() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let ts = 1_700_000_000_000_000_u64;
    let entry = json!({"level": "info", "service": "s", "message": "m", "ts": ts});

    let reply = client.ask(&line(APPEND, &entry)).await;
    let message = "`params.ts`: 1700000000000000 is after the year 9999: `ts` is in milliseconds since 1970, and this \
                   seems to be in microseconds; divide it by 1000";
    assert_eq!(
        (&reply["code"], &reply["message"]),
        (&json!(3), &json!(message))
    );
    assert_eq!(read(&mut client, json!({})).await, (vec![], 0));
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_would_be_right() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    for (cmdid, params, expected) in [
        (
            READ,
            json!({"limit": 0}),
            "`params.limit` is 0 and must be from 1 to 1000",
        ),
        (
            READ,
            json!({"limit": 1001}),
            "`params.limit` is 1001 and must be from 1 to 1000",
        ),
        (
            READ,
            json!({"limit": -1}),
            "`params.limit`: invalid value: integer `-1`, expected u32",
        ),
        (
            READ,
            json!({"limits": 1}),
            "`params.limits`: unknown field `limits`, expected one of `log`, `after`",
        ),
        (
            READ,
            json!({"level": "warm"}),
            "`params.level`: unknown variant `warm`, expected one of",
        ),
        (
            READ,
            json!({"after": "1"}),
            "`params.after`: invalid type: string \"1\", expected u64",
        ),
        (
            APPEND,
            json!({"level": "info", "service": "s"}),
            "`params`: missing field `message`",
        ),
        (
            APPEND,
            json!({"level": "inof", "service": "s", "message": "m"}),
            "`params.level`: unknown variant `inof`",
        ),
        (
            APPEND,
            json!({"level": "inof", "service": "s", "message": "m"}),
            "`trace`, `debug`, `info`, ",
        ),
        (
            APPEND,
            json!({"level": "info", "service": "s", "message": 1}),
            "`params.message`: invalid type",
        ),
        (
            APPEND,
            json!({"level": "info", "service": "s", "message": "m", "fields": []}),
            "`params.fields`",
        ),
        (
            APPEND,
            json!({"level": "info", "service": "s", "message": "m", "extra": 1}),
            "unknown field `extra`",
        ),
    ] {
        let reply = client.ask(&line(cmdid, &params)).await;
        assert_eq!(reply["code"], 3, "{params}: {reply}");
        assert!(
            reply["message"].as_str().unwrap().contains(expected),
            "{params}: {reply}"
        );
    }
    assert_eq!(
        read(&mut client, json!({})).await,
        (vec![], 0),
        "nothing of it was written"
    );
}

#[tokio::test]
async fn filters_that_are_too_long_are_refused_with_limit_and_length() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    for (name, bytes_max, message) in [
        (
            "contains",
            CONTAINS_BYTES_MAX,
            "`params.contains` has 1025 bytes and may have at most 1024; shorten it",
        ),
        (
            "service",
            SERVICE_BYTES_MAX,
            "`params.service` has 257 bytes and may have at most 256; shorten it",
        ),
        (
            "text",
            TEXT_BYTES_MAX,
            "`params.text` has 1025 bytes and may have at most 1024; shorten it",
        ),
        (
            "trace",
            TRACE_BYTES_MAX,
            "`params.trace` has 257 bytes and may have at most 256; shorten it",
        ),
        (
            "log",
            LOG_BYTES_MAX,
            "`params.log` has 65 bytes and may have at most 64; shorten it",
        ),
        (
            "level",
            LEVEL_BYTES_MAX,
            "`params.level`: the name of the level has 17 bytes and may have at most 16",
        ),
    ] {
        let reply = client
            .ask(&line(READ, &json!({ name: "x".repeat(bytes_max + 1) })))
            .await;
        assert_eq!(
            (&reply["code"], &reply["message"]),
            (&json!(3), &json!(message))
        );

        let longest = json!({ name: "x".repeat(bytes_max) });
        let reply = client.ask(&line(READ, &longest)).await;
        let (code, word) = match name {
            "level" => (3, "unknown variant"),
            "log" => (9, "the server has another data directory now"),
            _ => (0, ""),
        };
        assert_eq!(reply["code"], code, "{reply}");
        assert!(reply.to_string().contains(word), "{reply}");
    }
}

#[tokio::test]
async fn a_cursor_that_does_not_fit_is_refused_with_what_there_is_as_details() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    for _ in 0..3 {
        append(&mut client, "info", "s", "m").await;
    }
    let page = client.ask(&line(READ, &json!({}))).await["data"].take();
    let log = page["log"].as_str().unwrap().to_owned();
    assert_eq!((&page["oldest"], &page["last"]), (&json!(1), &json!(3)));
    let extent = json!({"log": log, "oldest": 1, "last": 3});

    let check = async |client: &mut Client<DuplexStream>, params: Value, code: u32| {
        let reply = client.ask(&line(READ, &params)).await;
        assert_eq!(
            (&reply["code"], &reply["details"]),
            (&json!(code), &extent),
            "{params}"
        );
    };
    check(&mut client, json!({"log": "0123", "after": 0}), 9).await;
    check(&mut client, json!({"log": "0123", "after": 9}), 9).await;
    check(&mut client, json!({"log": log, "after": 4}), 11).await;
    check(
        &mut client,
        json!({"after": u64::MAX, "wait_ms": 20_000}),
        11,
    )
    .await;
    assert_eq!(
        read(&mut client, json!({"log": log, "after": 2})).await,
        (vec![3], 3)
    );
}

#[tokio::test]
async fn a_read_of_no_time_at_all_is_refused_and_one_of_some_time_is_not() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let entry = json!({"level": "info", "service": "s", "message": "m", "ts": 5});
    assert_eq!(client.ask(&line(APPEND, &entry)).await["code"], 0);

    for (from, to) in [(5, 5), (6, 5)] {
        let reply = client
            .ask(&line(READ, &json!({"from": from, "to": to})))
            .await;
        let message =
            format!("`params.to` is {to} and must be above `params.from`, which is {from}");
        assert_eq!(
            (&reply["code"], &reply["message"]),
            (&json!(3), &json!(message))
        );
    }
    assert_eq!(read(&mut client, json!({"from": 5, "to": 6})).await.0, [1]);
    assert_eq!(
        read(&mut client, json!({"from": 6, "text": "m"})).await,
        (vec![], 1)
    );
}

#[tokio::test]
async fn fields_that_cannot_be_compared_are_refused() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    for (fields, expected) in [
        (
            json!({"user": [1]}),
            "`params.fields.user` is an array or an object and must be a text, a number, true, false or null",
        ),
        (
            json!({"user": "x".repeat(1024)}),
            "`params.fields` has 1035 bytes and may have at most 1024; shorten it",
        ),
    ] {
        let reply = client.ask(&line(READ, &json!({"fields": fields}))).await;
        assert_eq!(
            (&reply["code"], &reply["message"]),
            (&json!(3), &json!(expected))
        );
    }
}
