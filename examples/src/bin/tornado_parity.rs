//! The handlers of tornado-TCP's README in this API; then the bytes of its old client, and a modern
//! client, against the same server.
//!
//! `tornado_parity` shows this on a free port and exits. `tornado_parity --listen 127.0.0.1:8889`
//! serves until Ctrl-C, at the address that tornado-TCP's own `Client/Demo.py` calls.
//!
//! | tornado-TCP | here |
//! | --- | --- |
//! | a class derived from `BaseHandler`, with `process` | an async function |
//! | what `BaseHandler` holds for all handlers | `State` |
//! | `@urls.handler(cmdid)` | `Router::route(cmdid, function)` |
//! | `request.params["content"]` | `Params<Test>`, decoded and checked before the handler starts |
//! | `request.address`, `request.timestamp` | `Context` |
//! | `self.res` | what the function returns |
//! | `Python Manage.py` | `Server::builder()`, `serve` |

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_client::Client;
use rpc_server::{Context, Params, RouteError, Router, Server, State, Status};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

type Error = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "usage: tornado_parity [--listen ADDR]";
const EXIT_USAGE: u8 = 2;

/// tornado-TCP's `TEST_CMDID`.
const TEST: u32 = 10_000;
const HANDLED: u32 = 10_001;

/// What `BaseHandler` is for: what all handlers share.
#[derive(Clone, Default)]
struct Base {
    handled: Arc<AtomicU64>,
}

/// Params of [`TEST`], the same type for server and client.
#[derive(Debug, Serialize, Deserialize)]
struct Test {
    content: String,
}

/// `TestHandler`: logs its params. It returns nothing, and the reply is `{"code":0}`.
async fn test(State(base): State<Base>, context: Context, Params(Test { content }): Params<Test>) {
    // Relaxed: a count orders no other memory.
    base.handled.fetch_add(1, Ordering::Relaxed);

    let peer = context.peer().map(ToString::to_string).unwrap_or_default();
    println!(
        "    server: {content:?} from {peer}, made at {}",
        context.timestamp()
    );
}

/// A handler of one's own, with a result: how often `test` has run.
async fn handled(State(base): State<Base>) -> Result<u64, Status> {
    Ok(base.handled.load(Ordering::Relaxed))
}

/// The table that `@urls.handler` fills. A cmdid that is taken twice is an error here.
fn router() -> Result<Router<Base>, RouteError> {
    Router::with_state(Base::default())
        .route(TEST, test)?
        .route(HANDLED, handled)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let outcome = match arguments[..] {
        [] => demonstrate().await,
        ["--listen", address] => listen(address).await,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };

    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tornado_parity: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn listen(address: &str) -> Result<(), Error> {
    let server = Server::builder()
        .listen(address)
        .router(router()?)
        .bind()
        .await?;

    // Before anybody is told of the server, so that no signal is missed.
    let shutdown = rpc_server::shutdown_signal();

    println!("listening on {}; Ctrl-C ends it", server.addresses()[0]);
    server.serve(shutdown).await?;
    println!("stopped");
    Ok(())
}

async fn demonstrate() -> Result<(), Error> {
    let server = Server::builder()
        .listen("127.0.0.1:0")
        .router(router()?)
        .bind()
        .await?;
    let (address, handle) = (server.addresses()[0].to_string(), server.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { _ = stopped.await }));

    old_client(&address).await?;
    modern_client(&address).await?;

    let stats = handle.stats();
    println!(
        "\nserver: {} requests on {} connections",
        stats.requests, stats.connections_accepted
    );
    drop(stop);
    serving.await??;
    Ok(())
}

/// What tornado-TCP's client puts on the wire: no id, so that replies come in the order of the
/// requests.
const HELLO: &str = r#"{"timestamp": 1437000000, "cmdid": 10000, "params": {"content": "Hello world!"}}
"#;

/// What made the old server's handler raise, and left its client waiting.
const UNFIT: &str = r#"{"timestamp": 1437000000, "cmdid": 10000, "params": {"text": "Hello world!"}}
"#;
const UNKNOWN: &str = r#"{"timestamp": 1437000000, "cmdid": 4711, "params": {}}
"#;
const COUNT: &str = r#"{"timestamp": 1437000000, "cmdid": 10001, "params": {}}
"#;

async fn old_client(address: &str) -> Result<(), Error> {
    let mut socket = BufReader::new(TcpStream::connect(address).await?);

    println!("the old client: three requests in one packet");
    exchange(&mut socket, &[HELLO, HELLO, HELLO], &[r#"{"code":0}"#; 3]).await?;

    println!(
        "\nthe old client: every request gets its reply, in order, those that cannot succeed too"
    );
    let replies = [
        r#"{"code":0,"data":3}"#,
        r#"{"code":3,"#,
        r#"{"code":12,"#,
        r#"{"code":0}"#,
    ];
    exchange(&mut socket, &[COUNT, UNFIT, UNKNOWN, HELLO], &replies).await
}

/// Sends the requests in one write, and checks how each reply begins.
async fn exchange(
    socket: &mut BufReader<TcpStream>,
    requests: &[&str],
    expected: &[&str],
) -> Result<(), Error> {
    socket.write_all(requests.concat().as_bytes()).await?;

    for (request, expected) in requests.iter().zip(expected) {
        let mut reply = String::new();
        socket.read_line(&mut reply).await?;

        if !reply.starts_with(expected) {
            return Err(format!("expected {expected}…, got {reply:?}").into());
        }
        print!("  > {request}  < {reply}");
    }

    Ok(())
}

async fn modern_client(address: &str) -> Result<(), Error> {
    println!("\nthe modern client: typed calls, side by side on one connection");
    let client = Client::new(address);

    let mut calls = JoinSet::new();
    for n in 1..=3 {
        let client = client.clone();
        calls.spawn(async move {
            let params = Test {
                content: format!("Hello from task {n}!"),
            };
            client.call::<_, ()>(TEST, &params).await
        });
    }

    while let Some(done) = calls.join_next().await {
        done??;
    }

    let handled: u64 = client.call(HANDLED, &()).await?;
    println!("  the test command has run {handled} times");

    let Err(error) = client.call::<_, ()>(TEST, "no object").await else {
        return Err("params that do not fit were accepted".into());
    };
    println!("  params that do not fit: {error}");
    Ok(())
}
