//! The client's half of a measurement: callers, closed or open loop, and what they saw.
#![allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::contenders::{Caller, Connect};
use crate::log_call::{Check, Entry};
use crate::process::cpu_time;

/// What one load does.
pub(crate) struct Load {
    /// Connections, each with `in_flight` calls at a time.
    pub(crate) connections: usize,
    /// Calls in flight on each connection.
    pub(crate) in_flight: usize,
    /// Each call opens a connection of its own.
    pub(crate) short: bool,
    /// One slow call of a second at a time on the first connection, beside the others.
    pub(crate) slow: bool,
    /// Calls a second, at fixed times; without it each caller calls again as soon as it has its reply.
    pub(crate) rate: Option<u64>,
    /// The limit writes after this many frames.
    pub(crate) write_every: usize,
    /// The entry that is sent.
    pub(crate) entry: Entry,
    /// Only opens so many connections, which rest after one call each.
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
            short: false,
            slow: false,
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

    /// Whether one more call is to be made.
    pub(crate) fn take_ticket(&self) -> bool {
        // Relaxed: a count, nothing is published with it.
        self.tickets.as_ref().is_none_or(|tickets| tickets.fetch_sub(1, Ordering::Relaxed) > 0)
    }

    /// When no more calls are made.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }
}

/// What a load saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Calls that ended within the measured time.
    pub(crate) calls: u64,
    /// All calls, the warm-up's too.
    pub(crate) total_calls: u64,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Calls a second.
    pub(crate) rps: f64,
    /// Half of the calls took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
    /// Processor time of the client a call, in microseconds.
    pub(crate) client_cpu_us: f64,
}

/// What a load of resting connections saw.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// The time for all connects and first calls.
    pub(crate) seconds: f64,
}

/// Gathers the latencies of all callers.
pub(crate) struct Recorder {
    warm: Instant,
    end: Instant,
    latencies: Mutex<Histogram<u64>>,
    total: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Recorder {
    fn new(load: &Load) -> Self {
        // Three digits, from a nanosecond to an hour.
        let latencies = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are right");
        Self {
            warm: load.warm,
            end: load.end,
            latencies: Mutex::new(latencies),
            total: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }
}

/// The latencies of one caller on their way to the recorder.
pub(crate) struct Samples<'r> {
    recorder: &'r Recorder,
    kept: Vec<u64>,
    total: u64,
    last: Option<Instant>,
}

/// Samples are handed over in packets, so that recording costs a caller next to nothing.
const PACKET: usize = 64;

impl<'r> Samples<'r> {
    /// No samples yet.
    pub(crate) fn new(recorder: &'r Recorder) -> Self {
        Self { recorder, kept: Vec::with_capacity(PACKET), total: 0, last: None }
    }

    /// Takes one call from its start, or its due time, to its end.
    pub(crate) fn add(&mut self, start: Instant, end: Instant) {
        self.total += 1;
        if end < self.recorder.warm || end > self.recorder.end {
            return;
        }
        self.last = Some(end);
        self.kept.push(u64::try_from((end - start).as_nanos()).unwrap_or(u64::MAX));
        if self.kept.len() == PACKET {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let mut latencies = self.recorder.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for nanoseconds in self.kept.drain(..) {
            latencies.saturating_record(nanoseconds);
        }
        drop(latencies);
        let mut last = self.recorder.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(self.last);
        self.recorder.total.fetch_add(std::mem::take(&mut self.total), Ordering::Relaxed);
    }
}

impl Drop for Samples<'_> {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Runs a load of one contender's callers. `multiplexed`: callers share connections; otherwise each
/// has one. `None` where connections only rested.
pub(crate) async fn run<C: Connect>(
    contender: C,
    address: SocketAddr,
    mut load: Load,
    multiplexed: bool,
) -> Result<Option<Measured>> {
    if let Some(connections) = load.idle {
        return rest(contender, address, connections).await.map(|()| None);
    }
    let mut callers = Vec::new();
    let mut slow_caller = None;
    for _ in 0..load.connections {
        let shared = contender.connect(address, load.in_flight + usize::from(load.slow)).await;
        let mut shared = shared.context("cannot connect")?;
        if load.slow {
            // On the connection of the fast calls, where connections are shared.
            slow_caller = shared.pop();
        }
        callers.extend(shared);
    }
    ensure!(multiplexed || callers.len() == load.connections * load.in_flight, "a caller is missing");
    load.begin_now();
    let load = Arc::new(load);
    let recorder = Arc::new(Recorder::new(&load));
    let mut tasks = JoinSet::new();
    if let Some(rate) = load.rate {
        let due = Arc::new(Due::new(rate, load.begin));
        for caller in callers {
            tasks.spawn(open_loop(caller, Arc::clone(&load), Arc::clone(&recorder), Arc::clone(&due)));
        }
        tasks.spawn(async move { due.tell(load.end).await });
    } else {
        for caller in callers {
            tasks.spawn(closed_loop(caller, Arc::clone(&load), Arc::clone(&recorder)));
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
    }
    measure(tasks, &recorder).await.map(Some)
}

/// Opens connections, makes one call on each, says so, and keeps them until stdin ends.
async fn rest<C: Connect>(contender: C, address: SocketAddr, connections: usize) -> Result<()> {
    const CONNECTING_AT_A_TIME: usize = 64;
    let begin = Instant::now();
    let entry = Entry::of(0);
    let one = async || -> Result<C::Caller> {
        let mut caller = contender.connect(address, 1).await?.pop().context("a caller is missing")?;
        Check::default().take(caller.log(&entry).await?)?;
        Ok(caller)
    };
    let all = stream::iter(0..connections).map(|_| one()).buffer_unordered(CONNECTING_AT_A_TIME);
    let callers: Vec<C::Caller> = all.try_collect().await?;
    let idle = Idle { connections: callers.len(), seconds: begin.elapsed().as_secs_f64() };
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
    let loops = if load.short { load.connections * load.in_flight } else { load.connections };
    for _ in 0..loops {
        tasks.spawn(crate::contenders::limit::load(address, Arc::clone(&load), Arc::clone(&recorder)));
    }
    measure(tasks, &recorder).await
}

async fn measure(mut tasks: JoinSet<Result<()>>, recorder: &Recorder) -> Result<Measured> {
    let begin = Instant::now();
    let cpu = cpu_time(std::process::id())?;
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let cpu = cpu_time(std::process::id())?.saturating_sub(cpu);
    let latencies = recorder.latencies.lock().unwrap_or_else(PoisonError::into_inner);
    let last = recorder.last.lock().unwrap_or_else(PoisonError::into_inner);
    let total_calls = recorder.total.load(Ordering::Relaxed);
    let last = last.context("no call ended within the measured time")?;
    let seconds = last.saturating_duration_since(recorder.warm.max(begin)).as_secs_f64();
    let microseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Measured {
        calls: latencies.len(),
        total_calls,
        seconds,
        rps: latencies.len() as f64 / seconds,
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
        p999_us: microseconds(0.999),
        max_us: latencies.max() as f64 / 1e3,
        client_cpu_us: cpu.as_secs_f64() * 1e6 / total_calls as f64,
    })
}

async fn closed_loop<C: Caller>(mut caller: C, load: Arc<Load>, recorder: Arc<Recorder>) -> Result<()> {
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

/// Fixed times at which calls are due, whoever makes them. A call that begins late has waited since
/// it was due, so that no pause of the server goes unseen.
struct Due {
    begin: Instant,
    interval: Duration,
    claimed: AtomicU64,
    /// One permit for each call that is due and not made.
    permits: Semaphore,
}

impl Due {
    fn new(rate: u64, begin: Instant) -> Self {
        let interval = Duration::from_secs_f64(1.0 / rate as f64);
        Self { begin, interval, claimed: AtomicU64::new(0), permits: Semaphore::new(0) }
    }

    fn time(&self, n: u64) -> Instant {
        self.begin + self.interval.mul_f64(n as f64)
    }

    /// Hands out permits as the time comes. It never sleeps: a timer is a millisecond late.
    async fn tell(&self, end: Instant) -> Result<()> {
        let mut told = 0;
        loop {
            let now = Instant::now();
            if now >= end {
                self.permits.close();
                return Ok(());
            }
            let mut new = 0;
            while self.time(told) <= now {
                told += 1;
                new += 1;
            }
            self.permits.add_permits(new);
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the next call that is due, and says since when it is; `None` at the end.
    async fn next(&self) -> Option<Instant> {
        self.permits.acquire().await.ok()?.forget();
        Some(self.time(self.claimed.fetch_add(1, Ordering::Relaxed)))
    }
}

async fn open_loop<C: Caller>(
    mut caller: C,
    load: Arc<Load>,
    recorder: Arc<Recorder>,
    due: Arc<Due>,
) -> Result<()> {
    let mut samples = Samples::new(&recorder);
    while let Some(since) = due.next().await {
        let receipt = caller.log(&load.entry).await?;
        ensure!(receipt.accepted, "an entry was not accepted");
        samples.add(since, Instant::now());
    }
    Ok(())
}
