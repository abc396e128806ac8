//! The client's half of a measurement: callers, closed or open loop, and what they saw.
#![allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::contenders::{Caller, Connect, Entries};
use rpc_benches::log_call::{Check, Entry, StreamCheck};

mod open_loop;
mod recorder;

pub(crate) use recorder::{Measured, Recorder, Samples};

/// What one load does.
pub(crate) struct Load {
    /// Connections, each with `in_flight` calls at a time.
    pub(crate) connections: usize,
    /// Calls in flight on each connection.
    pub(crate) in_flight: usize,
    /// The callers of a connection share it; otherwise each of them has one.
    pub(crate) multiplexed: bool,
    /// Each call opens a connection of its own.
    pub(crate) short: bool,
    /// One slow call of a second at a time on the first connection, beside the others.
    pub(crate) slow: bool,
    /// Each caller reads a stream, instead of making calls: its items are counted.
    pub(crate) stream: bool,
    /// One stream that is not read on the first connection, beside the others.
    pub(crate) stalled: bool,
    /// Calls a second, at fixed times; without it each caller calls again as soon as it has its reply.
    pub(crate) rate: Option<u64>,
    /// The limit writes after this many frames.
    pub(crate) write_every: usize,
    /// The entry that is sent.
    pub(crate) entry: Entry,
    /// Only opens this number of connections, which rest after one call each.
    pub(crate) idle: Option<usize>,
    begin: Instant,
    /// What is done before is not measured.
    warm: Instant,
    end: Instant,
    /// How many calls are still to be made, where their number is given.
    tickets: Option<AtomicI64>,
}

impl Load {
    /// A load that lasts `time` after a warm-up, or makes `calls` calls.
    pub(crate) fn new(warm_up: Duration, time: Duration, calls: Option<u64>) -> Self {
        let begin = Instant::now();
        Self {
            connections: 1,
            in_flight: 1,
            multiplexed: true,
            short: false,
            slow: false,
            stream: false,
            stalled: false,
            rate: None,
            write_every: 16,
            entry: Entry::of(0),
            idle: None,
            begin,
            warm: begin + warm_up,
            end: begin + warm_up + time,
            tickets: calls.map(|calls| AtomicI64::new(i64::try_from(calls).unwrap_or(i64::MAX))),
        }
    }

    /// Begins now: what was done so far, as connecting, is not part of it.
    fn begin_now(&mut self) {
        let late = self.begin.elapsed();
        self.begin += late;
        self.warm += late;
        self.end += late;
    }

    /// Whether another call is to be made.
    pub(crate) fn take_ticket(&self) -> bool {
        // Relaxed: a count, nothing is published with it.
        self.tickets
            .as_ref()
            .is_none_or(|tickets| tickets.fetch_sub(1, Ordering::Relaxed) > 0)
    }

    /// When no more calls are made.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }
}

/// What a load of resting connections saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// The time for all connects and first calls.
    pub(crate) seconds: f64,
}

/// Runs a load of one contender's callers. `None` where connections only rested.
pub(crate) async fn run<C: Connect>(
    contender: C,
    address: SocketAddr,
    mut load: Load,
) -> Result<Option<Measured>> {
    if let Some(connections) = load.idle {
        return rest(contender, address, connections).await.map(|()| None);
    }

    let mut callers = Vec::new();
    let mut slow_caller = None;
    let mut stalled = None;
    for _ in 0..load.connections {
        let others = usize::from(load.slow) + usize::from(load.stalled);
        let shared = contender.connect(address, load.in_flight + others).await;
        let mut shared = shared.context("cannot connect")?;

        // On the connection of the fast calls, where connections are shared.
        if load.slow {
            slow_caller = shared.pop();
        }
        if load.stalled {
            let mut caller = shared.pop().context("a caller is missing")?;
            stalled = Some(stall(caller.follow(&load.entry).await?).await?);
        }

        callers.extend(shared);
    }

    ensure!(
        load.multiplexed || callers.len() == load.connections * load.in_flight,
        "a caller is missing"
    );

    load.begin_now();
    let load = Arc::new(load);
    let recorder = Arc::new(Recorder::new(&load));

    let tasks = match load.rate {
        Some(rate) => open_loop::start(callers, rate, &load, &recorder)?,
        None => closed_loops(callers, slow_caller, &load, &recorder),
    };
    let measured = recorder.measure(tasks).await.map(Some);
    drop(stalled);
    measured
}

/// Reads one item, and leaves the others where they are.
async fn stall(mut entries: Entries) -> Result<Entries> {
    StreamCheck::default().take(&next(&mut entries).await?)?;
    Ok(entries)
}

/// The next item of a stream that has no end.
async fn next(entries: &mut Entries) -> Result<Entry> {
    entries.next().await.context("the stream has ended")?
}

fn closed_loops<C: Caller>(
    callers: Vec<C>,
    slow_caller: Option<C>,
    load: &Arc<Load>,
    recorder: &Arc<Recorder>,
) -> JoinSet<Result<()>> {
    let mut tasks = JoinSet::new();
    for caller in callers {
        let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
        match load.stream {
            true => tasks.spawn(read_stream(caller, load, recorder)),
            false => tasks.spawn(closed_loop(caller, load, recorder)),
        };
    }

    if let Some(mut caller) = slow_caller {
        let end = load.end;
        tasks.spawn(async move {
            while Instant::now() < end {
                caller.slow(Duration::from_secs(1)).await?;
            }
            Ok(())
        });
    }

    tasks
}

/// Opens connections, makes one call on each, says so, and keeps them until stdin ends.
async fn rest<C: Connect>(contender: C, address: SocketAddr, connections: usize) -> Result<()> {
    const CONNECTING_AT_A_TIME: usize = 64;

    let begin = Instant::now();
    let entry = Entry::of(0);

    let one = async || -> Result<C::Caller> {
        let mut caller = contender
            .connect(address, 1)
            .await?
            .pop()
            .context("a caller is missing")?;
        Check::default().take(caller.log(&entry).await?)?;
        Ok(caller)
    };

    let all = stream::iter(0..connections)
        .map(|_| one())
        .buffer_unordered(CONNECTING_AT_A_TIME);
    let callers: Vec<C::Caller> = all.try_collect().await?;

    let idle = Idle {
        connections: callers.len(),
        seconds: begin.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&idle)?);

    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    drop(callers);
    Ok(())
}

/// Runs the limit's own loops.
pub(crate) async fn run_limit(address: SocketAddr, load: Load) -> Result<Measured> {
    let load = Arc::new(load);
    let recorder = Arc::new(Recorder::new(&load));
    let mut tasks = JoinSet::new();

    let loops = if load.short {
        load.connections * load.in_flight
    } else {
        load.connections
    };
    for _ in 0..loops {
        tasks.spawn(crate::contenders::limit::load(
            address,
            Arc::clone(&load),
            Arc::clone(&recorder),
        ));
    }

    recorder.measure(tasks).await
}

async fn closed_loop<C: Caller>(
    mut caller: C,
    load: Arc<Load>,
    recorder: Arc<Recorder>,
) -> Result<()> {
    let mut samples = Samples::new(&recorder);
    let mut check = Check::default();
    let mut started = Instant::now();

    while started < load.end && load.take_ticket() {
        check.take(caller.log(&load.entry).await?)?;

        // One look at the clock a call: it ends this one and starts the next.
        let now = Instant::now();
        samples.add(started, now);
        started = now;
    }

    Ok(())
}

async fn read_stream<C: Caller>(
    mut caller: C,
    load: Arc<Load>,
    recorder: Arc<Recorder>,
) -> Result<()> {
    let mut samples = Samples::new(&recorder);
    let mut check = StreamCheck::default();
    let mut entries = caller.follow(&load.entry).await?;
    let mut started = Instant::now();

    while started < load.end {
        check.take(&next(&mut entries).await?)?;
        let now = Instant::now();
        samples.add(started, now);
        started = now;
    }

    Ok(())
}
