//! The hot path of one side alone, for counting instructions: `hot_path SIDE CALLS [BYTES]`, where the side is `server`
//! or `client`, and `typed-server` or `typed-client` for the same command as a method of a service; their params have
//! about BYTES bytes, and 176 at least. With `stream-server` and `stream-client` they are the items of a stream, with
//! `http-server` and `axum-server` calls over HTTP; these take no BYTES.
//!
//! The other side is a byte stream in memory that does as little as it can. `.ci/instructions` runs
//! this under valgrind with two numbers of calls and divides the difference.

mod http;
mod memory;
mod stream;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use anyhow::{Context, Result, ensure};
use rpc_client::{Client, Config};
use rpc_core::Status;
use rpc_server::{Params, Router, Server, State};
use tokio::io::ReadBuf;

use memory::{Far, Near};
use rpc_benches::log_call::{Check, Counter, Entry, LOG, Receipt};

/// Calls in flight, and so requests in one read of the server.
const IN_FLIGHT: u64 = 64;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let side = arguments.next().unwrap_or_default();
    let calls: u64 = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .context("how many calls?")?;
    let entry = Entry::of(match arguments.next() {
        Some(bytes) => bytes.parse().context("how many bytes?")?,
        None => 0,
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    runtime.block_on(async {
        match side.as_str() {
            "server" => server(plain_router()?, &entry, calls / IN_FLIGHT).await,
            "typed-server" => server(typed_router()?, &entry, calls / IN_FLIGHT).await,
            "client" => client(plain_calls, &entry, calls / IN_FLIGHT).await,
            "typed-client" => client(typed_calls, &entry, calls / IN_FLIGHT).await,
            "stream-server" => stream::server(calls).await,
            "stream-client" => stream::client(calls).await,
            "http-server" => http::ours(calls).await,
            "axum-server" => http::axum(calls).await,
            _ => anyhow::bail!(
                "usage: hot_path server|typed-server|stream-server|http-server|axum-server|client|typed-client|\
                 stream-client CALLS [BYTES]"
            ),
        }
    })
}

/// The server reads requests that are there already; what it writes is counted.
struct Requests {
    batch: Vec<u8>,
    /// How much of a batch has been read.
    read: usize,
    batches: u64,
}

static REPLY_BYTES: AtomicU64 = AtomicU64::new(0);

impl Far for Requests {
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> Poll<()> {
        if self.batches > 0 {
            let rest = &self.batch[self.read..];
            let length = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..length]);
            self.read += length;
        }
        if self.read == self.batch.len() {
            self.read = 0;
            self.batches = self.batches.saturating_sub(1);
        }

        Poll::Ready(())
    }

    fn take(&mut self, bytes: &[u8]) {
        REPLY_BYTES.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

async fn log(
    State(counter): State<Arc<Counter>>,
    Params(entry): Params<Entry>,
) -> Result<Receipt, Status> {
    Ok(counter.accept(&entry))
}

/// The same command as a method.
#[rpc_core::service]
trait Logs {
    /// Numbers an entry.
    #[rpc(cmdid = 10000)]
    async fn log(&self, entry: &Entry) -> Result<Receipt, Status>;
}

impl Logs for Counter {
    async fn log(&self, entry: &Entry) -> Result<Receipt, Status> {
        Ok(self.accept(entry))
    }
}

fn plain_router() -> Result<Router<Arc<Counter>>> {
    Ok(Router::with_state(Arc::new(Counter::default())).route(LOG, log)?)
}

fn typed_router() -> Result<Router> {
    Ok(Router::new().serve(LogsServer(Counter::default()))?)
}

async fn server<S>(router: Router<S>, entry: &Entry, batches: u64) -> Result<()>
where
    S: Clone + Send + Sync + 'static,
{
    let params = serde_json::to_string(entry)?;
    let mut batch = String::new();
    for n in 0..IN_FLIGHT {
        // Ids like the client's.
        let id = (n << 21) | n;
        writeln!(
            batch,
            r#"{{"id":{id},"cmdid":{LOG},"timeout_ms":4999,"params":{params}}}"#
        )?;
    }

    let server = Server::builder().router(router).bind().await?;
    let requests = Requests {
        batch: batch.into_bytes(),
        read: 0,
        batches,
    };
    let connection = Near::of(requests);
    server.handle().serve_connection(connection, "memory").await;

    let (calls, bytes) = (
        server.handle().stats().requests,
        REPLY_BYTES.load(Ordering::Relaxed),
    );

    ensure!(calls == batches * IN_FLIGHT, "{calls} calls ran");
    ensure!(bytes > calls * 40, "{bytes} bytes were written");
    Ok(())
}

/// The client's server: takes the id out of each request and puts it into a reply.
#[derive(Default)]
struct Echo {
    replies: Vec<u8>,
}

impl Far for Echo {
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> Poll<()> {
        if self.replies.is_empty() {
            return Poll::Pending;
        }

        let length = self.replies.len().min(buf.remaining());
        buf.put_slice(&self.replies[..length]);
        self.replies.drain(..length);
        Poll::Ready(())
    }

    fn take(&mut self, bytes: &[u8]) {
        const ID: &[u8] = b"{\"id\":";

        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let digits = line
                .strip_prefix(ID)
                .and_then(|rest| rest.split(|byte| *byte == b',').next());
            let digits = digits.expect("the client writes whole frames, `id` first");

            self.replies.extend_from_slice(ID);
            self.replies.extend_from_slice(digits);
            self.replies
                .extend_from_slice(b",\"code\":0,\"data\":{\"accepted\":true,\"seq\":4211}}\n");
        }
    }
}

/// `calls` makes one caller's calls, one after another.
async fn client<F>(
    calls: impl Fn(Client, Entry, u64) -> F,
    entry: &Entry,
    calls_each: u64,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let client = Client::over(Near::of(Echo::default()), "memory", Config::default());

    let callers =
        (0..IN_FLIGHT).map(|_| tokio::spawn(calls(client.clone(), entry.clone(), calls_each)));
    for caller in futures::future::join_all(callers).await {
        caller??;
    }
    Ok(())
}

async fn plain_calls(client: Client, entry: Entry, count: u64) -> Result<()> {
    for _ in 0..count {
        check(client.call(LOG, &entry).await?)?;
    }
    Ok(())
}

async fn typed_calls(client: Client, entry: Entry, count: u64) -> Result<()> {
    let client = LogsClient::new(client);
    for _ in 0..count {
        check(client.log(&entry).await?)?;
    }
    Ok(())
}

fn check(receipt: Receipt) -> Result<()> {
    ensure!(receipt.seq == 4211, "a wrong reply");
    Check::default().take(receipt)
}
