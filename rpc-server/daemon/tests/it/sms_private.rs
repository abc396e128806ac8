//! Numbers and texts in all that a daemon writes: its log with everything on, the access log, metrics, figures, replies
//! and their errors.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rpc_sms::testing::{Answer, CountingGateway, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Peer, Running, command};

/// Part of each number here, and of each text.
const NUMBERS: &str = "13800138";
const TEXTS: &str = "sesame";

struct Scene {
    provider: CountingGateway,
    daemon: Running,
    address: String,
    receipts: String,
    peer: Peer<TcpStream>,
    /// All that was answered.
    written: String,
    _data: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let provider = CountingGateway::start(Mode::answer(200, r#"{"id":"m-1"}"#))
            .await
            .unwrap();
        let data = tempfile::tempdir().unwrap();
        let config = data.path().join("config.toml");
        fs::write(&config, settings(provider.url())).unwrap();

        let mut command = command();
        command
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(data.path().join("data"));
        let mut daemon = Running::spawn(command);
        let address = daemon.address();
        let line = daemon.log_line("receipts are taken on ");
        let (_, receipts) = line.split_once("receipts are taken on ").unwrap();
        let receipts = receipts.split([' ', '"']).next().unwrap().to_owned();
        Self {
            provider,
            peer: Peer::connect(&address),
            daemon,
            address,
            receipts,
            written: String::new(),
            _data: data,
        }
    }

    fn call(&mut self, cmdid: u32, params: &Value) -> Value {
        let reply = self
            .peer
            .ask(&json!({"cmdid": cmdid, "params": params}).to_string());
        self.note(&reply);
        reply
    }

    /// Keeps a line that was answered.
    fn note(&mut self, answer: &Value) {
        self.written.push_str(&answer.to_string());
        self.written.push('\n');
    }

    /// Sends a message and waits until its attempt has ended.
    fn send(&mut self, place: usize) -> String {
        let params =
            json!({"to": format!("+86{NUMBERS}{place:03}"), "text": format!("{TEXTS} {place}")});
        let sent = self.call(1101, &params);
        let id = sent["data"]["id"].as_str().unwrap().to_owned();
        let watch = json!({"id": id, "status": ["sent", "failed", "unknown"], "after": 0});
        // A stream without an id holds up what comes behind it.
        let mut watching = Peer::connect(&self.address);
        let item = watching.ask(&json!({"cmdid": 1105, "params": watch}).to_string());
        self.note(&item);
        id
    }

    /// What HTTP answers to a request.
    fn ask(&mut self, address: &str, request: &str) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        self.written.push_str(&answer);
    }

    fn receipt(&mut self, body: &str) {
        let length = body.len();
        let request = format!(
            "POST /one?to=86{NUMBERS}000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.ask(&self.receipts.clone(), &request);
    }
}

fn settings(provider: &str) -> String {
    format!(
        r#"log_level = "trace"
log_format = "json"

[access_log]
per_million = 1000000

[sms]
countries = ["CN"]
attempts_max = 1

[sms.receipts]
listen = "127.0.0.1:0"

[[sms.gateways]]
name = "one"
kind = "http"

[sms.gateways.http]
url = "{provider}"
timeout_ms = 200
json = {{ to = "{{to}}", text = "{{text}}" }}

[sms.gateways.http.response]
ref = "/id"
code = "/code"
rules = [
  {{ status = [200], class = "sent" }},
  {{ status = ["4xx"], class = "permanent" }},
  {{ status = [503], class = "temporary" }},
]

[sms.gateways.receipt]
path = "/one"
ref = "/id"
state = "/state"
code = "/code"
map = {{ ok = "delivered", no = "undelivered" }}
"#
    )
}

/// What a provider answers, or does not: it repeats what it was given wherever it can.
fn moods() -> Vec<Mode> {
    let echo = format!(r#"{{"id":"m-2","code":"86{NUMBERS}001","message":"{TEXTS}"}}"#);
    let with_headers = Mode::Answer(Answer {
        status: 302,
        headers: vec![
            format!("location: http://127.0.0.1:1/{NUMBERS}/{TEXTS}"),
            format!("retry-after: {TEXTS}"),
        ],
        body: format!("{TEXTS} {NUMBERS}"),
    });
    vec![
        Mode::answer(200, r#"{"id":"m-1"}"#),
        Mode::answer(400, &echo),
        Mode::answer(503, &echo),
        Mode::answer(500, &format!("{TEXTS} {NUMBERS}")),
        with_headers,
        Mode::CutOff,
        Mode::ResetAfter,
        Mode::Hang,
    ]
}

/// Calls that are refused, each with the number or the text where it does not belong.
fn wrong_calls() -> Vec<(u32, Value)> {
    let number = format!("+86{NUMBERS}000");
    let digits: u64 = format!("86{NUMBERS}000").parse().unwrap();
    let long = format!("{TEXTS} ").repeat(400);
    vec![
        (1101, json!({"to": digits, "text": TEXTS})),
        (1101, json!({"to": number, "text": [TEXTS, digits]})),
        (1101, json!({"to": number, "text": {TEXTS: number}})),
        (
            1101,
            json!({"to": number, "template": "a", "vars": {"code": digits}}),
        ),
        (1101, json!({"to": format!("{number}x"), "text": TEXTS})),
        (
            1101,
            json!({"to": number.trim_start_matches('+'), "text": TEXTS}),
        ),
        (1101, json!({"to": number, "text": long})),
        (
            1101,
            json!({"to": number, "text": TEXTS, "vars": {"a": TEXTS}}),
        ),
        (
            1101,
            json!({"to": number, "template": "unknown", "vars": {"code": TEXTS}}),
        ),
        (1101, json!([number, TEXTS])),
        (1104, json!({"to": format!("{number}x")})),
        (1107, json!({"to": number, "text": TEXTS})),
        (1108, json!({"id": number})),
        (1102, json!({"id": number})),
        (1110, json!({"to": number, "action": "add"})),
        (1101, json!({"to": number, "text": TEXTS})),
        (1110, json!({"to": format!("{number}x"), "action": "get"})),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_numbers_nor_texts_are_in_logs_metrics_figures_replies_or_errors() {
    let mut scene = Scene::new().await;
    let mut ids = Vec::new();
    for (place, mood) in moods().into_iter().enumerate() {
        scene.provider.set_mode(mood);
        ids.push(scene.send(place));
    }
    for (cmdid, params) in wrong_calls() {
        scene.call(cmdid, &params);
    }

    // Receipts: one that is taken, one with the number as its code, and some that cannot be read.
    scene.receipt(&format!(
        r#"{{"id":"m-1","state":"no","code":"{NUMBERS}000"}}"#
    ));
    scene.receipt(&format!(r#"{{"id":"{NUMBERS}000","state":"{TEXTS}"}}"#));
    scene.receipt(&format!("{TEXTS} {NUMBERS}"));
    let by_command = json!({"gateway": "one", "id": ids[3], "state": "undelivered", "error": format!("+86{NUMBERS}003: {TEXTS}")});
    assert_eq!(scene.call(1109, &by_command)["data"]["matched"], true);

    scene.call(1102, &json!({"ids": ids}));
    scene.call(1104, &json!({}));
    scene.call(1111, &json!({}));
    scene.call(3, &json!({"connections": 10}));
    for path in ["/metrics", "/stats.json", "/", "/sms", "/readyz"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        scene.ask(&scene.address.clone(), &request);
    }
    let written = scene.written;
    for sample in [
        r#"rpc_sms_accepted_total{class="transactional"} 8"#,
        r#"rpc_sms_refused_total{reason="number_invalid"} 2"#,
        r#"rpc_sms_refused_total{reason="number_opted_out"} 1"#,
        r#"rpc_sms_messages{gateway="one",status="unknown"} 4"#,
        r#"rpc_sms_attempts_total{gateway="one",outcome="permanent"} 1"#,
        r#"rpc_sms_attempts_total{gateway="one",outcome="temporary"} 1"#,
        r#"rpc_sms_attempts_total{gateway="one",outcome="unknown"} 5"#,
        r#"rpc_sms_failures_total{gateway="one",reason="other"} 2"#,
        r#"rpc_sms_gateway_state{gateway="one",state="up"} 1"#,
        r#"rpc_sms_segments_total{gateway="one"} 1"#,
        r#"rpc_sms_queue_oldest_seconds{gateway="one"} 0"#,
    ] {
        let sms: Vec<_> = written
            .lines()
            .filter(|line| line.starts_with("rpc_sms_"))
            .collect();
        assert!(sms.contains(&sample), "{sample}: {sms:#?}");
    }

    scene.daemon.signal("TERM");
    let (status, log) = scene.daemon.ended();
    assert!(status.success(), "{log}");
    assert!(
        log.contains("\"cmdid\":1101"),
        "the access log is on: {log}"
    );
    let lines = written.lines().chain(log.lines());
    let found: Vec<_> = lines
        .filter(|line| line.contains(NUMBERS) || line.contains(TEXTS))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
