//! The SMS service over the wire.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rpc_sms::testing::{CountingGateway, Mode};
use serde_json::{Value, json};

use crate::daemon::{Peer, Running, command, output};
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

/// The settings of a gateway over HTTP with a secret in a file.
fn settings_of(url: &str, secret: &str) -> String {
    format!(
        r#"log_level = "trace"
[sms]
countries = ["CN"]

[[sms.gateways]]
name = "one"
kind = "http"

[sms.gateways.http]
url = "{url}/{{secret.token}}"
secrets = {{ token = "file:{secret}" }}
auth = {{ basic = ["user", "{{secret.token}}"] }}
json = {{ to = "{{to}}", text = "{{text}}", parts = [1, "{{segments}}"] }}

[sms.gateways.http.response]
ref = "/id"
rules = [{{ status = [200, "3xx"], class = "sent" }}]
"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_over_http_gets_its_secret_and_the_daemon_writes_neither_that_nor_number_nor_text()
 {
    let provider = CountingGateway::start(Mode::answer(200, r#"{"id":"m-1"}"#))
        .await
        .unwrap();
    let data = tempfile::tempdir().unwrap();
    let (secret, config) = (data.path().join("token"), data.path().join("config.toml"));
    let (secret_file, config_file) = (secret.to_str().unwrap(), config.to_str().unwrap());
    fs::write(&secret, "hunter2hunter2\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&config, settings_of(provider.url(), secret_file)).unwrap();

    let (_, printed, _) = output(&["--print-config", "--config", config_file], &[]);
    let mut command = command();
    let data_dir = data.path().join("data");
    command
        .args([
            "--config",
            config_file,
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(&data_dir);
    let mut daemon = Running::spawn(command);
    let mut peer = Peer::connect(&daemon.address());
    let params = json!({"to": "+8613800138000", "text": "a text of ours"});
    let sent = peer.ask(&json!({"cmdid": 1101, "params": params}).to_string());
    assert_eq!(sent["code"], 0, "{sent}");

    let request = provider.until(1).await.remove(0);
    assert!(
        request
            .head
            .starts_with("POST /hunter2hunter2 HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert!(
        request
            .head
            .contains("\r\nauthorization: Basic dXNlcjpodW50ZXIyaHVudGVyMg==\r\n")
    );
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        body,
        json!({"to": "+8613800138000", "text": "a text of ours", "parts": [1, "1"]})
    );

    let watch = json!({"id": sent["data"]["id"], "status": ["sent"], "after": 0});
    let item = peer.ask(&json!({"cmdid": 1105, "params": watch}).to_string());
    assert_eq!(item["data"]["events"][0]["to"], "sent", "{item}");
    daemon.signal("TERM");
    let (status, log) = daemon.ended();
    assert!(status.success(), "{log}");
    for written in [&printed, &log, &item.to_string()] {
        for secret in ["hunter2", "dXNlcjpodW50", "13800138000", "a text of ours"] {
            assert!(!written.contains(secret), "{secret}: {written}");
        }
    }
}

#[test]
fn check_config_and_a_start_refuse_a_secret_that_others_may_read() {
    let data = tempfile::tempdir().unwrap();
    let (secret, config) = (data.path().join("token"), data.path().join("config.toml"));
    let (secret_file, config_file) = (secret.to_str().unwrap(), config.to_str().unwrap());
    fs::write(&secret, "hunter2").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&config, settings_of("http://127.0.0.1:1", secret_file)).unwrap();

    let data_dir = data.path().join("data");
    let common = [
        "--config",
        config_file,
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    let expected =
        format!("[[sms.gateways]] \"one\": `http.secrets.token`: {secret_file}: its mode is 644");
    for more in [&["--check-config"][..], &[]] {
        let (ended, _, stderr) = output(&[&common[..], more].concat(), &[]);
        assert!(!ended.status.success());
        assert!(
            stderr.contains(&expected) && !stderr.contains("hunter2"),
            "{stderr}"
        );
    }

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o400)).unwrap();
    let (ended, _, stderr) = output(&[&common[..], &["--check-config"]].concat(), &[]);
    assert!(ended.status.success(), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_taken_on_an_address_of_their_own() {
    let provider = CountingGateway::start(Mode::answer(200, r#"{"id":"m-1"}"#))
        .await
        .unwrap();
    let data = tempfile::tempdir().unwrap();
    let (secret, config) = (data.path().join("token"), data.path().join("config.toml"));
    fs::write(&secret, "hunter2").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let receipts = r#"
[sms.gateways.receipt]
path = "/one"
ref = "/id"
state = "/state"
map = { ok = "delivered" }

[sms.receipts]
listen = "127.0.0.1:0"
"#;
    let settings = settings_of(provider.url(), secret.to_str().unwrap());
    fs::write(&config, settings + receipts).unwrap();

    let mut command = command();
    command
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(data.path().join("data"));
    let mut daemon = Running::spawn(command);
    let mut peer = Peer::connect(&daemon.address());
    let line = daemon.log_line("receipts are taken on ");
    let (_, address) = line.split_once("receipts are taken on ").unwrap();
    let address = address.split([' ', '"']).next().unwrap();

    let params = json!({"to": "+8613800138000", "text": "hello"});
    let sent = peer.ask(&json!({"cmdid": 1101, "params": params}).to_string());
    let id = &sent["data"]["id"];
    let watch = json!({"id": id, "status": ["sent", "delivered"], "after": 0});
    peer.send(&json!({"cmdid": 1105, "params": watch}).to_string());
    assert!(peer.line().contains(r#""to":"sent""#));

    let body = r#"{"id":"m-1","state":"ok"}"#;
    let mut provider = Peer::connect(address);
    let length = body.len();
    provider.send(&format!(
        "POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(provider.line(), "HTTP/1.1 200 OK");
    assert!(peer.line().contains(r#""to":"delivered""#));
    daemon.signal("TERM");
    assert!(daemon.ended().0.success());
}
