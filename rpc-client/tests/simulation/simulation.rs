//! One run: hosts, links, faults in their time, and the end of all.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fastrand::Rng;
use tokio::sync::Notify;
use turmoil::Sim;

use crate::callers::{self, Traffic};
use crate::faults::{Fault, Planned, plan};
use crate::ledger::{Printing, SharedLedger, Tally};
use crate::servers;

/// What is simulated at a time: coarse enough to be quick, finer than any timeout.
const TICK: Duration = Duration::from_millis(2);
/// The longest time that a run may take, in its own time.
const RUN_TIME_MAX: Duration = Duration::from_secs(600);
/// What a link takes when nothing is wrong with it, and when it is slow.
const LATENCY_MAX: Duration = Duration::from_millis(12);
const SLOW_LATENCY_MAX: Duration = Duration::from_millis(400);

pub(crate) const CLIENT: &str = "client";

/// What came out of a run.
pub(crate) struct Summary {
    seed: u64,
    pub(crate) trace: u64,
    pub(crate) events: u64,
    simulated: Duration,
    pub(crate) tally: Tally,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            trace,
            events,
            simulated,
            tally,
        } = self;
        write!(
            f,
            "seed {seed}: trace {trace:016x} of {events} events in {simulated:?}; {tally}"
        )
    }
}

/// Runs a seed on a thread of its own: what threads keep, such as buffers and the state of generators,
/// is then the same each time.
pub(crate) fn run_apart(seed: u64, printing: Printing) -> Result<Summary, String> {
    let run = move || {
        catch_unwind(AssertUnwindSafe(|| run(seed, printing))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("panicked: {}", text.unwrap_or_default()))
        })
    };
    std::thread::spawn(run)
        .join()
        .expect("its panics are caught")
}

fn run(seed: u64, printing: Printing) -> Result<Summary, String> {
    // The jitter of the libraries under test.
    fastrand::seed(seed);
    let mut random = Rng::with_seed(seed);
    let ledger = SharedLedger::default();
    ledger.lock().printing = printing;

    let server_count = random.usize(1..=3);
    let traffic = Traffic::draw(&mut random);
    let faults = plan(&mut random, server_count, traffic.expected_time());
    // Segments that a connection may have under way, and connections that wait to be accepted: the
    // simulated network panics where those are more.
    let segments = if traffic.connects_often() {
        4096
    } else {
        [64, 256, 4096][random.usize(..3)]
    };
    let mut sim = turmoil::Builder::new()
        .rng_seed(random.u64(..))
        .epoch(UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration(RUN_TIME_MAX)
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(segments)
        .enable_random_order()
        .build();

    let drains: Vec<Arc<Notify>> = (0..server_count).map(|_| Arc::default()).collect();
    for (server, drain) in drains.iter().enumerate() {
        let config = rpc_server::Config::default().with(|config| {
            config.admission.in_flight_per_connection = [2, 16, 1024][random.usize(..3)];
            config.drain.timeout_ms = random.u64(50..1_000);
            config.drain.goaway_grace_ms = random.u64(1..200);
        });
        let pause = Duration::from_millis(random.u64(1..800));
        let (drain, ledger) = (Arc::clone(drain), ledger.clone());
        sim.host(name(server), move || {
            servers::host(
                server,
                config.clone(),
                pause,
                Arc::clone(&drain),
                ledger.clone(),
            )
        });
    }
    let calm = Arc::new(Notify::new());
    sim.client(
        CLIENT,
        callers::host(
            traffic,
            server_count,
            random.u64(..),
            Arc::clone(&calm),
            ledger.clone(),
        ),
    );

    let result = step_through(&mut sim, &faults, &drains, &calm, &ledger);
    let simulated = sim.elapsed();
    // Hosts end within the simulation, which they call when they do.
    drop(sim);
    let mut ledger = ledger.lock();
    ledger.settle();
    result.map_err(|error| error.to_string())?;
    if !ledger.violations.is_empty() {
        return Err(ledger.violations.join("; "));
    }
    Ok(Summary {
        seed,
        trace: ledger.trace(),
        events: ledger.events,
        simulated,
        tally: ledger.tally.clone(),
    })
}

/// The host of a server.
pub(crate) fn name(server: usize) -> String {
    format!("server-{server}")
}

fn step_through(
    sim: &mut Sim<'_>,
    faults: &[Planned],
    drains: &[Arc<Notify>],
    calm: &Notify,
    ledger: &SharedLedger,
) -> turmoil::Result {
    let (mut begun, mut over) = (vec![false; faults.len()], vec![false; faults.len()]);
    loop {
        let now = sim.elapsed();
        for (n, planned) in faults.iter().enumerate() {
            if !begun[n] && planned.from <= now {
                begun[n] = true;
                ledger
                    .lock()
                    .note(now, format_args!("{:?} begins", planned.fault));
                begin(sim, planned.fault, drains);
            }
            if begun[n] && !over[n] && planned.until <= now {
                over[n] = true;
                ledger
                    .lock()
                    .note(now, format_args!("{:?} is over", planned.fault));
                end(sim, planned.fault);
            }
        }
        if over.iter().all(|over| *over) {
            calm.notify_one();
        }
        if sim.step()? {
            return Ok(());
        }
    }
}

fn begin(sim: &mut Sim<'_>, fault: Fault, drains: &[Arc<Notify>]) {
    match fault {
        Fault::Partition(server) => sim.partition(CLIENT, name(server)),
        Fault::PartitionToServer(server) => sim.partition_oneway(CLIENT, name(server)),
        Fault::PartitionToClient(server) => sim.partition_oneway(name(server), CLIENT),
        Fault::Hold(server) => sim.hold(CLIENT, name(server)),
        Fault::Slow(server) => {
            sim.set_link_max_message_latency(CLIENT, name(server), SLOW_LATENCY_MAX);
        }
        Fault::Crash(server) => sim.crash(name(server)),
        Fault::PowerFailure(server) => {
            sim.partition(CLIENT, name(server));
            sim.crash(name(server));
        }
        Fault::Drain(server) => drains[server].notify_one(),
    }
}

fn end(sim: &mut Sim<'_>, fault: Fault) {
    match fault {
        Fault::Partition(server)
        | Fault::PartitionToServer(server)
        | Fault::PartitionToClient(server) => {
            sim.repair(CLIENT, name(server));
        }
        Fault::Hold(server) => sim.release(CLIENT, name(server)),
        Fault::Slow(server) => sim.set_link_max_message_latency(CLIENT, name(server), LATENCY_MAX),
        Fault::Crash(server) => sim.bounce(name(server)),
        Fault::PowerFailure(server) => {
            sim.repair(CLIENT, name(server));
            sim.bounce(name(server));
        }
        Fault::Drain(_) => {}
    }
}
