//! The metrics of the SMS service, as Prometheus reads them over HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpStream;

use rpc_sms::testing::{Answer, CountingGateway, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Peer, Running, command};

const ALERTS: &str = include_str!("../../../../docs/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../../../docs/monitoring/dashboard.json");

/// A daemon with a gateway whose provider answers as the history has it.
struct Bench {
    provider: CountingGateway,
    daemon: Running,
    address: String,
    peer: Peer<TcpStream>,
    _dir: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let provider = CountingGateway::start(Mode::Hang).await.unwrap();
        let settings = format!(
            r#"[sms]
countries = ["*"]

[[sms.gateways]]
name = "one"
kind = "http"

[sms.gateways.http]
url = "{}"
json = {{ to = "{{to}}", text = "{{text}}" }}

[sms.gateways.http.response]
parts = "/parts"
ref = "/id"
code = "/code"
rules = [
  {{ code = ["0"],     class = "sent" }},
  {{ code = ["9"],     class = "permanent", reason = "blocked" }},
  {{ status = [400],   class = "permanent", reason = "number" }},
]
"#,
            provider.url()
        );
        fs::write(dir.path().join("config.toml"), settings).unwrap();

        let mut command = command();
        command
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(dir.path().join("config.toml"))
            .arg("--data-dir")
            .arg(dir.path().join("data"));
        let mut daemon = Running::spawn(command);
        let address = daemon.address();
        Self {
            provider,
            peer: Peer::connect(&address),
            daemon,
            address,
            _dir: dir,
        }
    }

    fn call(&mut self, cmdid: u32, params: &Value) -> Value {
        self.peer
            .ask(&json!({"cmdid": cmdid, "params": params}).to_string())
    }

    /// Sends a text whose attempt is answered so, and waits until a message has gone from `sending` to the state.
    fn send(&mut self, class: &str, text: &str, answer: Mode, state: &str) {
        self.provider.set_mode(answer);
        let params = json!({"to": "+8613800138000", "text": text, "class": class});
        let sent = self.call(1101, &params);
        assert_eq!(sent["code"], 0, "{sent}");

        let watch = json!({"id": sent["data"]["id"], "status": [state], "after": 0});
        let mut watching = Peer::connect(&self.address);
        watching.send(&json!({"cmdid": 1105, "params": watch}).to_string());
        loop {
            let item: Value = serde_json::from_str(&watching.line()).unwrap();
            let events = item["data"]["events"].as_array().unwrap();
            if events.iter().any(|event| event["from"] == "sending") {
                return;
            }
        }
    }

    /// The samples of the SMS service, each with its value.
    fn samples(&self) -> BTreeMap<String, f64> {
        let mut pages = Peer::connect(&self.address);
        pages.send("GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r");
        assert_eq!(pages.line(), "HTTP/1.1 200 OK");

        let lines = std::iter::from_fn(|| pages.whole_line());
        let samples = lines.filter(|line| line.starts_with("rpc_sms_"));
        let pair = |line: String| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (sample.to_owned(), value.trim().parse().unwrap())
        };
        samples.map(pair).collect()
    }
}

/// The samples that count something, or are 1 for a state, but for ages.
fn counted(samples: &BTreeMap<String, f64>) -> Vec<String> {
    let counted = samples
        .iter()
        .filter(|(sample, value)| **value > 0.0 && !sample.starts_with("rpc_sms_queue_oldest"));
    counted
        .map(|(sample, value)| format!("{sample} {value}"))
        .collect()
}

/// Every metric of the SMS service with the labels that an expression asks for, by its name.
fn asked(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (at, _) in text.match_indices("rpc_sms_") {
        let rest = &text[at..];
        let end = rest.find(|character: char| !character.is_ascii_lowercase() && character != '_');
        let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));

        let labels = asked.entry(name).or_default();
        let selector = behind
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        if let Some((selector, _)) = selector {
            let pairs = selector.split(',');
            labels.extend(
                pairs.filter_map(|pair| Some(pair.split_once('=')?.0.trim_end_matches('!'))),
            );
        }
        let grouped = text[..at].rsplit_once("by (").map(|(_, inner)| inner);
        if let Some((inner, between)) = grouped.and_then(|inner| inner.split_once(')'))
            && !between.contains([')', '\n'])
        {
            labels.extend(inner.split(", "));
        }
    }
    // Prometheus adds it.
    for labels in asked.values_mut() {
        labels.remove("instance");
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_over_http_have_what_a_known_history_of_messages_adds_up_to() {
    let mut bench = Bench::start().await;
    assert_eq!(
        counted(&bench.samples()),
        [r#"rpc_sms_gateway_state{gateway="one",state="up"} 1"#]
    );

    let long = "a".repeat(161);
    let sent = Mode::answer(200, r#"{"id":"m-1","code":"0"}"#);
    bench.send("transactional", &long, sent.clone(), "sent");
    bench.send("otp", "4711", sent, "sent");
    let parts = r#"{"parts":[{"id":"m-2","code":"0"},{"code":"9"}]}"#;
    bench.send("marketing", &long, Mode::answer(200, parts), "failed");
    bench.send("marketing", "sale", Mode::answer(400, "{}"), "failed");
    bench.send("transactional", "a", Mode::ResetAfter, "unknown");
    assert_eq!(
        bench.call(1101, &json!({"to": "1", "text": "a"}))["code"],
        1100
    );
    let again = json!({"to": "+8613800138000", "text": "4712", "class": "otp"});
    assert_eq!(bench.call(1101, &again)["code"], 1103);

    // The last one: the gateway rests for an hour.
    let throttled = Mode::Answer(Answer {
        status: 429,
        headers: vec!["retry-after: 3600".into()],
        body: "{}".into(),
    });
    bench.send("transactional", "a", throttled, "queued");
    let samples = bench.samples();
    assert_eq!(
        counted(&samples),
        [
            r#"rpc_sms_accepted_total{class="marketing"} 2"#,
            r#"rpc_sms_accepted_total{class="otp"} 1"#,
            r#"rpc_sms_accepted_total{class="transactional"} 3"#,
            r#"rpc_sms_attempts_total{gateway="one",outcome="permanent"} 2"#,
            r#"rpc_sms_attempts_total{gateway="one",outcome="sent"} 2"#,
            r#"rpc_sms_attempts_total{gateway="one",outcome="throttled"} 1"#,
            r#"rpc_sms_attempts_total{gateway="one",outcome="unknown"} 1"#,
            r#"rpc_sms_failures_total{gateway="one",reason="blocked"} 1"#,
            r#"rpc_sms_failures_total{gateway="one",reason="number"} 1"#,
            r#"rpc_sms_gateway_state{gateway="one",state="throttled"} 1"#,
            r#"rpc_sms_messages{gateway="one",status="queued"} 1"#,
            r#"rpc_sms_messages{gateway="one",status="unknown"} 1"#,
            r#"rpc_sms_refused_total{reason="number_invalid"} 1"#,
            r#"rpc_sms_refused_total{reason="number_limit"} 1"#,
            // Two of the long one, one of the code, and the part that was accepted.
            r#"rpc_sms_segments_total{gateway="one"} 4"#,
        ]
    );

    for text in [ALERTS, &DASHBOARD.replace("\\\"", "\"")] {
        for (name, labels) in asked(text) {
            let of_name = samples.keys().find(|sample| {
                let rest = sample.strip_prefix(name);
                rest.is_some_and(|rest| rest.starts_with('{'))
            });
            let sample = of_name.unwrap_or_else(|| panic!("there is no {name}"));
            for label in labels {
                assert!(
                    sample.contains(&format!("{label}=\"")),
                    "{label} of {sample}"
                );
            }
        }
    }

    bench.daemon.signal("TERM");
    assert!(bench.daemon.ended().0.success());
}

#[test]
fn the_labels_that_an_expression_asks_for_are_found() {
    let text =
        r#"sum by (gateway, reason) (rate(rpc_sms_a{instance=~"x",state!="up"}[5m])) > rpc_sms_b"#;
    let expected = [
        ("rpc_sms_a", vec!["gateway", "reason", "state"]),
        ("rpc_sms_b", Vec::new()),
    ];
    let expected = expected.map(|(name, labels)| (name, labels.into_iter().collect()));
    assert_eq!(asked(text), BTreeMap::from(expected));
}
