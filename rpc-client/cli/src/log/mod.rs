//! `rpc log`: writes to the server's log, reads and follows it.

mod append;
mod cursor;
mod fields;
mod filters;
mod read;
mod ship;
mod show;
mod stats;
mod tail;

use clap::Subcommand;
use rpc_client::{Client, Error};
use rpc_core::api::log::{READ, Read as Params};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Target;
use crate::exit::Failure;

use append::Append;
pub(crate) use filters::moment;
use read::Read;
use ship::Ship;
use stats::Stats;
use tail::Tail;
pub(crate) use tail::is_passing;

/// As many entries as the server gives in one page.
const PAGE_ENTRIES_MAX: u32 = 1_000;

/// Write to the server's log, read it, or follow it
#[derive(Subcommand)]
pub(crate) enum Log {
    Append(Append),
    Read(Read),
    Tail(Tail),
    Ship(Ship),
    Stats(Stats),
}

impl Log {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        match self {
            Self::Append(append) => append.run(target).await,
            Self::Read(read) => read.run(target).await,
            Self::Tail(tail) => tail.run(target).await,
            Self::Ship(ship) => ship.run(target).await,
            Self::Stats(stats) => stats.run(target).await,
        }
    }
}

/// A page with its entries as they are stored.
#[derive(Deserialize)]
struct Page {
    log: String,
    entries: Vec<Box<RawValue>>,
    next: u64,
    oldest: u64,
    last: u64,
    #[serde(default)]
    more: bool,
}

async fn page(client: &Client, params: &Params) -> Result<Page, Error> {
    client.call(READ, params).await
}
