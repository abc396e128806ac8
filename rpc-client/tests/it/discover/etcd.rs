//! Endpoints out of a real etcd, which the test starts, stops and starts again.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Endpoints, eager};
use crate::needs;
use rpc_client::Config;

/// An etcd of one member, with its data in a directory of its own.
struct Etcd {
    directory: tempfile::TempDir,
    process: Child,
    client_port: u16,
    peer_port: u16,
}

impl Etcd {
    /// `None` on a machine without etcd.
    async fn start() -> Option<Self> {
        if !needs::has("etcd", "etcd-server") {
            return None;
        }

        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let (client_port, peer_port) = (free_port(), free_port());
            let process = run(&directory, client_port, peer_port);
            let mut etcd = Self {
                directory,
                process,
                client_port,
                peer_port,
            };
            if etcd.is_up().await {
                return Some(etcd);
            }
        }
        panic!("etcd has not started in five tries");
    }

    /// Kills it at once, and starts it again with what it has stored.
    async fn restart(&mut self) {
        self.kill();
        self.process = run(&self.directory, self.client_port, self.peer_port);
        assert!(self.is_up().await, "etcd has not started again");
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Whether it answers; not, where it has ended, because another process has taken its port for example.
    async fn is_up(&mut self) -> bool {
        loop {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if self
                .post("kv/range", json!({"key": BASE64_STANDARD.encode("up")}))
                .await
                .is_some()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn put(&self, key: &str, value: &str) -> i64 {
        let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
        let answer = self
            .post("kv/put", json!({"key": key, "value": value}))
            .await
            .unwrap();
        answer["header"]["revision"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    async fn delete(&self, key: &str) {
        self.post(
            "kv/deleterange",
            json!({"key": BASE64_STANDARD.encode(key)}),
        )
        .await
        .unwrap();
    }

    async fn post(&self, path: &str, body: Value) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/v3/{path}", self.client_port);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.post(url).json(&body).send().await.ok()?;
        response.error_for_status().ok()?.json().await.ok()
    }

    fn endpoints(&self, config: Config) -> Endpoints {
        Endpoints::of(
            &format!("etcd:http://127.0.0.1:{}/rpc/log/", self.client_port),
            config,
        )
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that is free at the moment: etcd has to be told one, since it tells others.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn run(directory: &tempfile::TempDir, client_port: u16, peer_port: u16) -> Child {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    Command::new("etcd")
        .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args([
            "--initial-cluster",
            &format!("default={peer}"),
            "--unsafe-no-fsync",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was there just now")
}

/// Watches without looking in between, so that only the watch can have told what is found.
fn patient() -> Config {
    Config::default().with(|config| {
        config.discovery.resolve_interval_ms = 3_600_000;
        config.discovery.resolve_interval_min_ms = 1;
    })
}

#[tokio::test]
async fn keys_that_come_and_go_are_told_by_the_watch() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    etcd.put("rpc/log/1", "a:1").await;
    etcd.put("rpc/log/b:2", "").await;
    etcd.put("rpc/lo", "x:1").await;
    etcd.put("rpc/log0", "x:2").await;
    let mut endpoints = etcd.endpoints(patient());
    assert_eq!(endpoints.next().await, ["a:1", "b:2"]);
    etcd.put("rpc/log/3", r#"{"Op":0,"Addr":"c:3","weight":2}"#)
        .await;
    assert_eq!(endpoints.next().await, ["a:1", "b:2", "c:3 0 2"]);
    etcd.delete("rpc/log/1").await;
    assert_eq!(endpoints.next().await, ["b:2", "c:3 0 2"]);
    etcd.put("rpc/log/3", "no address").await;
    assert_eq!(endpoints.next().await, ["b:2"]);
}

#[tokio::test]
async fn the_list_survives_that_etcd_is_killed_and_that_its_past_is_compacted() {
    let Some(mut etcd) = Etcd::start().await else {
        return;
    };
    etcd.put("rpc/log/1", "a:1").await;
    let mut endpoints =
        etcd.endpoints(patient().with(|config| config.discovery.resolve_interval_ms = 100));
    assert_eq!(endpoints.next().await, ["a:1"]);
    etcd.restart().await;
    etcd.put("rpc/log/2", "b:2").await;
    assert_eq!(
        endpoints.next().await,
        ["a:1", "b:2"],
        "what was known stayed until this"
    );
    etcd.kill();
    etcd.process = run(&etcd.directory, etcd.client_port, etcd.peer_port);
    assert!(etcd.is_up().await);
    let revision = etcd.put("rpc/log/3", "c:3").await;
    etcd.post(
        "kv/compaction",
        json!({"revision": revision.to_string(), "physical": true}),
    )
    .await
    .unwrap();
    assert_eq!(endpoints.next().await, ["a:1", "b:2", "c:3"]);
    etcd.delete("rpc/log/1").await;
    assert_eq!(
        endpoints.next().await,
        ["b:2", "c:3"],
        "the new watch tells changes too"
    );
}

#[tokio::test]
async fn another_member_is_asked_when_one_does_not_answer() {
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    etcd.put("rpc/log/1", "a:1").await;
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let members = format!(
        "{},127.0.0.1:{}",
        silent.local_addr().unwrap(),
        etcd.client_port
    );
    let config = eager().with(|config| config.timeouts.connect_timeout_ms = 200);
    let mut endpoints = Endpoints::of(&format!("etcd:http://{members}/rpc/log/"), config);
    let error = endpoints.next_error().await;
    assert!(
        error.contains("no answer within `timeouts.connect_timeout_ms` of 200 ms"),
        "{error}"
    );
    assert_eq!(endpoints.next().await, ["a:1"]);
}

#[tokio::test]
async fn who_is_no_etcd_and_who_is_not_there_are_named() {
    let gone = format!("127.0.0.1:{}", free_port());
    let error = Endpoints::of(&format!("etcd:http://{gone}/x"), eager())
        .next_error()
        .await;
    assert!(
        error.starts_with(&format!(
            "cannot find the endpoints of etcd:http://{gone}/x: "
        )),
        "{error}"
    );
    let Some(etcd) = Etcd::start().await else {
        return;
    };
    let mut none = Endpoints::of(
        &format!("etcd:http://127.0.0.1:{}/none/", etcd.client_port),
        eager(),
    );
    assert!(none.next_error().await.contains("the list is empty"));
}
