//! Three times as many calls as a daemon can run.

use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, Start};
use crate::good::{Load, milliseconds};
use crate::report::Row;
use crate::trial::mib;
use crate::{Options, Outcome};

/// Calls that run at one time, each for so long: the capacity is 2,000 calls a second.
const IN_FLIGHT_MAX: &str = "40";
const CALL_MS: u32 = 20;
const CAPACITY: u32 = 2_000;

pub(crate) async fn run(options: &Options) -> Outcome<Row> {
    let seconds = if options.quick { 2 } else { 60 };
    let settings = vec![
        ("ADMISSION_IN_FLIGHT_MAX", IN_FLIGHT_MAX),
        ("LOG_LEVEL", "error"),
    ];
    let daemon = Daemon::start(&Start {
        settings,
        ..Start::default()
    })?;

    let load = |per_second| {
        Load::start(
            &daemon.process.address,
            per_second,
            10_001,
            json!({ "ms": CALL_MS - 1 }),
        )
    };

    // The peak: as much as it takes without sending much away.
    let at_peak = load(CAPACITY);
    drop(at_peak.window(Duration::from_millis(500)).await);
    let measured = Duration::from_secs(if options.quick { 1 } else { 10 });
    let peak = at_peak.window(measured).await;
    drop(at_peak);
    let peak_rate = rate(peak.answered.len(), measured);

    let over = load(CAPACITY * 3);
    drop(over.window(Duration::from_millis(500)).await);
    let length = Duration::from_secs(seconds);
    let overloaded = over.window(length).await;
    let usage = daemon.process.usage()?;
    drop(over);

    // A second later everything is as before.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let half = load(CAPACITY / 2);
    let after = half.window(Duration::from_secs(1)).await;
    drop(half);

    let goodput = rate(overloaded.answered.len(), length);
    let refused_p99 = milliseconds(&overloaded.refused, 99.0);

    let mut row = Row {
        name: "overload-three-times".into(),
        alone: peak.p99(),
        under: overloaded.p99(),
        ratio: overloaded.p99() / peak.p99(),
        errors: overloaded.errors + after.errors,
        rss_peak_mib: mib(usage.rss_bytes),
        descriptors_peak: usage.descriptors,
        ..Row::default()
    };

    let part = goodput / peak_rate.max(1.0) * 100.0;
    let refused = overloaded.refused.len();
    row.notes = format!(
        "{goodput:.0} of {peak_rate:.0} calls/s ({part:.0} %), {refused} refused, p99 of that {refused_p99:.2} ms; \
         after a second {} refused of {}",
        after.refused.len(),
        after.refused.len() + after.answered.len()
    );

    let errors = row.errors;
    let last = overloaded.last_error.unwrap_or_default();
    row.bound(errors == 0, || {
        format!("{errors} calls failed otherwise than by being refused {last}")
    });
    row.bound(refused > 0, || "nothing was refused".into());
    row.bound(after.refused.is_empty(), || {
        "it still refuses a second later".into()
    });

    if !options.quick {
        row.bound(part >= 90.0, || {
            format!("goodput is {part:.0} % of the peak")
        });
        row.bound(refused_p99 < 5.0, || {
            format!("refusals take {refused_p99:.2} ms")
        });
    }

    Ok(row)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of some seconds are exact"
)]
fn rate(calls: u64, time: Duration) -> f64 {
    calls as f64 / time.as_secs_f64()
}
