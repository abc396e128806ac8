//! The rows of the peers: one daemon, one good client, one fault after another.

use crate::daemon::Daemon;
use crate::good::Load;
use crate::report::Report;
use crate::trial;
use crate::{Options, Outcome};

/// Calls of the good client a second.
const RATE: u32 = 1_000;

/// A fault, and its bounds.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// How much larger the good client's p99 may be; none where nothing is promised.
    pub(crate) p99: Option<P99>,
    /// How much memory the daemon may take for it, in MiB.
    pub(crate) memory_mib_max: f64,
    /// How many descriptors.
    pub(crate) descriptors_max: usize,
}

impl Fault {
    pub(crate) fn is_flood(&self) -> bool {
        self.name.starts_with("flood-")
    }
}

/// How many times the good client's p99 may be what it is otherwise.
#[derive(Clone, Copy)]
pub(crate) enum P99 {
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
        report.add(trial::run(options, fault, &daemon, &load).await?);
    }

    Ok(())
}

pub(crate) fn start_daemon() -> Outcome<Daemon> {
    // All peers come from one address here, and more of them than a server's default lets in.
    let settings = [
        ("LIMITS_CONNECTIONS_MAX", "20000"),
        ("LIMITS_CONNECTIONS_PER_ADDRESS", "0"),
        ("LOG_LEVEL", "error"),
    ];
    Daemon::start(&settings, None)
}
