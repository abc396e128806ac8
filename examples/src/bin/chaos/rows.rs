//! The rows of the peers: one daemon, one good client, one fault after another.

use crate::counts;
use crate::daemon::{Daemon, Start, append_first, append_many_fields, fill_log};
use crate::emits::Witness;
use crate::good::Load;
use crate::holding::{HOLDING, memory_bytes_max};
use crate::report::Report;
use crate::trial::{self, Tried};
use crate::{Options, Outcome};

/// Calls of the good client a second.
const RATE: u32 = 1_000;

/// What a prepared log holds.
const LOG_MEGABYTES: usize = 20;

/// What a log of many entries holds, in short and else.
const MANY_MEGABYTES_QUICK: u64 = 40;
const MANY_MEGABYTES: u64 = 2_000;

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
    /// With a log of many entries: gigabytes, or 40 MB with `--quick`.
    WithManyEntries,
    /// With the default settings, and a log of entries with as many fields as there may be.
    WithManyFields,
    /// With a log that keeps its newest files only.
    WithShortLog,
    /// With a log that takes little of each service, and lets little wait for the disk.
    WithEmitLimits,
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

    /// Whether the log's entries are counted, and those of another service with them.
    fn is_counted(&self) -> bool {
        matches!(self.daemon, Prepared::WithEmitLimits)
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
        let daemon = start_daemon(options, fault).await?;
        let load = Load::of_additions(&daemon.process.address, RATE);
        let witness = fault.is_counted().then(|| Witness::start(&daemon));

        let Tried { mut row, done } = trial::run(options, fault, &daemon, &load).await?;
        if let Some(witness) = witness {
            witness.compare(&mut row, &daemon, done).await?;
        }
        counts::compare(&mut row, &daemon, load).await?;
        report.add(row);
    }

    Ok(())
}

pub(crate) async fn start_daemon(options: &Options, fault: &Fault) -> Outcome<Daemon> {
    let memory_bytes_max = memory_bytes_max();
    let mut settings = vec![("LOG_LEVEL", "error")];
    if !matches!(fault.daemon, Prepared::Defaults | Prepared::WithManyFields) {
        // All peers come from one address here, and more of them than a server's default lets in.
        settings.extend([
            ("LIMITS_CONNECTIONS_MAX", "20000"),
            ("LIMITS_CONNECTIONS_PER_ADDRESS", "0"),
            ("LIMITS_MEMORY_BYTES_MAX", memory_bytes_max.as_str()),
        ]);
    }
    match fault.daemon {
        Prepared::WithConnections(max) => settings.push(("LIMITS_CONNECTIONS_MAX", max)),
        Prepared::WithShortLog => settings.push(("LOG_RETENTION_BYTES", "200000000")),
        Prepared::WithEmitLimits => settings.extend([
            ("LOG_SERVICE_BYTES_PER_SECOND", "2000000"),
            ("LOG_EMIT_QUEUE_BYTES_MAX", "2097152"),
        ]),
        _ => {}
    }

    let daemon = Daemon::start(&Start {
        settings,
        has_tls: matches!(fault.daemon, Prepared::WithTls),
        ..Start::default()
    })?;
    if fault.is_holding() && !fault.is_counted() {
        // The descriptor of the log's file is open before the attack.
        append_first(&daemon.process.address).await?;
    }
    match fault.daemon {
        Prepared::WithLog => fill_log(&daemon.process.address, LOG_MEGABYTES).await?,
        Prepared::WithManyFields => append_many_fields(&daemon.process.address).await?,
        Prepared::WithManyEntries => {
            let megabytes = if options.quick {
                MANY_MEGABYTES_QUICK
            } else {
                MANY_MEGABYTES
            };
            daemon.fill_log_with_many(megabytes).await?;
        }
        _ => {}
    }

    Ok(daemon)
}
