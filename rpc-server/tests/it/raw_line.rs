//! The line of a request in handlers and layers: byte by byte as it came, counted, and only where it is taken.

use std::future::Future;
use std::sync::{Arc, Mutex};

use rpc_core::{BoxService, layer_fn, service_fn};
use rpc_server::{
    Context, ListenOptions, Outcome, Params, RawJson, RawLine, Reply, Request, Route, Router,
    Server, Service, State, Status,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::rig::{HOLD, Rig};
use crate::support::{Client, TestServer, call, settle};

/// Answers its line.
const LINE: u32 = 200;
/// Answers its line, from a thread that may block.
const LINE_BLOCKING: u32 = 201;
/// Keeps its line, and answers nothing.
const KEEP: u32 = 202;
/// Answers how many bytes the calls of its connection hold.
const HELD: u32 = 203;

async fn line(line: RawLine) -> Result<String, Status> {
    text(&line)
}

fn text(line: &RawLine) -> Result<String, Status> {
    String::from_utf8(line.to_vec()).map_err(|error| Status::internal(error.to_string()))
}

fn lines() -> Router {
    Router::new()
        .route(LINE, line)
        .unwrap()
        .route(LINE_BLOCKING, Route::blocking(|line: RawLine| text(&line)))
        .unwrap()
}

#[tokio::test]
async fn a_handler_gets_its_line_byte_by_byte_as_it_came() {
    let server = TestServer::start(lines()).await;
    let mut client = server.connect();

    for line in [
        r#"{"id":1,"cmdid":200,"params":{}}"#,
        r#"{ "params" : [1,  2.50], "cmdid":200, "unknown": "\u00e9é", "id": 1 }"#,
        r#"  {"id":1,"cmdid":200}  "#,
        r#"{"id":1,"cmdid":201,"params":"other thread"}"#,
        r#"{"cmdid":200,"timestamp":5,"params":null}"#,
    ] {
        assert_eq!(client.ask(line).await["data"], line);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_turn_keeps_the_line_that_its_handler_takes() {
    let rig = Rig::new();
    let server = TestServer::start(rig.router().merge(lines()).unwrap()).await;
    let mut client = server.connect();
    let waiting = r#"{ "cmdid": 200, "params": "second" }"#;

    client
        .send(format!("{{\"cmdid\":{HOLD}}}\n{waiting}\n"))
        .await;
    settle().await;
    rig.gate.let_pass(1);

    client.expect_code(None, 0).await;
    assert_eq!(client.reply().await["data"], waiting);
}

/// A router whose handler keeps its lines, and where it does.
fn keeping() -> (Router<Kept>, Kept) {
    async fn keep(State(kept): State<Kept>, line: RawLine) {
        kept.lock().unwrap().push(line);
    }

    let kept = Kept::default();
    let router = Router::with_state(kept.clone())
        .route(KEEP, keep)
        .and_then(|router| router.route(HELD, held))
        .unwrap();
    (router, kept)
}

type Kept = Arc<Mutex<Vec<RawLine>>>;

async fn held(context: Context) -> Result<usize, Status> {
    let peer = context.peer();
    peer.map(|peer| peer.held_bytes())
        .ok_or_else(|| Status::internal("the call came over no connection"))
}

#[tokio::test]
async fn a_line_counts_with_its_connection_until_it_is_dropped() {
    let (router, kept) = keeping();
    let server = TestServer::start(router).await;
    let mut client = server.connect();
    let ask = call(7, HELD, "");
    assert_eq!(client.ask(ask.trim()).await["data"], 0);

    let line = call(1, KEEP, &format!("\"params\":\"{}\"", "x".repeat(100_000)));
    client.send(&line).await;
    client.expect_code(1, 0).await;
    assert_eq!(client.ask(ask.trim()).await["data"], line.trim().len());

    kept.lock().unwrap().clear();
    assert_eq!(client.ask(ask.trim()).await["data"], 0);
}

/// Notes the lines of the calls that pass it, of those that have one.
struct Noting {
    inner: BoxService,
    lines: Arc<Mutex<Vec<Option<String>>>>,
}

impl Service for Noting {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let line = request.scope.raw_line();
        let line = line.map(|line| text(&line).unwrap());
        let (call, lines) = (self.inner.call(request), Arc::clone(&self.lines));

        async move {
            lines.lock().unwrap().push(line);
            call.await
        }
    }
}

/// What a layer sees of an ordered call that waits for its turn behind another one.
async fn seen_while_waiting(
    change: impl FnOnce(Router<Rig>) -> Router<Rig>,
) -> Vec<Option<String>> {
    let (rig, lines) = (Rig::new(), Arc::default());
    let noting = Arc::clone(&lines);
    let layer = layer_fn(move |inner| Noting {
        inner,
        lines: Arc::clone(&noting),
    });
    let server = TestServer::start(change(rig.router().layer(layer))).await;
    let mut client = server.connect();

    client.send("{\"cmdid\":101}\n{\"cmdid\":100}\n").await;
    settle().await;
    rig.gate.let_pass(1);
    client.expect_code(None, 0).await;
    client.expect_code(None, 0).await;

    let lines = lines.lock().unwrap();
    lines.clone()
}

#[tokio::test(start_paused = true)]
async fn a_layer_sees_the_line_of_a_call_that_starts_at_once_and_of_others_where_lines_are_kept() {
    let (first, second) = (
        Some(r#"{"cmdid":101}"#.to_owned()),
        Some(r#"{"cmdid":100}"#.to_owned()),
    );

    assert_eq!(
        seen_while_waiting(|router| router).await,
        [first.clone(), None]
    );
    assert_eq!(
        seen_while_waiting(Router::keep_lines).await,
        [first, second]
    );
}

#[tokio::test]
async fn a_traced_handler_gets_its_line() {
    let server = TestServer::start(lines().traced()).await;
    let line = r#"{"id": 1, "cmdid": 200}"#;

    assert_eq!(server.connect().ask(line).await["data"], line);
}

#[tokio::test]
async fn a_call_without_a_connection_has_a_line_that_is_written_for_it() {
    let request = Request::new(LINE, RawJson::parse("[1, 2]").unwrap());
    let reply = lines().call(request).await.unwrap();

    let line: String = reply.data().unwrap().decode().unwrap();
    assert!(!line.ends_with('\n'), "{line:?}");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["cmdid"], &line["params"]),
        (&json!(LINE), &json!([1, 2]))
    );
}

#[tokio::test]
async fn a_line_that_a_fallback_has_lost_is_code_13_and_says_what_keeps_it() {
    let fallback = || {
        let inner = BoxService::new(lines());
        Router::new().fallback(service_fn(move |request| inner.call_boxed(request)))
    };
    let line = r#"{"id":1,"cmdid":200}"#;

    let server = TestServer::start(fallback()).await;
    let reply = server.connect().ask(line).await;
    assert_eq!(reply["code"], 13, "{reply}");
    let message = reply["message"].as_str().unwrap();
    assert!(message.contains("`Router::keep_lines`"), "{message}");

    let server = TestServer::start(fallback().keep_lines()).await;
    assert_eq!(server.connect().ask(line).await["data"], line);
}

#[tokio::test]
async fn params_and_line_come_together() {
    async fn both(Params(n): Params<u64>, line: RawLine) -> Reply {
        Reply::new(&(n, line.len())).unwrap()
    }
    let server = TestServer::start(Router::new().route(100, both).unwrap()).await;
    let mut client = server.connect();

    let line = r#"{"id":1,"cmdid":100,"params":7}"#;
    assert_eq!(client.ask(line).await["data"], json!([7, line.len()]));
    let wrong = client.ask(r#"{"id":2,"cmdid":100,"params":"7"}"#).await;
    assert_eq!(wrong["code"], 3, "{wrong}");
}

#[tokio::test]
async fn a_call_over_http_has_the_line_that_the_server_makes_of_it() {
    let options = ListenOptions::new("127.0.0.1:0").http_calls(true);
    let builder = Server::builder().listen_with(options).router(lines());
    let server = builder.bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let _serving = TestServer::of(server);

    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    let head = "POST /raw_line.line HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 6\r\n\r\n";
    client.send(format!("{head}[1, 2]")).await;
    let response = client.read_to_end().await;

    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let line: String = serde_json::from_str(body).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["cmdid"], &line["params"]),
        (&json!(LINE), &json!([1, 2]))
    );
}
