//! The log service over the wire.

use rpc_daemon::{Daemon, DaemonConfig};
use rpc_server::ServerHandle;
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use crate::support::Client;

mod entries;
mod held;
mod long_poll;
mod refused;

pub(crate) use held::HeldFile;

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
