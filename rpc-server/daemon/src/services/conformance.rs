//! `conformance`: the commands that the vectors in conformance/ call. Off by default: they fail,
//! wait and answer at length on demand, which no production server should.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_core::{Code, Descriptor, Kind, Reply, RetryCategory, Status};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use rpc_server::layers::Deduplicate;
use rpc_server::{Context, Params, State};
use rpc_server::{Route, RouteError, Router};

/// Keys that the tally holds; the oldest in alphabetical order go first.
const TALLY_KEYS_MAX: usize = 4096;
const FILL_BYTES_MAX: usize = 64 * 1024 * 1024;
const COUNT_MAX: u64 = 1_000_000;
const SLEEP_MS_MAX: u64 = 60_000;

type Tally = Arc<Mutex<BTreeMap<String, u64>>>;

pub(crate) fn router() -> Result<Router<Tally>, RouteError> {
    let route = |method| Descriptor::new("conformance", method);

    let keys = Deduplicate::default();
    let mut once_descriptor = route("once")
        .doc("Adds to the count under `key`, waits `ms` milliseconds, then fails with `code` where there is one.")
        .retry(RetryCategory::Dedup);
    if let Some(dedup) = &mut once_descriptor.dedup {
        dedup.store = Some(keys.store().to_owned().into());
    }

    Router::with_state(Tally::default())
        .route(
            10_001,
            Route::new(sleep).describe(route("sleep").doc("Waits `ms` milliseconds.").idempotent()),
        )?
        .route(
            10_002,
            Route::new(panic).describe(route("panic").doc("Panics.")),
        )?
        .route(
            10_003,
            Route::new(fill).describe(route("fill").doc("Answers `bytes` bytes.").idempotent()),
        )?
        .route(
            10_004,
            Route::new(add).describe(route("add").doc("Adds `a` and `b`.").idempotent()),
        )?
        .route(
            10_005,
            Route::new(count).describe(route("count").doc("Streams `n` items.").kind(Kind::Stream)),
        )?
        .route(
            10_006,
            Route::new(fail).describe(route("fail").doc("Fails as it is told to.")),
        )?
        .route(
            10_007,
            Route::new(envelope)
                .describe(route("envelope").doc("Answers what it knows of the call.")),
        )?
        .route(
            10_008,
            Route::new(tally).describe(route("tally").doc("Adds to the count under `key`.")),
        )?
        .route(
            10_009,
            Route::new(once).layer(keys).describe(once_descriptor),
        )
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

#[derive(Serialize)]
struct Slept {
    slept_ms: u64,
}

async fn sleep(Params(Sleep { ms }): Params<Sleep>) -> Result<Slept, Status> {
    tokio::time::sleep(Duration::from_millis(ms.min(SLEEP_MS_MAX))).await;
    Ok(Slept { slept_ms: ms })
}

async fn panic() -> Result<(), Status> {
    panic!("a secret of the handler");
}

#[derive(Deserialize)]
struct Fill {
    bytes: usize,
}

#[derive(Serialize)]
struct Filled {
    fill: String,
}

async fn fill(Params(Fill { bytes }): Params<Fill>) -> Result<Filled, Status> {
    Ok(Filled {
        fill: "x".repeat(bytes.min(FILL_BYTES_MAX)),
    })
}

#[derive(Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
struct Added {
    sum: i64,
}

async fn add(Params(Add { a, b }): Params<Add>) -> Result<Added, Status> {
    let sum = a
        .checked_add(b)
        .ok_or_else(|| Status::out_of_range("`params.a` + `params.b` is over 2^63-1"))?;
    Ok(Added { sum })
}

#[derive(Deserialize)]
struct Count {
    n: u64,
}

#[derive(Serialize)]
struct Counted {
    i: u64,
}

async fn count(Params(Count { n }): Params<Count>) -> Reply {
    Reply::stream(futures::stream::iter(
        (0..n.min(COUNT_MAX)).map(|i| Ok(Counted { i })),
    ))
}

#[derive(Deserialize)]
struct Fail {
    code: u32,
    #[serde(default)]
    message: String,
    details: Option<Box<RawValue>>,
    #[serde(default)]
    rejected: bool,
    retry_after_ms: Option<u64>,
}

async fn fail(Params(fail): Params<Fail>) -> Status {
    let mut status = Status::new(Code::new(fail.code), fail.message);

    if let Some(details) = &fail.details {
        status = status.with_details(details);
    }
    if fail.rejected {
        status = status.with_rejected();
    }
    if let Some(milliseconds) = fail.retry_after_ms {
        status = status.with_retry_after(Duration::from_millis(milliseconds));
    }

    status
}

#[derive(Serialize)]
struct Envelope {
    id: Option<u64>,
    cmdid: u32,
    timestamp: i64,
    timeout_ms: Option<u64>,
    oneway: bool,
    credit: Option<u64>,
    meta: BTreeMap<String, String>,
}

async fn envelope(context: Context) -> Result<Envelope, Status> {
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

#[derive(Deserialize)]
struct Tallied {
    key: String,
    #[serde(default)]
    add: u64,
}

#[derive(Serialize)]
struct Total {
    total: u64,
}

async fn tally(
    State(tally): State<Tally>,
    Params(params): Params<Tallied>,
) -> Result<Total, Status> {
    // Counting leaves nothing half done, whoever panicked before.
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);

    if tally.len() >= TALLY_KEYS_MAX && !tally.contains_key(&params.key) {
        tally.pop_first();
    }

    let total = tally.entry(params.key).or_default();
    *total = total.saturating_add(params.add);
    Ok(Total { total: *total })
}

#[derive(Deserialize)]
struct Once {
    key: String,
    #[serde(default)]
    add: u64,
    code: Option<u32>,
    #[serde(default)]
    ms: u64,
}

async fn once(State(tally_of): State<Tally>, Params(once): Params<Once>) -> Result<Total, Status> {
    let Once { key, add, code, ms } = once;
    let total = tally(State(tally_of), Params(Tallied { key, add })).await?;
    tokio::time::sleep(Duration::from_millis(ms.min(SLEEP_MS_MAX))).await;

    match code {
        None => Ok(total),
        Some(code) => Err(Status::new(Code::new(code), "it was told to fail")),
    }
}
