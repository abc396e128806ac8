//! The server, in a process of its own: its commands, and its book of what it ran.

use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::StreamExt;
use rpc_core::{Reply, Status};
use rpc_examples::process::{Process, parent_is_gone};
use rpc_server::{Config, Params, Router, Server};
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Notes that a number was run, and answers with [`answer_to`].
pub(crate) const NOTE: u32 = 200;
/// The same, after some milliseconds.
pub(crate) const SLOW: u32 = 201;
/// A stream of as many items as are asked for.
pub(crate) const COUNT: u32 = 202;
/// Answers the text that it was given.
pub(crate) const ECHO: u32 = 203;
/// How often each number of a range was run.
pub(crate) const BOOK: u32 = 204;
/// The tasks of the runtime.
pub(crate) const TASKS: u32 = 205;

/// Numbers that the book has room for; a run that needs more ends.
pub(crate) const NUMBERS: usize = 1 << 24;

/// One byte for each number, all of it there from the start, so that it is no growth.
static BOOK_OF_RUNS: LazyLock<Vec<AtomicU8>> = LazyLock::new(|| {
    let book: Vec<AtomicU8> = (0..NUMBERS).map(|_| AtomicU8::new(1)).collect();
    for count in &book {
        count.store(0, Ordering::Relaxed);
    }
    book
});

#[derive(Serialize, Deserialize)]
pub(crate) struct Numbered {
    pub(crate) n: usize,
    pub(crate) ms: u64,
}

/// What the server must answer to a number.
pub(crate) fn answer_to(n: usize) -> usize {
    n.wrapping_mul(2_654_435_761) >> 7
}

pub(crate) async fn serve() -> Outcome<()> {
    LazyLock::force(&BOOK_OF_RUNS);

    let router = Router::new()
        .route(NOTE, note)?
        .route(SLOW, slow)?
        .route(COUNT, count)?
        .route(ECHO, echo)?
        .route(BOOK, book)?
        .route(TASKS, tasks)?;

    // Connections also retire by themselves.
    let config = Config::default().with(|config| config.drain.connection_age_max_ms = 20_000);

    let server = Server::builder()
        .listen("127.0.0.1:0")
        .config(config)
        .router(router)
        .bind()
        .await?;

    println!("{}", server.addresses()[0]);
    server.serve(parent_is_gone()).await?;
    Ok(())
}

fn run(n: usize) -> Result<usize, Status> {
    let count = BOOK_OF_RUNS
        .get(n)
        .ok_or_else(|| Status::out_of_range("the book has no such number"))?;

    // Relaxed: it is read when all calls are over.
    count.fetch_add(1, Ordering::Relaxed);
    Ok(answer_to(n))
}

async fn note(Params(Numbered { n, .. }): Params<Numbered>) -> Result<usize, Status> {
    run(n)
}

async fn slow(Params(Numbered { n, ms }): Params<Numbered>) -> Result<usize, Status> {
    let answer = run(n);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    answer
}

async fn count(Params(items): Params<u64>) -> Reply {
    Reply::stream(futures::stream::iter(0..items).map(Ok))
}

async fn echo(Params(text): Params<String>) -> Result<String, Status> {
    Ok(text)
}

async fn book(Params((from, to)): Params<(usize, usize)>) -> Result<String, Status> {
    let part = BOOK_OF_RUNS
        .get(from..to)
        .ok_or_else(|| Status::out_of_range("the book has no such numbers"))?;
    Ok(part
        .iter()
        .map(|count| char::from(b'0' + count.load(Ordering::Relaxed).min(9)))
        .collect())
}

async fn tasks() -> Result<usize, Status> {
    Ok(tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks())
}

/// Starts it.
pub(crate) fn start() -> Outcome<Process> {
    Process::start(Command::new(std::env::current_exe()?).arg("server"))
}
