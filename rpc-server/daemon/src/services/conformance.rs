//! `conformance`: the commands that the vectors in conformance/ call. Off by default: they fail,
//! wait and answer at length on demand, which no production server should.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, Stream};
use rpc_server::{Code, Context, RawJson, RouteError, Router, Status, service};
use serde::{Deserialize, Serialize};

/// Keys that the tally holds; the oldest in alphabetical order go first.
const TALLY_KEYS_MAX: usize = 4096;
const FILL_BYTES_MAX: usize = 64 * 1024 * 1024;
const COUNT_MAX: u64 = 1_000_000;
const SLEEP_MS_MAX: u64 = 60_000;

/// The commands that the vectors call.
#[service]
pub(crate) trait Conformance {
    /// Waits for `ms` milliseconds, and holds `keep` and the metadata in memory meanwhile.
    #[rpc(cmdid = 10001, idempotent)]
    async fn sleep(&self, context: Context, sleep: Sleep) -> Result<Slept, Status>;

    /// Panics.
    #[rpc(cmdid = 10002)]
    async fn panic(&self) -> Result<(), Status>;

    /// Replies with a string of `bytes` bytes.
    #[rpc(cmdid = 10003, idempotent)]
    async fn fill(&self, fill: Fill) -> Result<Filled, Status>;

    /// Adds `a` and `b`.
    #[rpc(cmdid = 10004, idempotent)]
    async fn add(&self, add: Add) -> Result<Added, Status>;

    /// Streams `n` items.
    #[rpc(cmdid = 10005)]
    fn count(&self, count: Count) -> impl Stream<Item = Result<Counted, Status>> + Send;

    /// Fails with the `code`, message and details of its params.
    #[rpc(cmdid = 10006)]
    async fn fail(&self, failure: Failure) -> Result<(), Status>;

    /// Replies with what the handler knows about the call.
    #[rpc(cmdid = 10007)]
    async fn envelope(&self, context: Context) -> Result<Envelope, Status>;

    /// Adds to the count under `key`.
    #[rpc(cmdid = 10008)]
    async fn tally(&self, tally: Tallied) -> Result<Total, Status>;

    /// Adds to the count under `key`, waits for `ms` milliseconds, then fails with `code`, if there is one.
    #[rpc(cmdid = 10009, dedup)]
    async fn once(&self, once: Once) -> Result<Total, Status>;
}

pub(crate) fn router() -> Result<Router, RouteError> {
    Router::new().serve(ConformanceServer(Tally::default()))
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Sleep {
    ms: u64,
    #[serde(default)]
    keep: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Slept {
    slept_ms: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Fill {
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Filled {
    fill: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Add {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Added {
    sum: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Count {
    n: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    i: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Failure {
    code: u32,
    #[serde(default)]
    message: String,
    details: Option<RawJson<'static>>,
    #[serde(default)]
    rejected: bool,
    retry_after_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Envelope {
    id: Option<u64>,
    cmdid: u32,
    timestamp: i64,
    timeout_ms: Option<u64>,
    oneway: bool,
    credit: Option<u64>,
    meta: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Tallied {
    key: String,
    #[serde(default)]
    add: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Total {
    total: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Once {
    key: String,
    #[serde(default)]
    add: u64,
    code: Option<u32>,
    #[serde(default)]
    ms: u64,
}

/// Counts by their keys.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    fn add(&self, key: String, add: u64) -> Total {
        // Counting leaves nothing half done, even if a thread panicked before.
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);

        if counts.len() >= TALLY_KEYS_MAX && !counts.contains_key(&key) {
            counts.pop_first();
        }

        let total = counts.entry(key).or_default();
        *total = total.saturating_add(add);
        Total { total: *total }
    }
}

async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms.min(SLEEP_MS_MAX))).await;
}

impl Conformance for Tally {
    async fn sleep(&self, context: Context, Sleep { ms, keep }: Sleep) -> Result<Slept, Status> {
        wait(ms).await;

        // A call with much of either is there to hold it for that long.
        drop((context, keep));
        Ok(Slept { slept_ms: ms })
    }

    async fn panic(&self) -> Result<(), Status> {
        panic!("a secret of the handler");
    }

    async fn fill(&self, Fill { bytes }: Fill) -> Result<Filled, Status> {
        Ok(Filled {
            fill: "x".repeat(bytes.min(FILL_BYTES_MAX)),
        })
    }

    async fn add(&self, Add { a, b }: Add) -> Result<Added, Status> {
        let sum = a
            .checked_add(b)
            .ok_or_else(|| Status::out_of_range("`params.a` + `params.b` is over 2^63-1"))?;
        Ok(Added { sum })
    }

    fn count(&self, Count { n }: Count) -> impl Stream<Item = Result<Counted, Status>> + Send {
        stream::iter((0..n.min(COUNT_MAX)).map(|i| Ok(Counted { i })))
    }

    async fn fail(&self, failure: Failure) -> Result<(), Status> {
        let mut status = Status::new(Code::new(failure.code), failure.message);

        if let Some(details) = &failure.details {
            status = status.with_details(details);
        }
        if failure.rejected {
            status = status.with_rejected();
        }
        if let Some(milliseconds) = failure.retry_after_ms {
            status = status.with_retry_after(Duration::from_millis(milliseconds));
        }

        Err(status)
    }

    async fn envelope(&self, context: Context) -> Result<Envelope, Status> {
        Ok(Envelope {
            id: context.id(),
            cmdid: context.cmdid().number(),
            timestamp: context.timestamp(),
            timeout_ms: context
                .timeout()
                .and_then(|timeout| u64::try_from(timeout.as_millis()).ok()),
            oneway: context.is_oneway(),
            credit: context.credit(),
            meta: context.meta_entries(),
        })
    }

    async fn tally(&self, Tallied { key, add }: Tallied) -> Result<Total, Status> {
        Ok(self.add(key, add))
    }

    async fn once(&self, once: Once) -> Result<Total, Status> {
        let Once { key, add, code, ms } = once;
        let total = self.add(key, add);
        wait(ms).await;

        match code {
            None => Ok(total),
            Some(code) => Err(Status::new(Code::new(code), "it was told to fail")),
        }
    }
}
