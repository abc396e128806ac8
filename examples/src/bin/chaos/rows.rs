//! The rows of the peers: one daemon, one good client, one fault after another.

use crate::counts;
use crate::daemon::{Daemon, Start, fill_log};
use crate::good::Load;
use crate::holding::{HOLDING, memory_bytes_max};
use crate::report::Report;
use crate::trial;
use crate::{Options, Outcome};

/// Calls of the good client a second.
const RATE: u32 = 1_000;

/// What a prepared log holds.
const LOG_MEGABYTES: usize = 20;

/// A fault, and its bounds.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// How much larger the good client's p99 may be; none where nothing is promised.
    pub(crate) p99: Option<P99>,
    pub(crate) memory: Memory,
    /// How many descriptors.
    pub(crate) descriptors_max: usize,
    /// How the daemon is prepared.
    pub(crate) daemon: Prepared,
    /// Whether `--quick` runs it, too.
    pub(crate) is_quick: bool,
}

/// How much memory the daemon may take for a fault, beside what it has when it is idle.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    Mib(f64),
    /// What this number of connections may hold, or all of them together.
    OfConnections(u16),
}

/// A daemon before the fault.
#[derive(Clone, Copy)]
pub(crate) enum Prepared {
    /// With the settings that most rows have.
    Plain,
    /// With the default settings.
    Defaults,
    /// With a log of 20 MB.
    WithLog,
    /// With TLS where the peers come.
    WithTls,
    /// With room for that many connections only.
    WithConnections(&'static str),
}

impl Fault {
    pub(crate) fn is_flood(&self) -> bool {
        self.name.starts_with("flood-")
    }

    pub(crate) fn is_holding(&self) -> bool {
        matches!(self.memory, Memory::OfConnections(_))
    }
}

/// How many times the good client's p99 may be what it is otherwise.
#[derive(Clone, Copy)]
pub(crate) enum P99 {
    /// Than on an idle machine.
    OfAlone(f64),
    /// Than while the same peers do the same to another daemon of this machine. For what keeps a daemon's processor
    /// busy: here client, daemons and peers take the same cores from each other, independent of which is attacked.
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
        memory: Memory::Mib(memory_mib_max),
        descriptors_max,
        daemon: Prepared::Plain,
        is_quick: true,
    }
}

/// Memory: 16 KiB for an idle connection or one with a part of a line; for one that does not read,
/// what it is configured with, `limits.output_bytes_hard_max` of 8 MiB.
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
    fault("wrong_protocols", None, 48.0, 200),
    fault("10000-at-once", None, 160.0, 10_200),
];

pub(crate) async fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    for fault in FAULTS.iter().chain(&HOLDING) {
        if !options.wants(fault.name) || (options.quick && !fault.is_quick) {
            continue;
        }

        // A daemon of its own for each: memory that one fault has left is not another one's.
        let daemon = start_daemon(fault).await?;
        let load = Load::of_additions(&daemon.process.address, RATE);
        let mut row = trial::run(options, fault, &daemon, &load).await?;
        counts::compare(&mut row, &daemon, load).await?;
        report.add(row);
    }

    Ok(())
}

pub(crate) async fn start_daemon(fault: &Fault) -> Outcome<Daemon> {
    // All peers come from one address here, and more of them than a server's default lets in.
    let connections_max = match fault.daemon {
        Prepared::WithConnections(max) => max,
        _ => "20000",
    };
    let memory_bytes_max = memory_bytes_max();
    let mut settings = vec![("LOG_LEVEL", "error")];
    if !matches!(fault.daemon, Prepared::Defaults) {
        settings.extend([
            ("LIMITS_CONNECTIONS_MAX", connections_max),
            ("LIMITS_CONNECTIONS_PER_ADDRESS", "0"),
            ("LIMITS_MEMORY_BYTES_MAX", memory_bytes_max.as_str()),
        ]);
    }

    let daemon = Daemon::start(&Start {
        settings,
        has_tls: matches!(fault.daemon, Prepared::WithTls),
        ..Start::default()
    })?;
    if matches!(fault.daemon, Prepared::WithLog) {
        fill_log(&daemon.process.address, LOG_MEGABYTES).await?;
    }

    Ok(daemon)
}
