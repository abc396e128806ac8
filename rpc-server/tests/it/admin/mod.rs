//! The pages about the server, asked for as bytes.

mod grants;
mod health;
mod metrics;
mod pages;

use std::collections::BTreeMap;

use rpc_server::{AdminConfig, Config, Server};

use crate::rig::Rig;
use crate::support::TestServer;

async fn start(config: Config, admin: AdminConfig) -> (Rig, TestServer) {
    let rig = Rig::new();
    let builder = Server::builder()
        .config(config)
        .router(rig.router())
        .admin(admin);
    (rig, TestServer::of(builder.bind().await.unwrap()))
}

async fn start_usual() -> (Rig, TestServer) {
    start(Config::default(), AdminConfig::default()).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost:8889\r\n\r\n")
}

/// A whole exchange over a connection of its own.
async fn ask(server: &TestServer, request: &str) -> Response {
    let mut client = server.connect();
    client.send(request).await;
    Response::of(&client.read_to_end().await)
}

#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Response {
    fn of(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{text:?} is no HTTP"));
        let (first, headers) = head.split_once("\r\n").unwrap();
        let status = first.strip_prefix("HTTP/1.1 ").unwrap()[..3]
            .parse()
            .unwrap();
        let header = |line: &str| {
            line.split_once(": ")
                .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
                .unwrap()
        };
        let mut headers: BTreeMap<_, _> = headers.lines().map(header).collect();
        headers.remove("date");
        Self {
            status,
            headers,
            body: body.to_owned(),
        }
    }
}
