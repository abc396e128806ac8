//! Clients and servers on a simulated network that parts, holds, delays and loses what they send, and
//! on hosts that crash and restart. Everything that is random comes from one seed, so that a run that
//! fails can be repeated exactly.
//!
//! ```sh
//! cargo test -p rpc-client --test simulation                              # some seeds
//! cargo test -p rpc-client --test simulation -- --seeds 10000             # many, on two threads
//! cargo test -p rpc-client --test simulation -- --seed 7 --trace          # one, event by event
//! ```
//!
//! Of each run it is checked that
//!
//! - each call ends once, by its deadline, with what belongs to it: a reply with its own token, or a
//!   failure;
//! - what is not idempotent ran at most once, what succeeded ran, and what is reported as not sent or
//!   rejected never ran;
//! - streams bring their own items, in order, without a gap;
//! - when all faults are over, every server can be called again, and no handler is left.

mod callers;
mod faults;
mod ledger;
mod options;
mod servers;
mod simulation;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ledger::{Printing, Tally};
use options::{Options, Runs};
use simulation::Summary;

/// One seed in this many is run twice, and both runs must be the same to the last event.
const REPEAT_EVERY: u64 = 25;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        // Other tests were asked for.
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("simulation: {message}");
            return ExitCode::from(2);
        }
    };
    let is_good = match options.runs {
        Runs::One(seed) => run_one(seed, options.printing),
        Runs::Many { first, count } => run_many(first, count, options.threads),
    };
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_one(seed: u64, printing: Printing) -> bool {
    match simulation::run_apart(seed, printing).and_then(|first| repeat(seed, first)) {
        Ok(summary) => {
            println!("{summary}\nthe same twice");
            true
        }
        Err(failure) => {
            report(seed, &failure);
            false
        }
    }
}

fn repeat(seed: u64, first: Summary) -> Result<Summary, String> {
    let second = simulation::run_apart(seed, Printing::Nothing)?;
    if (first.trace, first.events) == (second.trace, second.events) {
        return Ok(first);
    }
    Err(format!("two runs differ: first {first}; then {second}"))
}

fn run_many(first: u64, count: u64, threads: usize) -> bool {
    println!("{count} seeds from {first}, {threads} threads");
    let started = Instant::now();
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let mut tally = Tally::default();
        // Relaxed: the numbers are handed out once each, and order nothing.
        while let Some(n) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < count) {
            let seed = first + n;
            let run = simulation::run_apart(seed, Printing::Nothing).and_then(|summary| {
                if n % REPEAT_EVERY == 0 {
                    repeat(seed, summary)
                } else {
                    Ok(summary)
                }
            });
            match run {
                Ok(summary) => tally.add(&summary.tally),
                Err(failure) => {
                    report(seed, &failure);
                    has_failed.store(true, Ordering::Relaxed);
                }
            }
        }
        tally
    };
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            total.add(
                &worker
                    .join()
                    .expect("panics of a run are caught where it is started"),
            );
        }
    });
    println!("{total}");
    let repeated = count.div_ceil(REPEAT_EVERY);
    println!(
        "{count} seeds, {repeated} of them twice, in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    !has_failed.load(Ordering::Relaxed)
}

fn report(seed: u64, failure: &str) {
    println!(
        "seed {seed} FAILED: {failure}\n\
         repeat it with: cargo test -p rpc-client --test simulation -- --seed {seed} --trace"
    );
}
