//! Appends that are sent again, over the wire and to the next daemon.

use std::path::Path;

use rpc_daemon::{Daemon, DaemonConfig};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Client;

/// A daemon on a directory that outlives it.
struct Life {
    client: Client<DuplexStream>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Life {
    async fn on(data: &Path) -> Self {
        let config = DaemonConfig {
            listen: vec!["127.0.0.1:0".into()],
            data_dir: data.to_owned(),
            ..DaemonConfig::default()
        };
        let daemon = Daemon::bind(&config).await.unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(daemon.handle().serve_connection(far, "pipe"));

        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async {
            daemon.run(async { drop(stopped.await) }).await.unwrap();
        });

        Self {
            client: Client::new(near),
            stop,
            running,
        }
    }

    async fn append(&mut self, message: &str, meta: &Value) -> Value {
        let entry = json!({"level": "info", "service": "s", "message": message});
        let call = json!({"id": 1, "cmdid": 1001, "params": entry, "meta": meta});
        self.client.ask(&call.to_string()).await
    }

    /// What `describe` tells of how a repetition is recognised.
    async fn dedup(&mut self) -> Value {
        let ask = r#"{"cmdid":1,"params":{"cmdid":1001}}"#;
        self.client.ask(ask).await["data"]["commands"][0]["dedup"].take()
    }

    async fn end(self) {
        drop(self.client);
        drop(self.stop);
        self.running.await.unwrap();
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
    assert_eq!(page["data"]["last"], 1, "nothing more was written: {page}");
    life.end().await;
}
