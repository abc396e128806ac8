//! Calls over HTTP, asked for as bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_core::Resume;
use rpc_server::{
    AdminConfig, AdminPage, Config, Context, Descriptor, Grants, Kind, ListenOptions, Params,
    RawJson, Reply, Route, Router, Server, State, Status, Tokens,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::logged::Logged;
use crate::support::{Client, Gate, PATIENCE, Probe, TestServer, call};

const ECHO: u32 = 100;
const HOLD: u32 = 101;
const ITEMS: u32 = 103;
const ORDERS: &str = "token-of-orders-0123456789abcdef";
const BILLING: &str = "token-of-billing-0123456789abcdef";

#[derive(Clone, Default)]
struct Rig {
    probe: Probe,
    gate: Option<Gate>,
}

async fn echo(State(rig): State<Rig>, params: RawJson<'static>) -> Reply {
    rig.probe.enter().finish();
    Reply::raw(params)
}

async fn hold(State(rig): State<Rig>) {
    let running = rig.probe.enter();
    match rig.gate {
        Some(gate) => gate.pass().await,
        None => std::future::pending().await,
    }
    running.finish();
}

async fn fail() -> Result<(), Status> {
    let status = Status::new(1042, "no such number").with_details(&json!({"number": 7}));
    Err(status)
}

/// Streams `to` items of `bytes` bytes, then fails where it is told to.
async fn items(State(rig): State<Rig>, Params(script): Params<Value>) -> Reply {
    let running = rig.probe.enter();
    let to = script["to"].as_u64().unwrap_or(u64::MAX);
    let fails = script["fails"].as_bool().unwrap_or(false);
    let text = "x".repeat(usize::try_from(script["bytes"].as_u64().unwrap_or(1)).unwrap());
    let end = stream::iter(fails.then(|| Err(Status::data_loss("the rest is gone"))));
    let items = stream::iter(0..to).map(move |n| {
        let _lives_as_long = &running;
        Ok(json!({"n": n, "text": text}))
    });
    Reply::stream(items.chain(end))
}

async fn tell(context: Context) -> Result<Reply, Status> {
    Reply::new(&json!({
        "identity": context.identity(),
        "meta": context.meta_entries(),
        "timeout_ms": context.timeout().map(|timeout| timeout.as_millis()),
    }))
}

async fn nothing() {}

/// A stream of one item that does not end.
async fn wait() -> Reply {
    Reply::stream(stream::iter([Ok(1)]).chain(stream::pending()))
}

fn router(rig: &Rig) -> Router<Rig> {
    let named = |method| Descriptor::new("test", method);
    Router::with_state(rig.clone())
        .route(ECHO, Route::new(echo).describe(named("echo")))
        .and_then(|router| router.route(HOLD, Route::new(hold).describe(named("hold"))))
        .and_then(|router| router.route(102, Route::new(fail).describe(named("fail"))))
        .and_then(|router| router.route(ITEMS, Route::new(items).describe(named("items"))))
        .and_then(|router| router.route(104, Route::new(tell).describe(named("tell"))))
        .and_then(|router| router.route(105, Route::new(nothing).describe(named("nothing"))))
        .and_then(|router| router.route(106, Route::new(wait).describe(named("wait"))))
        .unwrap()
}

/// A server on TCP with HTTP calls.
struct Http {
    server: TestServer,
    address: SocketAddr,
    rig: Rig,
}

impl Http {
    async fn start() -> Self {
        Self::with(Config::default(), |options| options).await
    }

    async fn with(config: Config, options: impl FnOnce(ListenOptions) -> ListenOptions) -> Self {
        let rig = Rig::default();
        let builder = Server::builder().config(config);
        Self::of(builder, rig, options).await
    }

    async fn of(
        builder: rpc_server::ServerBuilder,
        rig: Rig,
        options: impl FnOnce(ListenOptions) -> ListenOptions,
    ) -> Self {
        let options = options(ListenOptions::new("127.0.0.1:0").http_calls(true));
        let builder = builder.listen_with(options).router(router(&rig));
        let server = builder.bind().await.unwrap();
        let address = server.addresses()[0].tcp().unwrap();
        Self {
            server: TestServer::of(server),
            address,
            rig,
        }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// One exchange over a connection of its own.
    async fn ask(&self, request: &str) -> Response {
        let mut client = self.connect().await;
        client.send(request).await;
        response(&mut client).await
    }
}

/// A request for a call, with further header lines.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:8889\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    /// Whether the body came to its end.
    is_whole: bool,
}

impl Response {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn code(&self) -> &str {
        self.header("rpc-code")
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?} has no JSON"))
    }
}

/// The next response of a connection.
async fn response(client: &mut Client<TcpStream>) -> Response {
    let first = client.line().await;
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .unwrap_or_else(|| panic!("{first:?} is no HTTP"));
    let status = status[..3].parse().unwrap();

    let mut headers = BTreeMap::new();
    loop {
        let line = client.line().await;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }

    let mut found = Response {
        status,
        headers,
        body: String::new(),
        is_whole: true,
    };
    if found.header("transfer-encoding") == "chunked" {
        found.is_whole = read_chunks(client, &mut found.body).await;
    } else {
        let length = found.header("content-length").parse().unwrap_or(0);
        let mut body = vec![0; length];
        timeout(PATIENCE, client.io.read_exact(&mut body))
            .await
            .unwrap()
            .unwrap();
        found.body = String::from_utf8(body).unwrap();
    }
    found
}

/// Reads a chunked body. Returns whether it has an end.
async fn read_chunks(client: &mut Client<TcpStream>, body: &mut String) -> bool {
    loop {
        let line = client.line().await;
        let Ok(length) = usize::from_str_radix(line.trim_end(), 16) else {
            return false;
        };
        let mut chunk = vec![0; length + 2];
        timeout(PATIENCE, client.io.read_exact(&mut chunk))
            .await
            .unwrap()
            .unwrap();
        if length == 0 {
            return true;
        }
        body.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
    }
}

async fn until(what: impl Fn() -> bool) {
    let seen = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, seen).await.expect("it comes to that");
}

#[tokio::test]
async fn a_call_is_made_by_name_and_by_number_and_its_data_are_the_body() {
    let http = Http::start().await;
    let mut client = http.connect().await;
    for path in ["/test.echo", "/100", "/test.echo?a=b"] {
        // Of several lines, which are one line of the protocol.
        client
            .send(post(path, "", "{\"a\":\n [1,\r\n \"\\n\"]}\n"))
            .await;
        let reply = response(&mut client).await;
        assert_eq!((reply.status, reply.code()), (200, "0"), "{reply:?}");
        assert_eq!(reply.json(), json!({"a": [1, "\n"]}));
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("connection"), "");
    }

    let empty = http.ask(&post("/test.echo", "", "")).await;
    assert_eq!((empty.status, &*empty.body), (200, "{}"));
    let nothing = http.ask(&post("/test.nothing", "", "{}")).await;
    assert_eq!(
        (nothing.status, nothing.code(), &*nothing.body),
        (204, "0", "")
    );
    let built_in = http.ask(&post("/rpc.health", "", "{}")).await;
    assert_eq!(built_in.json()["status"], "serving");

    let stats = http.server.stats();
    assert_eq!((stats.requests, stats.bad_frames), (6, 0));
}

#[tokio::test]
async fn a_failure_has_its_code_a_status_and_what_the_protocol_says_of_it() {
    let http = Http::start().await;
    let failed = http.ask(&post("/test.fail", "", "{}")).await;
    assert_eq!((failed.status, failed.code()), (422, "1042"));
    let details = json!({"code": 1042, "message": "no such number", "details": {"number": 7}});
    assert_eq!(failed.json(), details);

    let unknown = http.ask(&post("/7777", "", "{}")).await;
    assert_eq!((unknown.status, unknown.code()), (501, "12"));
    let unknown = http.ask(&post("/test.unknown", "", "{}")).await;
    assert_eq!((unknown.status, unknown.code()), (404, "12"));
    let late = http
        .ask(&post("/test.hold", "Rpc-Timeout-Ms: 1\r\n", "{}"))
        .await;
    assert_eq!((late.status, late.code()), (504, "4"));

    for path in ["/4", "/5", "/6", "/rpc.authenticate"] {
        let control = http
            .ask(&post(path, "", "{\"id\":1,\"token\":\"x\"}"))
            .await;
        assert_eq!((control.status, control.code()), (404, "12"), "{path}");
    }
}

#[tokio::test]
async fn a_body_is_one_json_value_and_nothing_behind_it_reaches_the_protocol() {
    let http = Http::start().await;
    let line = call(1, ECHO, "");
    for body in [
        format!("{{}}}}\n{line}"),
        format!("{{}}\n{line}"),
        "{},\"oneway\":true".to_owned(),
        "{},\"cmdid\":101".to_owned(),
        "{\"a\":\"\n\"}".to_owned(),
        "{\"a\":".to_owned(),
        "a=b".to_owned(),
    ] {
        let refused = http.ask(&post("/test.echo", "", &body)).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "3"),
            "{body}: {refused:?}"
        );
    }
    // Neither does a second request that stands behind one that is refused.
    let mut client = http.connect().await;
    client
        .send(post("/test.echo", "", "{") + &post("/test.echo", "", "{}"))
        .await;
    assert_eq!(response(&mut client).await.status, 400);
    client.expect_end().await;
    assert_eq!(http.rig.probe.started(), 0);
}

#[tokio::test]
async fn what_a_page_of_another_site_can_send_runs_nothing() {
    let http = Http::with(Config::default(), |options| {
        options
            .http_origins(["https://app.example"])
            .http_hosts(["rpc.internal"])
    })
    .await;
    let own = format!("Origin: http://{}\r\n", http.address);
    let right = post("/test.echo", "", "{}");
    let typed = |kind: &str| right.replace("application/json", kind);
    let hosted = |host: &str| right.replace("127.0.0.1:8889", host);

    for (request, status) in [
        (typed("text/plain"), 415),
        (typed("application/x-www-form-urlencoded"), 415),
        (typed("multipart/form-data; boundary=x"), 415),
        (right.replace("Content-Type: application/json\r\n", ""), 415),
        (hosted("evil.example"), 421),
        (hosted("evil.example:8889"), 421),
        (right.replace("POST", "GET"), 405),
        (right.replace("POST", "PUT"), 405),
        (right.replace("POST", "OPTIONS"), 405),
        (right.replace("/test.echo", "/"), 404),
        (post("/test.echo", "Origin: null\r\n", "{}"), 403),
        (
            post("/test.echo", "Origin: http://evil.example\r\n", "{}"),
            403,
        ),
        (
            post("/test.echo", "Origin: http://127.0.0.1\r\n", "{}"),
            403,
        ),
        (
            post("/test.echo", "Sec-Fetch-Site: cross-site\r\n", "{}"),
            403,
        ),
        (
            post(
                "/test.echo",
                "Origin: https://app.example\r\nOrigin: x\r\n",
                "{}",
            ),
            403,
        ),
        (
            post(
                "/test.echo",
                "Cookie: token=1\r\nAuthorization: Basic YTpi\r\n",
                "{}",
            ),
            401,
        ),
    ] {
        let refused = http.ask(&request).await;
        assert_eq!(refused.status, status, "{request}: {refused:?}");
        assert_eq!(refused.header("connection"), "close");
        assert_eq!(refused.header("access-control-allow-origin"), "");
        assert!(refused.json()["message"].is_string());
    }
    assert_eq!(http.rig.probe.started(), 0);
    assert_eq!(
        http.server.stats().bad_frames,
        16,
        "each of them is counted"
    );

    let ours =
        hosted(&http.address.to_string()).replace("Content-Type", &format!("{own}Content-Type"));
    for request in [
        ours,
        hosted("rpc.internal:8889"),
        hosted("localhost"),
        hosted("[::1]:1"),
    ] {
        let taken = http.ask(&request).await;
        assert_eq!(taken.status, 200, "{request}: {taken:?}");
        assert_eq!(taken.header("access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_and_read_the_answer() {
    let http = Http::with(Config::default(), |options| {
        options.http_origins(["https://app.example"])
    })
    .await;
    let origin = "Origin: https://app.example\r\n";
    let preflight = post("/test.echo", origin, "").replace("POST", "OPTIONS");
    let preflight = http.ask(&preflight).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(preflight.header("access-control-allow-methods"), "POST");
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    assert_eq!(preflight.header("access-control-allow-credentials"), "");

    for (path, status) in [("/test.echo", 200), ("/test.fail", 422), ("/none", 404)] {
        let reply = http.ask(&post(path, origin, "{}")).await;
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.header("access-control-allow-origin"),
            "https://app.example"
        );
        assert!(
            reply
                .header("access-control-expose-headers")
                .contains("rpc-code")
        );
        assert_eq!(reply.header("vary"), "origin");
    }
}

#[tokio::test]
async fn each_request_has_the_identity_of_its_own_token_whatever_its_connection_carried_before() {
    let hash = |token| Tokens::hash(token).unwrap();
    let lines = format!("orders {}\nbilling {}\n", hash(ORDERS), hash(BILLING));
    let grants = Grants::new().grant("orders", ["100-104"]).unwrap();
    let grants = grants.grant("billing", ["104"]).unwrap();
    let config = Config::default().with(|config| config.token_failures.delay_ms = 1);
    let builder = Server::builder()
        .config(config)
        .tokens(Tokens::parse(&lines).unwrap())
        .grants(grants);
    let http = Http::of(builder, Rig::default(), |options| {
        options.require_authentication(true)
    })
    .await;

    let mut client = http.connect().await;
    let mut ask = async |path: &str, token: Option<&str>| {
        let header = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        client.send(post(path, &header, "{}")).await;
        response(&mut client).await
    };
    for (token, identity) in [(ORDERS, "orders"), (ORDERS, "orders"), (BILLING, "billing")] {
        assert_eq!(
            ask("/test.tell", Some(token)).await.json()["identity"],
            identity
        );
    }
    let refused = ask("/test.echo", Some(BILLING)).await;
    assert_eq!((refused.status, refused.code()), (403, "7"));
    let anonymous = ask("/test.tell", None).await;
    assert_eq!((anonymous.status, anonymous.code()), (401, "16"));
    assert_eq!(anonymous.header("www-authenticate"), "Bearer");
    assert_eq!(ask("/test.echo", Some(ORDERS)).await.status, 200);
    let wrong = ask("/test.echo", Some("a-token-of-nobody-0123456789abcd")).await;
    assert_eq!((wrong.status, wrong.code()), (401, "16"));
    assert_eq!(wrong.header("connection"), "close");
    assert_eq!(http.rig.probe.started(), 1);

    let access = http.server.stats().access;
    assert_eq!(access.authentications, 3);
    assert_eq!(
        (access.calls_without_grant, access.unauthenticated_calls),
        (1, 1)
    );
}

#[tokio::test]
async fn fields_of_the_head_reach_the_handler_and_the_logs_and_cookies_do_not() {
    let config = Config::default().with(|config| config.access_log.per_million = 1_000_000);
    let logged = Logged::begin();
    let http = Http::with(config, |options| options).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = format!(
        "traceparent: {trace}\r\nIdempotency-Key: k-1\r\nRpc-Timeout-Ms: 2500\r\nCookie: a=b\r\n"
    );
    let told = http.ask(&post("/test.tell", &headers, "{}")).await.json();
    let meta = json!({"traceparent": trace, "idempotency-key": "k-1"});
    assert_eq!(
        told,
        json!({"identity": null, "meta": meta, "timeout_ms": 2500})
    );

    let text = logged.text();
    let line = text
        .lines()
        .find(|line| line.contains("rpc_server::access"))
        .unwrap();
    assert!(
        line.contains("cmdid=104") && line.contains("4bf92f3577b34da6a3ce929d0e0e4736"),
        "{line}"
    );
}

#[tokio::test]
async fn limits_are_those_of_the_service() {
    let config = Config::default().with(|config| {
        config.limits.frame_bytes_max = 10_000;
        config.admission.in_flight_max = 1;
        config.timeouts.frame_timeout_ms = 50;
    });
    let http = Http::with(config, |options| options).await;
    let long = format!("\"{}\"", "x".repeat(10_000));
    let refused = http.ask(&post("/test.echo", "", &long)).await;
    assert_eq!((refused.status, refused.code()), (413, "8"));
    // Of a length that is not told.
    let chunked = "POST /test.echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let refused = http.ask(&format!("{chunked}{}", chunk.repeat(4))).await;
    assert_eq!((refused.status, refused.code()), (413, "8"));

    let mut slow = http.connect().await;
    slow.send("POST /test.echo HTTP/1.1\r\nHost: local").await;
    slow.expect_end().await;
    let slow = http.ask(&format!("{chunked}1\r\n ")).await;
    assert_eq!((slow.status, slow.code()), (408, "4"));

    let mut holding = http.connect().await;
    holding.send(post("/test.hold", "", "{}")).await;
    until(|| http.rig.probe.running() == 1).await;
    let shed = http.ask(&post("/test.echo", "", "{}")).await;
    assert_eq!((shed.status, shed.code()), (429, "8"));
    assert_eq!(shed.json()["rejected"], true);
    assert_eq!(shed.header("retry-after"), "1");

    // A caller that goes away ends its call.
    drop(holding);
    until(|| http.rig.probe.running() == 0).await;
    assert_eq!(http.rig.probe.finished(), 0);
    until(|| http.server.stats().connections_open == 0).await;
}

#[tokio::test]
async fn a_stream_is_lines_or_events_and_one_that_fails_does_not_look_whole() {
    let http = Http::start().await;
    let mut client = http.connect().await;
    for to in [0, 1, 3, 5_000] {
        client
            .send(post("/test.items", "", &format!("{{\"to\":{to}}}")))
            .await;
        let reply = response(&mut client).await;
        if to == 0 {
            assert_eq!((reply.status, &*reply.body), (204, ""));
            continue;
        }
        assert_eq!((reply.status, reply.is_whole), (200, true));
        assert_eq!(reply.header("content-type"), "application/x-ndjson");
        let items = reply
            .body
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert!(items.map(|item| item["n"].as_u64().unwrap()).eq(0..to));
    }

    let events = "Accept: text/event-stream\r\n";
    client.send(post("/test.items", events, "{\"to\":2}")).await;
    let reply = response(&mut client).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let item = |n: u64| format!("data: {{\"n\":{n},\"text\":\"x\"}}\n\n");
    let end = "event: end\ndata: {\"code\":0}\n\n";
    assert_eq!(reply.body, format!("{}{}{end}", item(0), item(1)));

    let failing = "{\"to\":1,\"fails\":true}";
    client.send(post("/test.items", events, failing)).await;
    let failure = "{\"code\":15,\"message\":\"the rest is gone\"}";
    let reply = response(&mut client).await;
    let error = format!("event: error\ndata: {failure}\n\n");
    assert_eq!(reply.body, item(0) + &error);

    client.send(post("/test.items", "", failing)).await;
    let reply = response(&mut client).await;
    assert_eq!(
        reply.body,
        format!("{{\"n\":0,\"text\":\"x\"}}\n{failure}\n")
    );
    assert!(!reply.is_whole, "the body has no end");
    client.expect_end().await;

    // Before the first item it is a failure like any other.
    let failed = http
        .ask(&post("/test.items", "", "{\"to\":0,\"fails\":true}"))
        .await;
    assert_eq!((failed.status, failed.code()), (500, "15"));
}

#[tokio::test]
async fn a_stream_waits_for_its_reader_and_ends_with_it() {
    let config = Config::default().with(|config| config.timeouts.write_stall_timeout_ms = 200);
    let http = Http::with(config, |options| options).await;
    for leaves in [true, false] {
        let mut client = http.connect().await;
        client
            .send(post("/test.items", "", "{\"bytes\":10000}"))
            .await;
        client.line().await;
        until(|| http.rig.probe.running() == 1).await;
        if leaves {
            drop(client);
        }
        // Otherwise it takes nothing, and is cut.
        until(|| http.rig.probe.running() == 0).await;
        until(|| http.server.stats().connections_open == 0).await;
    }
    let stats = http.ask(&post("/rpc.stats", "", "")).await.json();
    let mut limits = stats["limits"].as_array().unwrap().iter();
    let memory = limits.find(|limit| limit["name"] == "limits.memory_bytes_max");
    let memory = memory.unwrap();
    assert!(memory["used"].as_u64().unwrap() < 100_000, "{memory}");
}

#[tokio::test]
async fn a_drain_answers_the_call_under_way_and_ends_connections_between_calls() {
    let rig = Rig {
        gate: Some(Gate::closed()),
        ..Rig::default()
    };
    let mut http = Http::of(Server::builder(), rig, |options| options).await;
    let mut resting = http.connect().await;
    resting.send(post("/test.echo", "", "{}")).await;
    assert_eq!(response(&mut resting).await.status, 200);
    let mut busy = http.connect().await;
    busy.send(post("/test.hold", "", "{}")).await;
    until(|| http.rig.probe.running() == 1).await;

    http.server.begin_to_drain();
    resting.expect_end().await;
    http.rig.gate.as_ref().unwrap().let_pass(1);
    let answered = response(&mut busy).await;
    assert_eq!(
        (answered.status, answered.header("connection")),
        (204, "close")
    );
    busy.expect_end().await;
    assert!(http.server.drained().await.is_clean);
}

#[tokio::test]
async fn a_stream_that_a_drain_cuts_says_so_in_its_last_line_and_does_not_look_whole() {
    for (accept, event) in [("application/x-ndjson", ""), ("text/event-stream", "error")] {
        let config = Config::default().with(|config| config.drain.timeout_ms = 0);
        let mut http = Http::with(config, |options| options).await;
        let mut client = http.connect().await;
        let headers = format!("Accept: {accept}\r\n");
        client.send(post("/test.wait", &headers, "{}")).await;
        until(|| http.server.stats().in_flight == 1).await;
        http.server.begin_to_drain();
        assert!(!http.server.drained().await.is_clean);

        let response = response(&mut client).await;
        let (first, end) = response.body.trim_end().split_once('\n').unwrap();
        assert!(first.ends_with('1'), "{first}");
        assert!(end.contains("\"code\":14,"), "{end}");
        assert!(end.contains("drain.timeout_ms"), "{end}");
        assert!(end.contains(event), "{end}");
        assert_eq!(response.is_whole, !event.is_empty(), "{accept}");
    }
}

#[tokio::test]
async fn pages_win_where_there_are_any_and_calls_go_on_beside_them() {
    let builder = Server::builder().admin(AdminConfig::default());
    let http = Http::of(builder, Rig::default(), |options| options).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (path, status) in [
        ("/healthz", 200),
        ("/metrics", 200),
        ("/", 200),
        ("/test.echo", 405),
    ] {
        assert_eq!(http.ask(&get(path)).await.status, status, "{path}");
    }
    assert_eq!(http.ask(&post("/healthz", "", "{}")).await.status, 404);
    assert_eq!(http.ask(&post("/test.echo", "", "{}")).await.status, 200);

    // Lines are lines.
    let mut lines = http.connect().await;
    let reply = lines.ask(call(1, ECHO, "\"params\":7").trim_end()).await;
    assert_eq!(reply, json!({"id": 1, "code": 0, "data": 7}));
}

#[tokio::test]
async fn the_page_of_a_service_has_its_files_and_calls_its_own_commands_without_a_token() {
    let page = AdminPage::new("/echo", "Echo", "<!doctype html><title>Echo</title>")
        .file(
            "/echo.js",
            "text/javascript; charset=utf-8",
            "\"use strict\";",
        )
        .calls([ECHO.into()]);
    let builder = Server::builder()
        .admin(AdminConfig::default())
        .admin_page(page);
    let http = Http::of(builder, Rig::default(), |options| options.http_calls(false)).await;

    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
    let shown = http.ask(&get("/echo")).await;
    assert_eq!(
        (shown.status, shown.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        shown
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert_eq!(http.ask(&get("/echo.js")).await.body, "\"use strict\";");
    let status = http.ask(&get("/")).await;
    assert!(status.body.contains("<a href=\"/echo\">Echo</a>"));
    let nothing = http.ask(&get("/nothing")).await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.body.contains(", /echo."), "{}", nothing.body);

    let own = "Origin: http://127.0.0.1:8889\r\n";
    for (path, headers, status) in [
        ("/test.echo", own, 200),
        ("/test.echo", "", 403),
        ("/test.echo", "Origin: http://evil.example\r\n", 403),
        ("/test.fail", own, 401),
    ] {
        let reply = http.ask(&post(path, headers, "{}")).await;
        assert_eq!(reply.status, status, "{path} {headers}: {reply:?}");
    }
}

#[tokio::test]
async fn two_pages_at_one_path_are_refused_by_name() {
    let page = || AdminPage::new("/echo", "Echo", "");
    let bound = Server::builder()
        .admin_page(page())
        .admin_page(page())
        .bind();
    let Err(error) = bound.await else {
        panic!("two pages have one path");
    };
    assert_eq!(
        error.to_string(),
        "the page Echo: the path \"/echo\" belongs to another page or file"
    );
}

#[tokio::test]
async fn without_the_setting_a_post_is_refused_and_runs_nothing() {
    let rig = Rig::default();
    let options = ListenOptions::new("127.0.0.1:0");
    let builder = Server::builder().listen_with(options).router(router(&rig));
    let server = builder.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);

    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    client.send(post("/test.echo", "", "{}")).await;
    let refused = response(&mut client).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("Nothing was executed"));
    assert_eq!(rig.probe.started(), 0);
}

#[tokio::test]
async fn a_request_is_the_same_however_it_is_cut() {
    let http = Http::start().await;
    let request = post("/test.echo", "", "{\"a\":1}");
    for cut in 1..request.len() {
        let mut client = http.connect().await;
        client.send(&request[..cut]).await;
        tokio::task::yield_now().await;
        client.send(&request[cut..]).await;
        let reply = response(&mut client).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (200, "{\"a\":1}"),
            "cut at {cut}"
        );
    }

    // Two that come together are answered one after the other.
    let mut client = http.connect().await;
    client.send(request.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(response(&mut client).await.body, "{\"a\":1}");
    }
    assert!(client.io.buffer().is_empty());
    let nothing = timeout(Duration::from_millis(1), client.io.fill_buf()).await;
    assert!(nothing.is_err(), "the connection stays open");
}

#[tokio::test]
async fn the_document_of_openapi_has_what_its_reader_may_call() {
    let lines = format!("orders {}\n", Tokens::hash(ORDERS).unwrap());
    let builder = Server::builder()
        .tokens(Tokens::parse(&lines).unwrap())
        .grants(Grants::new().grant("orders", ["100"]).unwrap());
    let http = Http::of(builder, Rig::default(), |options| options).await;

    let get =
        |headers: &str| format!("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let paths = async |headers: &str| {
        let document = http.ask(&get(headers)).await;
        assert_eq!(document.header("content-type"), "application/json");
        let document = document.json();
        assert_eq!(document["openapi"], "3.1.0");
        document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let built_in = ["/rpc.describe", "/rpc.health", "/rpc.ping", "/rpc.stats"];
    assert_eq!(paths("").await, built_in);
    let token = format!("Authorization: Bearer {ORDERS}\r\n");
    assert!(paths(&token).await.contains(&"/test.echo".to_owned()));
    let evil = http.ask(&get("Origin: http://evil.example\r\n")).await;
    assert_eq!(evil.status, 403);
}

#[tokio::test]
async fn pages_may_read_by_calls_of_their_own_origin_and_change_with_a_token_where_calls_are_off() {
    let lines = format!("orders {}\n", Tokens::hash(ORDERS).unwrap());
    let builder = Server::builder()
        .admin(AdminConfig::default())
        .tokens(Tokens::parse(&lines).unwrap());
    let http = Http::of(builder, Rig::default(), |options| options.http_calls(false)).await;

    let own = "Origin: http://127.0.0.1:8889\r\n";
    let with_token = format!("{own}Authorization: Bearer {ORDERS}\r\n");
    for (path, headers, status) in [
        ("/rpc.stats", own, 200),
        ("/rpc.health", "Sec-Fetch-Site: same-origin\r\n", 200),
        ("/test.echo", own, 401),
        ("/test.echo", &*with_token, 200),
        ("/rpc.stats", "", 403),
        ("/test.echo", "", 403),
        ("/rpc.stats", "Origin: http://evil.example\r\n", 403),
        ("/rpc.stats", "Origin: http://127.0.0.1:8890\r\n", 403),
    ] {
        let reply = http.ask(&post(path, headers, "{}")).await;
        assert_eq!(reply.status, status, "{path} {headers}: {reply:?}");
    }
    let rebound = post("/rpc.stats", "Origin: http://evil.example\r\n", "{}");
    let rebound = http
        .ask(&rebound.replace("127.0.0.1:8889", "evil.example"))
        .await;
    assert_eq!(rebound.status, 421);
    assert_eq!(http.rig.probe.started(), 1);
}

#[tokio::test]
async fn events_of_a_resumable_stream_have_their_cursors_as_ids_and_go_on_behind_the_last_one() {
    async fn follow(Params(params): Params<Value>) -> Reply {
        let (after, to) = (
            params["after"].as_u64().unwrap(),
            params["to"].as_u64().unwrap(),
        );
        Reply::stream(stream::iter(after + 1..=to).map(|n| Ok(json!({"n": n}))))
    }
    let named = Descriptor::new("test", "follow").kind(Kind::Stream);
    let named = named.resumable([Resume::new("n", "after")]);
    let follow = Router::new()
        .route(200, Route::new(follow).describe(named))
        .unwrap();
    let router = router(&Rig::default()).merge(follow).unwrap();
    let options = ListenOptions::new("127.0.0.1:0").http_calls(true);
    let server = Server::builder().listen_with(options).router(router);
    let server = server.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _server = TestServer::of(server);

    let ask = async |path: &str, last: &str| {
        let headers = format!("Accept: text/event-stream\r\n{last}");
        let mut client = Client::new(TcpStream::connect(address).await.unwrap());
        client
            .send(post(path, &headers, "{\"after\":0,\"to\":3}"))
            .await;
        response(&mut client).await
    };
    let event = |n: u64| format!("id: {{\"after\":{n}}}\ndata: {{\"n\":{n}}}\n\n");
    let end = "event: end\ndata: {\"code\":0}\n\n";
    let all = ask("/test.follow", "").await;
    assert_eq!(
        all.body,
        [event(1), event(2), event(3), end.into()].concat()
    );
    let rest = ask("/test.follow", "Last-Event-ID: {\"after\":2}\r\n").await;
    assert_eq!(rest.body, event(3) + end);
    let none = ask("/test.follow", "Last-Event-ID: {\"after\":3}\r\n").await;
    assert_eq!((none.status, none.body), (200, end.to_owned()));

    for (path, last) in [
        ("/test.follow", "17"),
        ("/test.follow", "{\"to\":9}"),
        ("/test.follow", "{\"after\":2,\"to\":9}"),
        ("/test.items", "{\"after\":2}"),
        ("/test.echo", "{\"after\":2}"),
    ] {
        let refused = ask(path, &format!("Last-Event-ID: {last}\r\n")).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "3"),
            "{path} {last}"
        );
    }
}
