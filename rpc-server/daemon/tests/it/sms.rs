//! The SMS service over the wire.

use std::path::Path;

use rpc_daemon::{Daemon, DaemonConfig};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::Client;

/// A daemon that is stopped gracefully, so that another one finds its outbox.
struct Serving {
    client: Client<DuplexStream>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Serving {
    async fn start(data: &Path) -> Self {
        let config = DaemonConfig {
            listen: vec!["127.0.0.1:0".into()],
            data_dir: data.to_owned(),
            ..DaemonConfig::default()
        };
        let daemon = Daemon::bind(&config).await.unwrap();

        let (near, far) = tokio::io::duplex(64 * 1024);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(daemon.handle().serve_connection(far, "pipe"));
        let ended = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            daemon.run(stopped).await.unwrap();
        });
        Self {
            client: Client::new(near),
            stop,
            ended,
        }
    }

    async fn call(&mut self, cmdid: u32, params: &Value) -> Value {
        let line = format!("{{\"cmdid\":{cmdid},\"params\":{params}}}");
        self.client.ask(&line).await
    }

    async fn stop(self) {
        drop(self.client);
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

#[tokio::test]
async fn a_message_is_accepted_written_by_the_default_gateway_and_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(data.path()).await;

    let sent = serving
        .call(1101, &json!({"to": "+8613800138000", "text": "hello"}))
        .await;
    assert_eq!(
        (&sent["code"], &sent["data"]["dry_run"]),
        (&json!(0), &json!(true))
    );
    let id = sent["data"]["id"].as_str().unwrap().to_owned();

    let watch = json!({"id": id, "status": ["sent"], "after": 0});
    let item = serving.call(1105, &watch).await;
    assert_eq!(item["data"]["events"][0]["to"], "sent", "{item}");
    serving.stop().await;

    let written = std::fs::read_to_string(data.path().join("sms-out.ndjson")).unwrap();
    assert!(
        written.contains(&id) && written.contains("hello"),
        "{written}"
    );

    let mut serving = Serving::start(data.path()).await;
    let found = serving.call(1102, &json!({"id": id})).await;
    let message = &found["data"]["messages"][0];
    assert_eq!(
        (&message["status"], &message["to"]),
        (&json!("sent"), &json!("+86138****8000"))
    );

    let refused = serving
        .call(1101, &json!({"to": "12345", "text": "hello"}))
        .await;
    assert_eq!(refused["code"], 1100, "{refused}");
    serving.stop().await;
}
