//! The daemon's traces, as a collector of OpenTelemetry has them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::daemon::{PATIENCE, Peer};
use crate::daemon_life::Place;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Takes OTLP over HTTP on a free port of this machine.
struct Collector {
    endpoint: String,
    batches: Receiver<Value>,
    refuses: Arc<AtomicBool>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, batches) = channel();
        let refuses = Arc::new(AtomicBool::new(false));
        let refusing = Arc::clone(&refuses);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, refusing) = (sender.clone(), Arc::clone(&refusing));
                thread::spawn(move || serve(BufReader::new(stream.unwrap()), &sender, &refusing));
            }
        });
        Self {
            endpoint,
            batches,
            refuses,
        }
    }

    /// The resource of the first batch, and the spans of all that have come.
    fn received(&self) -> (Value, Vec<Value>) {
        let first = self.batches.recv_timeout(PATIENCE).expect("spans come");
        let resource = first["resourceSpans"][0]["resource"].clone();
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let mut spans = Vec::new();
        for batch in [first].into_iter().chain(self.batches.try_iter()) {
            for scope in list(&batch, "resourceSpans")
                .iter()
                .flat_map(|of| list(of, "scopeSpans"))
            {
                spans.extend(list(&scope, "spans"));
            }
        }
        (resource, spans)
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: BufReader<TcpStream>, batches: &Sender<Value>, refuses: &AtomicBool) {
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
            head.push(line);
        }
        assert_eq!(head[0], "post /v1/traces http/1.1");
        assert!(
            head.contains(&"content-type: application/json".into()),
            "{head:?}"
        );
        assert!(head.contains(&"x-tenant: shop".into()), "{head:?}");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let status = if refuses.load(Ordering::SeqCst) {
            "503 Service Unavailable"
        } else {
            // The reader is gone once the test is over.
            let _ = batches.send(serde_json::from_slice(&body).unwrap());
            "200 OK"
        };
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{{}}"
        );
        if stream.get_mut().write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn config(endpoint: &str, rest: &str) -> String {
    format!(
        "listen = [\"127.0.0.1:0\"]\nlog_level = \"rpc_server=info,rpc_server::trace=off\"\n\
         [traces]\nendpoint = \"{endpoint}\"\nservice_name = \"orders\"\n{rest}"
    )
}

const ENV: [(&str, &str); 2] = [
    ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop"),
    ("OTEL_RESOURCE_ATTRIBUTES", "host.name=here"),
];

fn attribute<'v>(of: &'v Value, key: &str) -> &'v Value {
    let all = of["attributes"].as_array().unwrap();
    all.iter()
        .find(|attribute| attribute["key"] == key)
        .map_or(&Value::Null, |found| &found["value"])
}

/// A call in the caller's trace, with its flags.
fn call(flags: &str) -> String {
    let traceparent = format!("00-{TRACE}-{CALLER}-{flags}");
    json!({ "cmdid": 10000, "params": "a secret", "meta": { "traceparent": traceparent } })
        .to_string()
}

#[test]
fn calls_are_spans_in_their_callers_traces_and_those_that_wait_are_sent_at_the_stop() {
    let (place, collector) = (Place::new(), Collector::start());
    // None before the stop.
    let mut daemon = place.start(&config(&collector.endpoint, "interval_ms = 600000"), &ENV);
    let mut peer = Peer::connect(&daemon.address());
    assert_eq!(peer.ask(&call("01"))["code"], 0);
    assert_eq!(peer.ask(&call("00"))["code"], 0);
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 0);
    assert_eq!(peer.ask("{\"cmdid\":0}")["code"], 0);
    daemon.signal("TERM");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");

    let (resource, spans) = collector.received();
    assert_eq!(
        attribute(&resource, "service.name"),
        &json!({"stringValue": "orders"})
    );
    assert_eq!(
        attribute(&resource, "host.name"),
        &json!({"stringValue": "here"})
    );
    assert_eq!(
        spans.len(),
        2,
        "one was not to be sampled, built-in commands have none: {spans:?}"
    );
    assert_eq!(spans[0]["traceId"], TRACE);
    assert_eq!(spans[0]["parentSpanId"], CALLER);
    assert_eq!(
        (&spans[0]["name"], &spans[0]["kind"]),
        (&json!("test.test"), &json!(2)),
        "{spans:?}"
    );
    assert_eq!(attribute(&spans[0], "rpc.code"), &json!({"intValue": "0"}));
    assert_eq!(
        attribute(&spans[0], "rpc.cmdid"),
        &json!({"intValue": "10000"})
    );
    assert_ne!(spans[1]["traceId"], TRACE);
    assert_eq!(
        spans[1]["parentSpanId"].as_str().unwrap_or_default(),
        "",
        "{spans:?}"
    );
    assert!(!format!("{spans:?}").contains("a secret"), "{spans:?}");
}

#[test]
fn a_share_of_none_leaves_the_traces_that_their_callers_have_sampled() {
    let (place, collector) = (Place::new(), Collector::start());
    let mut daemon = place.start(
        &config(&collector.endpoint, "sampled_per_million = 0"),
        &ENV,
    );
    let mut peer = Peer::connect(&daemon.address());
    for line in ["{\"cmdid\":10000}", &call("01"), &call("00")] {
        assert_eq!(peer.ask(line)["code"], 0);
    }
    daemon.signal("TERM");
    drop(peer);
    daemon.ended();
    let (_, spans) = collector.received();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(spans[0]["parentSpanId"], CALLER);
}

#[test]
fn a_call_that_a_limit_refuses_has_a_span_with_its_code() {
    let (place, collector) = (Place::new(), Collector::start());
    let limit = "[[commands]]\ncmdid = 10000\nrequests_per_second = 1";
    let mut daemon = place.start(&config(&collector.endpoint, limit), &ENV);
    let mut peer = Peer::connect(&daemon.address());
    let refused = (0..100).find(|_| peer.ask(&call("01"))["code"] == 8);
    assert!(refused.is_some(), "more than one a second was asked for");
    daemon.signal("TERM");
    drop(peer);
    daemon.ended();
    let (_, spans) = collector.received();
    let codes: Vec<_> = spans
        .iter()
        .map(|span| attribute(span, "rpc.code")["intValue"].clone())
        .collect();
    assert!(
        codes.contains(&json!("0")) && codes.contains(&json!("8")),
        "{codes:?}"
    );
}

#[test]
fn a_collector_that_takes_nothing_is_said_once_and_so_is_its_return() {
    let (place, collector) = (Place::new(), Collector::start());
    collector.refuses.store(true, Ordering::SeqCst);
    let mut daemon = place.start(&config(&collector.endpoint, "interval_ms = 1"), &ENV);
    let mut peer = Peer::connect(&daemon.address());
    assert_eq!(peer.ask(&call("01"))["code"], 0);
    let line = daemon.log_line("traces are lost");
    assert!(
        line.contains("WARN") && line.contains(&collector.endpoint),
        "{line}"
    );
    collector.refuses.store(false, Ordering::SeqCst);
    assert_eq!(peer.ask(&call("01"))["code"], 0);
    daemon.log_line("the collector takes traces again");
    assert_eq!(
        collector.received().1.len(),
        1,
        "what was refused is not kept"
    );
}

#[test]
fn a_collector_that_never_answers_keeps_no_call_and_no_stop_waiting() {
    let (place, silent) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut daemon = place.start(
        &config(&endpoint, "interval_ms = 1\ntimeout_ms = 200"),
        &ENV,
    );
    let mut peer = Peer::connect(&daemon.address());
    for _ in 0..100 {
        assert_eq!(peer.ask(&call("01"))["code"], 0);
    }
    daemon.log_line("traces are lost");
    assert_eq!(peer.ask(&call("01"))["code"], 0);
    daemon.signal("TERM");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn spans_that_do_not_fit_into_the_queue_are_dropped_and_the_log_says_so() {
    let (place, silent) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let rest = "interval_ms = 600000\ntimeout_ms = 600000\nqueue_max = 5";
    let config = config(&endpoint, rest).replace("trace=off", "trace=off,opentelemetry_sdk=warn");
    let mut daemon = place.start(&config, &ENV);
    let mut peer = Peer::connect(&daemon.address());
    for _ in 0..20 {
        assert_eq!(peer.ask(&call("01"))["code"], 0);
    }
    daemon.log_line("SpanDroppingStarted");
}
