//! Reads that wait for an entry.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{READ, Serving, append, read};

/// The longest time that a read waits: one that comes later was not woken.
const WAIT_MAX: Duration = Duration::from_secs(25);

#[tokio::test]
async fn a_long_poll_wakes_at_the_append_that_it_waits_for_and_at_no_other() {
    let serving = Serving::start().await;
    let (mut writer, mut reader) = (serving.connect(), serving.connect());
    append(&mut writer, "info", "a", "old").await;
    let start = Instant::now();
    let poll = json!({"after": 1, "wait_ms": u64::MAX, "service": "b"});
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
    assert!(start.elapsed() < WAIT_MAX, "{:?}", start.elapsed());
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
    assert!(start.elapsed() < WAIT_MAX, "{:?}", start.elapsed());
}
