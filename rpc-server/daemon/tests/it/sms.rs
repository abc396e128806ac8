//! The SMS service over the wire.

use serde_json::{Value, json};

use crate::life::Life;

impl Life {
    async fn call(&mut self, cmdid: u32, params: &Value) -> Value {
        let line = format!("{{\"cmdid\":{cmdid},\"params\":{params}}}");
        self.client.ask(&line).await
    }
}

#[tokio::test]
async fn a_message_is_accepted_written_by_the_default_gateway_and_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut life = Life::on(data.path()).await;

    let sent = life
        .call(1101, &json!({"to": "+8613800138000", "text": "hello"}))
        .await;
    assert_eq!(
        (&sent["code"], &sent["data"]["dry_run"]),
        (&json!(0), &json!(true))
    );
    let id = sent["data"]["id"].as_str().unwrap().to_owned();

    let watch = json!({"id": id, "status": ["sent"], "after": 0});
    let item = life.call(1105, &watch).await;
    assert_eq!(item["data"]["events"][0]["to"], "sent", "{item}");
    life.end().await;

    let written = std::fs::read_to_string(data.path().join("sms-out.ndjson")).unwrap();
    assert!(
        written.contains(&id) && written.contains("hello"),
        "{written}"
    );

    let mut life = Life::on(data.path()).await;
    let found = life.call(1102, &json!({"id": id})).await;
    let message = &found["data"]["messages"][0];
    assert_eq!(
        (&message["status"], &message["to"]),
        (&json!("sent"), &json!("+86138****8000"))
    );

    let refused = life
        .call(1101, &json!({"to": "12345", "text": "hello"}))
        .await;
    assert_eq!(refused["code"], 1100, "{refused}");
    life.end().await;
}
