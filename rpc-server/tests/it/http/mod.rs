//! Calls over HTTP, asked for as bytes.

mod access;
mod calls;
mod pages;
mod streams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use rpc_server::{
    Config, Context, Descriptor, ListenOptions, Params, RawJson, Reply, Route, Router, Server,
    State, Status,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sockets::patient;
use crate::support::{Client, Gate, PATIENCE, Probe, TestServer};

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

/// A stream without an end, each item of which takes some time of the thread.
async fn slow(State(rig): State<Rig>) -> Reply {
    let text = "x".repeat(4 * 1024);
    Reply::stream(stream::repeat_with(move || {
        rig.probe.enter().finish();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(200) {
            std::hint::spin_loop();
        }
        Ok(text.clone())
    }))
}

/// A stream of one item that does not end.
async fn wait() -> Reply {
    Reply::stream(stream::iter([Ok(1)]).chain(stream::pending()))
}

/// Where a stream waits at the gate, and what it comes to behind it.
#[derive(serde::Deserialize)]
struct Late {
    waits: Waits,
    fails: bool,
}

#[derive(PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Waits {
    BeforeItBegins,
    BeforeItsItem,
}

/// A stream of one item, or of a failure.
async fn late(State(rig): State<Rig>, Params(late): Params<Late>) -> Result<Reply, Status> {
    let running = rig.probe.enter();
    let gate = rig.gate.unwrap();
    let end = match late.fails {
        true => Err(Status::data_loss("nothing came")),
        false => Ok(1),
    };
    if late.waits == Waits::BeforeItBegins {
        gate.pass().await;
        running.finish();
        return end.map(|item| Reply::stream(stream::iter([Ok(item)])));
    }

    Ok(Reply::stream(stream::once(async move {
        gate.pass().await;
        running.finish();
        end
    })))
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
        .and_then(|router| router.route(107, Route::new(slow).describe(named("slow"))))
        .and_then(|router| router.route(108, Route::new(late).describe(named("late"))))
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
        let builder = Server::builder().config(patient(config));
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
    let mut found = head(client).await;
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

/// The head of the next response of a connection; its body is not read.
async fn head(client: &mut Client<TcpStream>) -> Response {
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

    Response {
        status,
        headers,
        body: String::new(),
        is_whole: true,
    }
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
