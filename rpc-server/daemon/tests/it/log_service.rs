//! The log service over the wire.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rpc_core::api::log::{
    CONTAINS_BYTES_MAX, LEVEL_BYTES_MAX, LOG_BYTES_MAX, SERVICE_BYTES_MAX, TEXT_BYTES_MAX,
    TRACE_BYTES_MAX,
};
use rpc_daemon::config::ServiceName;
use rpc_daemon::{Daemon, DaemonConfig};
use rpc_server::ServerHandle;
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use crate::support::{Client, PATIENCE};

const APPEND: u32 = 1001;
const READ: u32 = 1002;

struct Serving {
    data: tempfile::TempDir,
    handle: ServerHandle,
}

impl Serving {
    async fn start() -> Self {
        Self::with(DaemonConfig::default()).await
    }

    async fn with(config: DaemonConfig) -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = DaemonConfig {
            listen: vec!["127.0.0.1:0".into()],
            data_dir: data.path().to_owned(),
            ..config
        };
        let daemon = Daemon::bind(&config).await.unwrap();
        let handle = daemon.handle();
        tokio::spawn(daemon.run(std::future::pending()));
        Self { data, handle }
    }

    fn connect(&self) -> Client<DuplexStream> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(self.handle.serve_connection(far, "pipe"));
        Client::new(near)
    }
}

fn line(cmdid: u32, params: &Value) -> String {
    format!("{{\"cmdid\":{cmdid},\"params\":{params}}}")
}

async fn append(
    client: &mut Client<DuplexStream>,
    level: &str,
    service: &str,
    message: &str,
) -> u64 {
    let entry = json!({"level": level, "service": service, "message": message});
    let reply = client.ask(&line(APPEND, &entry)).await;
    assert_eq!(reply["code"], 0, "{reply}");
    reply["data"]["seq"].as_u64().unwrap()
}

/// The numbers on the page and its cursor.
async fn read(client: &mut Client<DuplexStream>, params: Value) -> (Vec<u64>, u64) {
    let reply = client.ask(&line(READ, &params)).await;
    assert_eq!(reply["code"], 0, "{reply}");
    let entries = reply["data"]["entries"].as_array().unwrap();
    let numbers = entries
        .iter()
        .map(|entry| entry["seq"].as_u64().unwrap())
        .collect();
    (numbers, reply["data"]["next"].as_u64().unwrap())
}

#[tokio::test]
async fn entries_are_numbered_from_1_and_read_back_as_they_were_given() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let entry = json!({
        "level": "warn", "service": "order ä", "message": "line\nbreak \u{1b}[31m", "ts": 5, "trace": "t",
        "fields": {"user": 4211, "list": [1, {"a": null}]},
    });
    assert_eq!(
        client.ask(&line(APPEND, &entry)).await["data"],
        json!({"seq": 1})
    );
    assert_eq!(append(&mut client, "info", "s", "m").await, 2);
    let page = client.ask(&line(READ, &json!({}))).await["data"].take();
    let mut expected = entry;
    expected["seq"] = 1.into();
    // Beside the time that it was given, it has that of its receipt.
    expected["rx"] = page["entries"][0]["rx"].clone();
    assert_eq!((&page["entries"][0], &page["next"]), (&expected, &json!(2)));
    assert!(expected["rx"].as_u64().unwrap() > 1_700_000_000_000);
    // What was not given is left out, but for the time.
    let second = page["entries"][1].as_object().unwrap();
    assert_eq!(
        second.keys().collect::<Vec<_>>(),
        ["level", "message", "seq", "service", "ts"]
    );
    assert!(second["ts"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn fields_come_back_byte_for_byte_or_are_refused() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let append_fields = |fields: &str| {
        format!(
            r#"{{"cmdid":{APPEND},"params":{{"level":"info","service":"s","message":"m","fields":{fields}}}}}"#
        )
    };

    let kept = [
        r#"{"order":12345678901234567890123,"price":1.50,"e":1E2}"#,
        r#"{"z":1, "a" : [ 1,2 ],"nested":{"x":1,"x":2}}"#,
        r#"{"text":"\u0041\/\n"}"#,
    ];
    for fields in kept {
        assert_eq!(
            client.ask(&append_fields(fields)).await["code"],
            0,
            "{fields}"
        );
    }
    for fields in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#] {
        let reply = client.ask(&append_fields(fields)).await;
        let why = "`params.fields`: the field `a` comes twice; give each field a name of its own";
        assert_eq!(reply["code"], 3, "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(why), "{reply}");
    }

    client.send(line(READ, &json!({})) + "\n").await;
    let page = client.line().await;
    for fields in kept {
        assert!(page.contains(&format!("\"fields\":{fields}")), "{page}");
    }
}

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
async fn appends_of_many_connections_are_numbered_without_a_gap() {
    let serving = Serving::start().await;
    let mut clients: Vec<_> = (0..8).map(|_| serving.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let entry = json!({"level": "info", "service": n.to_string(), "message": "m"});
        for id in 0..50 {
            client
                .send(format!(
                    "{{\"id\":{id},\"cmdid\":{APPEND},\"params\":{entry}}}\n"
                ))
                .await;
        }
    }
    let mut numbers = Vec::new();
    for client in &mut clients {
        for _ in 0..50 {
            numbers.push(client.reply().await["data"]["seq"].as_u64().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    assert_eq!(
        read(&mut clients[0], json!({"limit": 1000})).await,
        (numbers, 400)
    );
}

#[tokio::test]
async fn each_filter_and_the_cursor_choose_what_is_read() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    for (level, service, message) in [
        ("trace", "a", "one"),
        ("debug", "b", "two"),
        ("info", "a", "three"),
        ("warn", "b", "four one"),
        ("error", "a", "five"),
        ("fatal", "aa", "six"),
    ] {
        append(&mut client, level, service, message).await;
    }
    for (params, entries, next) in [
        (json!({}), vec![1, 2, 3, 4, 5, 6], 6),
        (json!(null), vec![], 0),
        (json!({"after": 4}), vec![5, 6], 6),
        (json!({"after": 6}), vec![], 6),
        (json!({"limit": 2}), vec![1, 2], 2),
        (json!({"after": 2, "limit": 1}), vec![3], 3),
        (json!({"level": "trace"}), vec![1, 2, 3, 4, 5, 6], 6),
        (json!({"level": "warn"}), vec![4, 5, 6], 6),
        (json!({"level": "fatal"}), vec![6], 6),
        (json!({"service": "a"}), vec![1, 3, 5], 6),
        (json!({"service": ""}), vec![], 6),
        (json!({"contains": "one"}), vec![1, 4], 6),
        (json!({"contains": "ONE"}), vec![], 6),
        (
            json!({"level": "info", "service": "b", "contains": "o"}),
            vec![4],
            6,
        ),
        (json!({"service": "a", "limit": 2}), vec![1, 3], 3),
    ] {
        if params.is_null() {
            assert_eq!(client.ask(&line(READ, &params)).await["code"], 3);
            continue;
        }
        assert_eq!(
            read(&mut client, params.clone()).await,
            (entries, next),
            "{params}"
        );
    }
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
async fn a_long_poll_wakes_at_the_append_that_it_waits_for_and_at_no_other() {
    let serving = Serving::start().await;
    let (mut writer, mut reader) = (serving.connect(), serving.connect());
    append(&mut writer, "info", "a", "old").await;
    let start = Instant::now();
    let poll = json!({"after": 1, "wait_ms": 20_000, "service": "b"});
    reader
        .send(format!(
            "{{\"id\":1,\"cmdid\":{READ},\"params\":{poll}}}\n{{\"cmdid\":0}}\n"
        ))
        .await;
    // The wait delays no other call of its connection.
    reader.expect("{\"code\":0,\"data\":{}}").await;
    append(&mut writer, "info", "a", "not for it").await;
    reader.expect_silence_for(Duration::from_millis(100)).await;
    append(&mut writer, "info", "b", "for it").await;
    let page = reader.expect_code(1, 0).await["data"].take();
    assert_eq!(
        (&page["entries"][0]["message"], &page["next"]),
        (&json!("for it"), &json!(3))
    );
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_long_poll_without_news_ends_with_an_empty_page_and_can_be_cancelled() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    append(&mut client, "info", "a", "old").await;
    let start = Instant::now();
    assert_eq!(
        read(&mut client, json!({"after": 1, "wait_ms": 50})).await,
        (vec![], 1)
    );
    assert!(start.elapsed() >= Duration::from_millis(50));
    // The cursor moves past what the filter has left out.
    assert_eq!(
        read(&mut client, json!({"wait_ms": 50, "service": "b"})).await,
        (vec![], 1)
    );
    let poll = json!({"after": 1, "wait_ms": u64::MAX});
    client
        .send(format!("{{\"id\":1,\"cmdid\":{READ},\"params\":{poll}}}\n"))
        .await;
    client.send("{\"cmdid\":4,\"params\":{\"id\":1}}\n").await;
    client.expect_code(1, 1).await;
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn describe_gives_the_schemas_of_both_commands() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    let described = client
        .ask("{\"cmdid\":1,\"params\":{\"cmdid\":1001}}")
        .await["data"]["commands"][0]
        .take();
    assert_eq!(
        (&described["service"], &described["method"]),
        (&json!("log"), &json!("append"))
    );
    assert_eq!(
        described["params"]["required"],
        json!(["level", "service", "message"])
    );
    assert!(
        described["data"]["properties"]["seq"].is_object(),
        "{described}"
    );
    let described = client
        .ask("{\"cmdid\":1,\"params\":{\"cmdid\":1002}}")
        .await["data"]["commands"][0]
        .take();
    assert_eq!(described["idempotent"], true);
    for field in ["after", "limit", "wait_ms", "level", "service", "contains"] {
        assert!(
            described["params"]["properties"][field].is_object(),
            "{field}: {described}"
        );
    }
}

/// The first file of a log, replaced by a pipe: a read that opens it hangs until the file is back.
pub(crate) struct HeldFile {
    path: PathBuf,
}

impl HeldFile {
    pub(crate) fn of(data: &Path) -> Self {
        let path = data.join("log/00000000000000000001.ndjson");
        std::fs::rename(&path, path.with_extension("file")).unwrap();
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        Self { path }
    }

    /// Puts the file back, and lets the reads go on that have opened the pipe.
    fn release(&self) {
        let pipe = self.path.with_extension("pipe");
        std::fs::rename(&self.path, &pipe).unwrap();
        std::fs::rename(self.path.with_extension("file"), &self.path).unwrap();
        OpenOptions::new().write(true).open(pipe).unwrap();
    }
}

/// Asks for the figures of blocking work until they are as expected; returns them.
async fn blocking_until(
    client: &mut Client<DuplexStream>,
    is_expected: impl Fn(&Value) -> bool,
) -> Value {
    let begun = Instant::now();
    loop {
        let blocking = client.ask(r#"{"cmdid":3}"#).await["data"]["blocking"].take();
        if is_expected(&blocking) {
            return blocking;
        }
        assert!(begun.elapsed() < PATIENCE, "{blocking}");
    }
}

#[tokio::test]
async fn a_thousand_reads_and_their_cancels_leave_another_connection_s_read_answered() {
    let mut config = DaemonConfig {
        services: vec![ServiceName::Log],
        ..DaemonConfig::default()
    };
    config.log.scans_max = 1;
    let serving = Serving::with(config).await;
    let (mut attacker, mut other) = (serving.connect(), serving.connect());
    append(&mut other, "info", "s", "m").await;

    let held = HeldFile::of(serving.data.path());
    let params = json!({"after": 0, "contains": "zzz"});
    for id in 0..1_000 {
        let read = format!("{{\"id\":{id},\"cmdid\":{READ},\"params\":{params}}}\n");
        attacker.send(read).await;
    }
    let all_there = |blocking: &Value| blocking["running"] == 1 && blocking["waiting"] == 999;
    blocking_until(&mut other, all_there).await;

    for id in 0..1_000 {
        let cancel = format!("{{\"cmdid\":4,\"params\":{{\"id\":{id}}}}}\n");
        attacker.send(cancel).await;
    }
    for _ in 0..1_000 {
        assert_eq!(attacker.reply().await["code"], 1);
    }

    // The one at work hangs; none of the others is there any more.
    let blocking = blocking_until(&mut other, |blocking| blocking["waiting"] == 0).await;
    assert_eq!(
        (&blocking["running"], &blocking["abandoned"]),
        (&json!(1), &json!(999))
    );

    let read_all = format!("{{\"id\":1,\"cmdid\":{READ}}}\n");
    other.send(read_all).await;
    blocking_until(&mut serving.connect(), |blocking| blocking["waiting"] == 1).await;
    held.release();
    let reply = other.expect_code(1, 0).await;
    assert_eq!(reply["data"]["next"], 1);

    // The store was opened, one read of the attacker has begun, and this one.
    let blocking = blocking_until(&mut other, |blocking| blocking["running"] == 0).await;
    assert_eq!(blocking["started"], 3);
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

/// Asks for the health of the log service until it is as expected.
async fn health_until(client: &mut Client<DuplexStream>, expected: &str) {
    let begun = Instant::now();
    loop {
        let health = client
            .ask(r#"{"cmdid":2,"params":{"service":"log"}}"#)
            .await["data"]
            .take();
        if health["status"] == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{health}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_log_is_not_served_while_its_directory_cannot_be_written_or_read() {
    let serving = Serving::start().await;
    let mut client = serving.connect();
    append(&mut client, "info", "s", "m").await;
    health_until(&mut client, "serving").await;

    let (log, away) = (
        serving.data.path().join("log"),
        serving.data.path().join("away"),
    );
    std::fs::rename(&log, &away).unwrap();
    let entry = json!({"level": "info", "service": "s", "message": "lost"});
    assert_eq!(client.ask(&line(APPEND, &entry)).await["code"], 13);
    health_until(&mut client, "not_serving").await;

    // Nothing is appended, and it recovers by itself.
    std::fs::rename(&away, &log).unwrap();
    health_until(&mut client, "serving").await;
    assert_eq!(append(&mut client, "info", "s", "m").await, 3);

    std::fs::rename(&log, &away).unwrap();
    assert_eq!(client.ask(&line(READ, &json!({}))).await["code"], 13);
    health_until(&mut client, "not_serving").await;
    std::fs::rename(&away, &log).unwrap();
    health_until(&mut client, "serving").await;
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
