//! The commands of the fuzzed server: each ends in another way.

use std::cell::Cell;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use rpc_core::{Code, Reply, Status};
use rpc_server::{Params, Router};
use serde::Deserialize;

thread_local! {
    /// Calls that have been started, and those of them that wait.
    static STARTED: Cell<u64> = const { Cell::new(0) };
    static WAITING: Cell<u64> = const { Cell::new(0) };
}

/// How many commands there are, from [`FIRST`] on.
pub(crate) const COUNT: u8 = 7;
/// The first cmdid.
pub(crate) const FIRST: u32 = 100;
/// Those whose replies are a stream.
pub(crate) const STREAMS: [u32; 2] = [104, 105];
/// The most items of a stream that waits before each of them.
pub(crate) const DRIP_ITEMS_MAX: usize = 7;

#[derive(Deserialize)]
pub(crate) struct Arguments {
    /// The number of the call.
    n: u64,
    /// What it is to do.
    a: u64,
}

pub(crate) fn started() -> u64 {
    STARTED.get()
}

pub(crate) fn waiting() -> u64 {
    WAITING.get()
}

pub(crate) fn router() -> Router {
    (|| {
        Router::new()
            .route(FIRST, echo)?
            .route(101, wait)?
            .route(102, fail)?
            .route(103, fill)?
            .route(104, count)?
            .route(105, drip)?
            .route(106, wait_for_ever)
    })()
    .unwrap_or_else(|_: rpc_server::RouteError| unreachable!("each cmdid stands once"))
}

fn start() {
    STARTED.set(STARTED.get() + 1);
}

struct Waiting;

impl Waiting {
    fn new() -> Self {
        WAITING.set(WAITING.get() + 1);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.set(WAITING.get() - 1);
    }
}

async fn echo(Params(Arguments { n, .. }): Params<Arguments>) -> Result<u64, Status> {
    start();
    Ok(n)
}

async fn wait(Params(Arguments { n, a }): Params<Arguments>) -> Result<u64, Status> {
    start();
    let _waiting = Waiting::new();
    tokio::time::sleep(Duration::from_millis(a * 10)).await;
    Ok(n)
}

async fn fail(Params(Arguments { n, a }): Params<Arguments>) -> Result<u64, Status> {
    start();
    let code = Code::new(u32::try_from(a).unwrap_or_default() % 18 + 1);
    Err(Status::new(code, "told to").with_details(&n))
}

/// A reply of some length, over the limit for one that asks for much.
async fn fill(Params(Arguments { n, a }): Params<Arguments>) -> Result<Vec<u64>, Status> {
    start();
    Ok(vec![n; usize::try_from(a).unwrap_or_default()])
}

async fn count(Params(Arguments { n, a }): Params<Arguments>) -> Reply {
    start();
    Reply::stream(stream::iter((0..a).map(move |_| Ok(n))))
}

async fn drip(Params(Arguments { n, a }): Params<Arguments>) -> Reply {
    start();
    let items = a % (DRIP_ITEMS_MAX as u64 + 1);
    Reply::stream(stream::iter(0..items).then(move |_| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(n)
    }))
}

async fn wait_for_ever(Params(Arguments { .. }): Params<Arguments>) -> Result<u64, Status> {
    start();
    let _waiting = Waiting::new();
    std::future::pending().await
}
