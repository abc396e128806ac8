//! Appends that are sent again, over the wire and to the next daemon.

use rpc_daemon::DaemonConfig;
use serde_json::{Value, json};

use crate::life::Life;

impl Life {
    async fn append(&mut self, message: &str, meta: &Value) -> Value {
        let entry = json!({"level": "info", "service": "s", "message": message});
        let call = json!({"id": 1, "cmdid": 1001, "params": entry, "meta": meta});
        self.client.ask(&call.to_string()).await
    }

    async fn append_batch(&mut self, producer: &str, batch: u64, entries: &Value) -> Value {
        let params = json!({"producer": producer, "batch": batch, "entries": entries});
        let call = json!({"id": 1, "cmdid": 1003, "params": params});
        self.client.ask(&call.to_string()).await
    }

    /// What `describe` tells of how a repetition is recognised.
    async fn dedup(&mut self) -> Value {
        let ask = r#"{"cmdid":1,"params":{"cmdid":1001}}"#;
        self.client.ask(ask).await["data"]["commands"][0]["dedup"].take()
    }
}

#[tokio::test]
async fn an_append_that_is_sent_again_to_the_next_daemon_is_answered_and_not_written() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    let dedup = life.dedup().await;
    assert_eq!(dedup["by_caller"], true);
    assert!(
        dedup["store"].as_str().unwrap().starts_with("log-"),
        "{dedup}"
    );

    let first = life.append("m", &json!({"idempotency-key": "k"})).await;
    assert_eq!(first["data"], json!({"seq": 1}));
    life.end().await;

    let mut life = Life::on(data.path()).await;
    assert_eq!(life.dedup().await, dedup);
    let again = json!({"idempotency-key": "k", "idempotency-age-ms": "5000"});
    let repetition = life.append("m", &again).await;
    assert_eq!(repetition["data"], json!({"seq": 1, "duplicate": true}));

    let conflict = life.append("other", &again).await;
    assert_eq!(
        (&conflict["code"], &conflict["details"]),
        (&json!(6), &json!({"idempotency_key": "k"}))
    );
    let too_old = json!({"idempotency-key": "old", "idempotency-age-ms": "3600000"});
    let refused = life.append("m", &too_old).await;
    assert_eq!(
        (&refused["code"], &refused["rejected"]),
        (&json!(9), &Value::Null)
    );
    let wrong = life.append("m", &json!({"idempotency-key": ""})).await;
    assert_eq!(wrong["code"], 3);

    let page = life.client.ask(r#"{"cmdid":1002,"params":{}}"#).await;
    assert_eq!(
        page["data"]["last"], 1,
        "no further entry was written: {page}"
    );
    life.end().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_again_to_the_next_daemon_is_answered_and_not_written() {
    let entry = |message: &str| json!({"level": "info", "service": "s", "message": message});
    let entries = json!([entry("a"), entry("b")]);
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;
    let first = life.append_batch("p-1", 66, &entries).await;
    assert_eq!(first["data"], json!({"first": 1, "last": 2}));
    life.end().await;

    let mut life = Life::on(data.path()).await;
    let again = life.append_batch("p-1", 66, &entries).await;
    assert_eq!(
        again["data"],
        json!({"first": 1, "last": 2, "duplicate": true})
    );
    let conflict = life.append_batch("p-1", 66, &json!([entry("c")])).await;
    assert_eq!(conflict["code"], 1001);

    for batch in 67..=130 {
        let reply = life.append_batch("p-1", batch, &entries).await;
        assert_eq!(reply["code"], 0, "{reply}");
    }
    let stale = life.append_batch("p-1", 66, &entries).await;
    assert_eq!(
        (&stale["code"], &stale["details"]),
        (&json!(1000), &json!({"last_batch": 130}))
    );

    let page = life.client.ask(r#"{"cmdid":1002,"params":{}}"#).await;
    assert_eq!(page["data"]["last"], 130);
    life.end().await;
}

/// What a daemon has written that had the hash of a batch from the text of its entries.
const OF_OLDER_VERSION: &str = concat!(
    r#"{"seq":1,"ts":1796063525429,"level":"info","service":"s","message":"a","batch":"p-1/66/2/61027053e6eacc1a/378dd0ce"}"#,
    "\n",
    r#"{"seq":2,"ts":1796063525429,"level":"info","service":"s","message":"b"}"#,
    "\n",
);

#[tokio::test]
async fn a_batch_that_an_older_version_has_written_is_answered_and_not_written_when_it_is_sent_again()
 {
    let entry = |message: &str| json!({"level": "info", "message": message, "service": "s"});
    let entries = json!([entry("a"), entry("b")]);
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("00000000000000000001.ndjson"), OF_OLDER_VERSION).unwrap();

    // From the lines at first, then from the record of the segment before.
    for _ in 0..2 {
        let mut config = DaemonConfig::default();
        config.log.segment_bytes = 100;
        let mut life = Life::with(data.path(), config).await;
        let again = life.append_batch("p-1", 66, &entries).await;
        assert_eq!(
            again["data"],
            json!({"first": 1, "last": 2, "duplicate": true})
        );
        let conflict = life.append_batch("p-1", 66, &json!([entry("a")])).await;
        assert_eq!(conflict["code"], 1001);

        let next = life.append("next", &json!({})).await;
        assert_eq!(next["code"], 0);
        life.end().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_named_and_nothing_of_it_is_written() {
    let entry = json!({"level": "info", "service": "s", "message": "m"});
    let loud = json!({"level": "loud", "service": "s", "message": "m"});
    let short = json!({"level": "info", "service": "s"});
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;

    let good = json!([entry]);
    let too_many = Value::from(vec![entry.clone(); 10_001]);
    for (producer, batch, entries, message, details) in [
        (
            "",
            1,
            good.clone(),
            "`params.producer` has 0 bytes and must have 1 to 64",
            Value::Null,
        ),
        (
            "a/b",
            1,
            good.clone(),
            "letters, digits, `.`, `_` and `-`",
            Value::Null,
        ),
        (
            "p",
            0,
            good,
            "`params.batch` is 0; number batches from 1 on",
            Value::Null,
        ),
        (
            "p",
            1,
            json!([]),
            "`params.entries` has 0 entries and must have 1 to 10000",
            Value::Null,
        ),
        (
            "p",
            1,
            too_many,
            "`params.entries` has 10001 entries",
            Value::Null,
        ),
        (
            "p",
            1,
            json!({}),
            "`params.entries` must be an array of entries",
            Value::Null,
        ),
        (
            "p",
            1,
            json!([entry, loud]),
            "`params.entries[1].level`: unknown variant `loud`",
            json!({"index": 1, "field": "level"}),
        ),
        (
            "p",
            1,
            json!([entry, entry, short]),
            "`params.entries[2]`: missing field `message`",
            json!({"index": 2, "field": null}),
        ),
    ] {
        let reply = life.append_batch(producer, batch, &entries).await;
        assert_eq!(
            (&reply["code"], &reply["details"]),
            (&json!(3), &details),
            "{reply}"
        );
        assert!(
            reply["message"].as_str().unwrap().contains(message),
            "{reply}"
        );
    }

    let page = life.client.ask(r#"{"cmdid":1002,"params":{}}"#).await;
    assert_eq!(page["data"]["last"], 0);
    life.end().await;
}
