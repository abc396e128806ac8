//! The rows of the peers: one daemon, one good client, one fault after another.

use std::time::{Duration, Instant};

use crate::attack::{Attack, Told};
use crate::daemon::Daemon;
use crate::good::{Load, Window, milliseconds};
use crate::report::{Report, Row};
use crate::{Options, Outcome};

/// Calls of the good client a second.
const RATE: u32 = 1_000;
const MIB: f64 = 1_048_576.0;

/// A fault, and its bounds.
struct Fault {
    name: &'static str,
    /// How much larger the good client's p99 may be; none where nothing is promised.
    p99: Option<P99>,
    /// How much memory the daemon may take for it, in MiB.
    memory_mib_max: f64,
    /// How many descriptors.
    descriptors_max: usize,
}

/// How many times the good client's p99 may be what it is otherwise.
#[derive(Clone, Copy)]
enum P99 {
    /// Than while nothing else goes on.
    OfAlone(f64),
    /// Than while the same peers do the same to another daemon of this machine. For what keeps a daemon's processor
    /// busy: here client, daemons and peers take the same cores from each other, whoever is attacked.
    OfBeside(f64),
}

use P99::{OfAlone, OfBeside};

const fn fault(
    name: &'static str,
    p99: Option<P99>,
    memory_mib_max: f64,
    descriptors_max: usize,
) -> Fault {
    Fault {
        name,
        p99,
        memory_mib_max,
        descriptors_max,
    }
}

/// Memory: 16 KiB for an idle connection or one with a part of a line; for one that does not read,
/// what it is configured with, `output_bytes_hard_max` of 8 MiB.
const FAULTS: [Fault; 13] = [
    fault("slow-loris-5000", Some(OfAlone(1.5)), 80.0, 5_200),
    fault("never-reads-100", Some(OfAlone(1.5)), 800.0, 300),
    fault("neither-reads", None, 120.0, 200),
    fault("pipelines-a-million", Some(OfBeside(2.0)), 32.0, 200),
    fault("flood-of-pings", None, 48.0, 200),
    fault("flood-of-cancels", None, 48.0, 200),
    fault("flood-of-empty-lines", None, 48.0, 200),
    fault("flood-of-unknown-commands", None, 48.0, 200),
    fault("reset-in-a-frame", None, 48.0, 400),
    fault("half-close", None, 48.0, 400),
    fault("connect-and-close", None, 48.0, 1_000),
    fault("strangers", None, 48.0, 200),
    fault("10000-at-once", None, 160.0, 10_200),
];

pub(crate) async fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let wanted: Vec<&Fault> = FAULTS
        .iter()
        .filter(|fault| options.wants(fault.name))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }

    for fault in wanted {
        // A daemon of its own for each: memory that one fault has left is not another one's.
        let daemon = start_daemon()?;
        let load = Load::of_additions(&daemon.process.address, RATE);
        report.add(one(options, fault, &daemon, &load).await?);
    }

    Ok(())
}

fn start_daemon() -> Outcome<Daemon> {
    // All peers come from one address here, and more of them than a server's default lets in.
    let settings = [
        ("LIMITS_CONNECTIONS_MAX", "20000"),
        ("LIMITS_CONNECTIONS_PER_ADDRESS", "0"),
        ("LOG_LEVEL", "error"),
    ];
    Daemon::start(&settings, None)
}

async fn one(options: &Options, fault: &Fault, daemon: &Daemon, load: &Load) -> Outcome<Row> {
    // A flood is slowed down first, and ended after `cheap_frames_timeout_ms` of 10 s.
    let is_flood = fault.name.starts_with("flood-");
    let (rounds, seconds) = match (options.quick, is_flood) {
        (true, _) => (1, 0.7),
        (false, true) => (1, 12.0),
        // One stall of the machine moves the p99 of a round; the median is that of the rounds without.
        (false, false) => (7, 2.0),
    };
    let length = Duration::from_secs_f64(seconds);

    // Warm: connected, and every path taken once.
    let mut errors = load.window(Duration::from_millis(300)).await.failures();

    let before = daemon.process.usage()?;
    let (mut pairs, mut besides, mut rss_peak) = (Vec::new(), Vec::new(), 0);
    let mut row = Row {
        name: fault.name.into(),
        ..Row::default()
    };
    let (mut slowest, mut last_error) = (0.0_f64, None);
    let onset_length = if options.quick {
        Duration::ZERO
    } else {
        Duration::from_secs(1)
    };

    for _ in 0..rounds {
        let alone = load.window(length).await;

        if let Some(OfBeside(_)) = fault.p99 {
            let neighbour = start_daemon()?;
            let attack = Attack::start(fault.name, &neighbour.process.address)?;
            let windows = [load.window(onset_length).await, load.window(length).await];
            besides.push(windows[1].p99());
            errors += windows.iter().map(Window::failures).sum::<u64>();
            attack.end()?;
        }

        let attack = Attack::start(fault.name, &daemon.process.address)?;

        // They do their worst as they come: what fails then counts, and the longest call is told apart.
        let onset = load.window(onset_length).await;
        slowest = slowest.max(milliseconds(&onset.answered, 100.0));
        rss_peak = rss_peak.max(watched(daemon, length).await?);

        let under = load.take();
        row.descriptors_peak = row
            .descriptors_peak
            .max(daemon.process.usage()?.descriptors);

        pairs.push((alone.p99(), under.p99()));
        for window in [alone, onset, under] {
            errors += window.failures();
            last_error = window.last_error.or(last_error);
        }

        let Told {
            faults,
            ended,
            text,
        } = attack.end()?;
        row.notes = format!("{text}; the longest call as they came: {slowest:.0} ms");
        row.bound(options.quick || !is_flood || ended > 0, || {
            "no flood was ended".into()
        });
        row.bound(faults == 0, || {
            format!("{faults} of the peers were not served as they must be")
        });

        wait_for_descriptors(daemon, before.descriptors, &mut row).await?;
    }

    (row.alone, row.under) = (
        median(pairs.iter().map(|pair| pair.0)),
        median(pairs.iter().map(|pair| pair.1)),
    );

    let alone = pairs.iter().map(|pair| pair.0);
    let otherwise: Vec<f64> = if besides.is_empty() {
        alone.collect()
    } else {
        besides.clone()
    };
    row.beside = (!besides.is_empty()).then(|| median(besides.into_iter()));
    row.ratio = median(
        pairs
            .iter()
            .zip(otherwise)
            .map(|(pair, otherwise)| pair.1 / otherwise.max(0.001)),
    );

    row.rss_peak_mib = mib(rss_peak);
    row.errors = errors;

    let last = last_error.unwrap_or_default();
    row.bound(errors == 0, || {
        format!("the good client had {errors} errors {last}")
    });

    let grown = row.rss_peak_mib - mib(before.rss_bytes);
    row.bound(grown <= fault.memory_mib_max, || {
        format!("{grown:.0} MiB more, {} allowed", fault.memory_mib_max)
    });

    let descriptors = row.descriptors_peak;
    row.bound(descriptors <= fault.descriptors_max, || {
        format!("{descriptors} descriptors")
    });

    if let (false, Some(OfAlone(most) | OfBeside(most))) = (options.quick, fault.p99) {
        let ratio = row.ratio;
        row.bound(ratio <= most, || {
            format!("p99 is {ratio:.2} times what it is otherwise, {most} allowed")
        });
    }

    Ok(row)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets `length` pass; returns the most memory that the daemon had.
async fn watched(daemon: &Daemon, length: Duration) -> Outcome<u64> {
    let (end, mut most) = (Instant::now() + length, 0);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
        most = most.max(daemon.process.rss_bytes()?);
    }
    Ok(most)
}

/// What the peers had is given back once they are gone: within the time of a lingering close and more.
async fn wait_for_descriptors(daemon: &Daemon, before: usize, row: &mut Row) -> Outcome<()> {
    let end = Instant::now() + Duration::from_secs(15);
    loop {
        let now = daemon.process.usage()?.descriptors;
        if now <= before {
            return Ok(());
        }

        if Instant::now() > end {
            row.bound(false, || format!("{} descriptors were kept", now - before));
            return Ok(());
        }

        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
