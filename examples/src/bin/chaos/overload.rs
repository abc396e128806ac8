//! Three times as many calls as a daemon can run.
//!
//! The callers wait for their replies before they call again, so that a machine with other work has fewer calls and not later
//! ones: what is refused or fails is then the server's doing. Peak and overload take turns, and the median of the rounds
//! counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rpc_client::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::daemon::{Daemon, Start};
use crate::good::{Window, client_that_tries_once, milliseconds};
use crate::report::Row;
use crate::times::median;
use crate::trial::mib;
use crate::{Options, Outcome};

/// Calls that run at one time, and the setting of it.
const PLACES: usize = 40;
const IN_FLIGHT_MAX: &str = "40";

/// How long each call takes, and how long a caller waits that was refused: three callers for each place make three times
/// as many calls as there is room for.
const CALL: Duration = Duration::from_millis(20);
const SLEEP: u32 = 10_001;

/// Calls of each caller of those that have room.
const CALLS_AFTER: usize = 20;

/// The peak, and three times as many calls.
struct Round {
    /// As many callers as there are places: as much as the daemon takes without sending calls away.
    peak: Phase,
    over: Phase,
}

/// What a number of callers have seen in some time.
struct Phase {
    window: Window,
    /// Calls a second that were answered.
    goodput: f64,
}

pub(crate) async fn run(options: &Options) -> Outcome<Row> {
    let (count, [at_peak, overloaded]) = match options.quick {
        true => (2, [0.4, 0.8]),
        false => (6, [3.0, 10.0]),
    };
    let settings = vec![
        ("ADMISSION_IN_FLIGHT_MAX", IN_FLIGHT_MAX),
        ("LOG_LEVEL", "error"),
    ];
    let daemon = Daemon::start(&Start {
        settings,
        ..Start::default()
    })?;
    let client = client_that_tries_once(&daemon.process.address);

    let mut rounds = Vec::new();
    for _ in 0..count {
        rounds.push(Round {
            peak: phase(&client, PLACES, While::Seconds(at_peak)).await,
            over: phase(&client, 3 * PLACES, While::Seconds(overloaded)).await,
        });
    }
    let usage = daemon.process.usage()?;

    // Every call is over: there is room for all of these at once.
    let after = phase(&client, PLACES / 2, While::Calls(CALLS_AFTER)).await;

    let mut row = judged(options, &rounds, &after.window);
    row.rss_peak_mib = mib(usage.rss_bytes);
    row.descriptors_peak = usage.descriptors;
    Ok(row)
}

/// How long callers go on.
#[derive(Debug, Clone, Copy)]
enum While {
    Seconds(f64),
    Calls(usize),
}

/// Has callers call again and again, and waits for all of their replies.
async fn phase(client: &Client, callers: usize, length: While) -> Phase {
    let (began, window) = (Instant::now(), Arc::new(Mutex::new(Window::new())));
    let mut calling = JoinSet::new();
    for _ in 0..callers {
        let (client, window) = (client.clone(), Arc::clone(&window));
        calling.spawn(async move {
            for number in 0.. {
                let is_over = match length {
                    While::Seconds(seconds) => began.elapsed().as_secs_f64() >= seconds,
                    While::Calls(calls) => number >= calls,
                };
                if is_over {
                    return;
                }

                let is_refused = call(&client, &window).await;
                if is_refused {
                    sleep(CALL).await;
                }
            }
        });
    }
    while calling.join_next().await.is_some() {}

    let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
    let window = std::mem::replace(&mut *window, Window::new());
    Phase {
        goodput: rate(window.answered.len(), began.elapsed()),
        window,
    }
}

/// Makes a call; returns whether it was refused.
async fn call(client: &Client, window: &Mutex<Window>) -> bool {
    let params = json!({ "ms": CALL.as_millis() - 1 });
    let sent = Instant::now();
    let outcome = client.call::<_, Value>(SLEEP, &params).await;

    // A count is never half done.
    let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
    let before = window.refused.len();
    window.note(outcome, sent.elapsed());
    window.refused.len() > before
}

impl Round {
    /// The part of the peak that is left under three times as many calls, in percent.
    fn percent(&self) -> f64 {
        self.over.goodput / self.peak.goodput.max(1.0) * 100.0
    }

    /// In milliseconds.
    fn refused_p99(&self) -> f64 {
        milliseconds(&self.over.window.refused, 99.0)
    }
}

fn judged(options: &Options, rounds: &[Round], after: &Window) -> Row {
    let (alone, under) = (
        median(rounds.iter().map(|round| round.peak.window.p99())),
        median(rounds.iter().map(|round| round.over.window.p99())),
    );
    let windows = rounds
        .iter()
        .flat_map(|round| [&round.peak.window, &round.over.window])
        .chain([after]);

    let mut row = Row {
        name: "overload-three-times".into(),
        alone,
        under,
        ratio: under / alone,
        errors: windows.clone().map(|window| window.errors).sum(),
        ..Row::default()
    };

    let percent = median(rounds.iter().map(Round::percent));
    let refused_p99 = median(rounds.iter().map(Round::refused_p99));
    let refused: u64 = rounds
        .iter()
        .map(|round| round.over.window.refused.len())
        .sum();
    let all_after = after.refused.len() + after.answered.len();
    row.notes = format!(
        "{:.0} of {:.0} calls/s ({percent:.0} %), {refused} refused, p99 of that {refused_p99:.2} ms; \
         with room for all {} refused of {all_after}",
        median(rounds.iter().map(|round| round.over.goodput)),
        median(rounds.iter().map(|round| round.peak.goodput)),
        after.refused.len(),
    );

    let errors = row.errors;
    let mut failed = windows.filter_map(|window| window.last_error.as_deref());
    let last = failed.next_back().unwrap_or_default();
    row.bound(errors == 0, || {
        format!("{errors} calls failed otherwise than by being refused {last}")
    });
    row.bound(refused > 0, || "nothing was refused".into());
    row.bound(after.refused.is_empty(), || {
        "it still refuses when it has room for all".into()
    });

    if !options.quick {
        row.bound(percent >= 90.0, || {
            format!("goodput is {percent:.0} % of the peak")
        });
        row.bound(refused_p99 < 5.0, || {
            format!("refusals take {refused_p99:.2} ms")
        });
    }
    row
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of some seconds are exact"
)]
fn rate(calls: u64, time: Duration) -> f64 {
    calls as f64 / time.as_secs_f64()
}
