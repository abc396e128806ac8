//! Commands whose progress a test holds in its hand.

use std::time::Duration;

use rpc_server::{Params, RawJson, Reply, Route, RouteError, Router, State, Status};
use serde::Deserialize;

use crate::support::{Gate, Probe};

/// Answers its params.
pub(crate) const ECHO: u32 = 100;
/// Waits at the gate.
pub(crate) const HOLD: u32 = 101;
/// As [`HOLD`], in a task of its own.
pub(crate) const HOLD_SPAWNED: u32 = 102;
/// As [`HOLD`], and runs on though its caller is gone.
pub(crate) const HOLD_DETACHED: u32 = 103;
/// Waits `{"ms":N}`.
pub(crate) const SLEEP: u32 = 104;
/// Waits at the gate, then answers a string of `{"bytes":N}`, quotes included.
pub(crate) const FILL: u32 = 105;
/// Panics: `{"at":"start"}` before its first wait, `"later"` behind one.
pub(crate) const PANIC: u32 = 106;

/// What the handlers wait at, and what they leave behind.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) gate: Gate,
    pub(crate) probe: Probe,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            gate: Gate::closed(),
            probe: Probe::default(),
        }
    }

    pub(crate) fn router(&self) -> Router<Self> {
        self.try_router().unwrap()
    }

    fn try_router(&self) -> Result<Router<Self>, RouteError> {
        Router::with_state(self.clone())
            .route(ECHO, echo)?
            .route(HOLD, hold)?
            .route(HOLD_SPAWNED, Route::new(hold).spawned())?
            .route(HOLD_DETACHED, Route::new(hold).detached())?
            .route(SLEEP, sleep)?
            .route(FILL, fill)?
            .route(PANIC, panic)
    }
}

async fn echo(params: RawJson<'static>) -> Reply {
    Reply::raw(params)
}

async fn hold(State(rig): State<Rig>) {
    let running = rig.probe.enter();
    rig.gate.pass().await;
    running.finish();
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

async fn sleep(State(rig): State<Rig>, Params(Sleep { ms }): Params<Sleep>) -> Result<u64, Status> {
    let running = rig.probe.enter();
    tokio::time::sleep(Duration::from_millis(ms)).await;
    running.finish();
    Ok(ms)
}

#[derive(Deserialize)]
struct Fill {
    bytes: usize,
}

async fn fill(
    State(rig): State<Rig>,
    Params(Fill { bytes }): Params<Fill>,
) -> Result<Reply, Status> {
    let running = rig.probe.enter();
    rig.gate.pass().await;
    running.finish();
    Ok(Reply::raw(filled(bytes)))
}

/// A JSON string of this number of bytes.
pub(crate) fn filled(bytes: usize) -> RawJson<'static> {
    RawJson::parse(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap()
}

#[derive(Deserialize)]
struct Panic {
    at: String,
}

async fn panic(State(rig): State<Rig>, Params(Panic { at }): Params<Panic>) {
    let _running = rig.probe.enter();
    if at == "later" {
        rig.gate.pass().await;
    }
    panic!("a secret of the handler");
}
