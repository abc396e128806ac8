//! `log.emit`, `log.flush` and `log.stats` over the wire.

use rpc_daemon::DaemonConfig;
use rpc_daemon::config::LogSettings;
use serde_json::{Value, json};

use crate::life::Life;

fn line(cmdid: u32, params: &Value) -> String {
    json!({"id": 1, "cmdid": cmdid, "params": params}).to_string()
}

fn oneway(params: &Value) -> String {
    json!({"cmdid": 1004, "params": params, "oneway": true}).to_string() + "\n"
}

fn entry(message: &str) -> Value {
    json!({"level": "info", "service": "order", "message": message})
}

#[tokio::test]
async fn emits_are_on_the_disk_when_a_flush_behind_them_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    let client = &mut life.client;

    client.send(oneway(&entry("one"))).await;
    client
        .send(oneway(&json!({"entries": [entry("two"), entry("three")]})))
        .await;
    let reply = client.ask(&line(1005, &json!({}))).await;
    assert_eq!(
        reply["data"],
        json!({"seq": 3, "emitted": 3, "dropped": 0}),
        "{reply}"
    );

    let page = client.ask(&line(1002, &json!({}))).await;
    let messages: Vec<&str> = page["data"]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages, ["one", "two", "three"]);

    // With an answer, which is for having been taken.
    let reply = client.ask(&line(1004, &entry("four"))).await;
    assert_eq!((&reply["code"], reply.get("data")), (&json!(0), None));
    let reply = client.ask(&line(1005, &json!({}))).await;
    assert_eq!(reply["data"], json!({"seq": 4, "emitted": 4, "dropped": 0}));
    life.end().await;
}

#[tokio::test]
async fn a_service_over_its_budget_is_refused_or_its_emits_are_dropped_and_the_log_says_so() {
    let data = tempfile::tempdir().unwrap();
    let config = DaemonConfig {
        log: LogSettings {
            service_bytes_per_second: 1000,
            ..LogSettings::default()
        },
        ..DaemonConfig::default()
    };
    let mut life = Life::with(data.path(), config).await;
    let client = &mut life.client;

    // The first one overdraws the budget for more than a minute and a half.
    let long = entry(&"m".repeat(100_000));
    let many = json!({"entries": [long, long, long, long]});
    client.send(oneway(&many)).await;
    let reply = client.ask(&line(1005, &json!({}))).await;
    assert_eq!(
        (&reply["data"]["emitted"], &reply["data"]["dropped"]),
        (&json!(1), &json!(3)),
        "{reply}"
    );

    for (cmdid, params) in [
        (1001, entry("m")),
        (1004, entry("m")),
        (
            1003,
            json!({"producer": "p", "batch": 1, "entries": [entry("m")]}),
        ),
    ] {
        let reply = client.ask(&line(cmdid, &params)).await;
        assert_eq!(
            (&reply["code"], &reply["rejected"]),
            (&json!(8), &json!(true)),
            "{reply}"
        );
        assert!(reply["retry_after_ms"].as_u64().unwrap() > 0, "{reply}");
        let message = reply["message"].as_str().unwrap();
        assert!(message.contains("budget of 1000 bytes a second"), "{reply}");
    }

    let stats = client.ask(&line(1007, &json!({}))).await;
    let data = &stats["data"];
    assert_eq!(
        (&data["services"]["order"]["entries"], &data["dropped"]),
        (&json!(1), &json!(3)),
        "{stats}"
    );

    // The notice comes by itself once the drops have ended.
    let wanted = json!({"service": "log", "wait_ms": 20_000});
    let page = client.ask(&line(1002, &wanted)).await;
    let notice = &page["data"]["entries"][0];
    assert_eq!(
        (&notice["level"], &notice["message"], &notice["fields"]),
        (
            &json!("warn"),
            &json!("3 entries of `order` were dropped"),
            &json!({"service": "order", "dropped": 3})
        ),
        "{page}"
    );
    life.end().await;
}

#[tokio::test]
async fn stats_tell_what_the_log_holds_and_what_was_written() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    let client = &mut life.client;
    for message in ["one", "two"] {
        client.ask(&line(1001, &entry(message))).await;
    }

    let stats = client.ask(&line(1007, &json!({}))).await["data"].take();
    assert_eq!(
        (&stats["oldest"], &stats["last"], &stats["written"]),
        (&json!(1), &json!(2), &json!(2))
    );
    assert_eq!(
        (&stats["segments"], &stats["damaged"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        (&stats["engine"], &stats["synced"]),
        (&json!("files"), &json!(true))
    );
    assert_eq!(stats["fsync_us"]["count"], 2);
    assert_eq!(
        stats["batch_entries"],
        json!({"count": 2, "p50": 1, "p99": 1, "max": 1})
    );
    assert!(stats["bytes"].as_u64().unwrap() > 100);
    assert_eq!(stats["services"]["order"]["entries"], 2);
    life.end().await;
}

#[tokio::test]
async fn emits_that_make_no_sense_are_refused_where_they_are_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    for (params, expected) in [
        (
            json!({"entries": []}),
            "`params.entries` has 0 entries and must have 1 to 10000",
        ),
        (json!({"level": "info"}), "`service` is missing"),
        (
            json!({"entries": [{"level": "loud", "service": "s", "message": "m"}]}),
            "loud",
        ),
    ] {
        let reply = life.client.ask(&line(1004, &params)).await;
        let message = reply["message"].as_str().unwrap();
        assert!(reply["code"] == 3 && message.contains(expected), "{reply}");
    }
    life.end().await;
}
