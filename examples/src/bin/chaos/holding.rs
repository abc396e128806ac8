//! The rows of peers that make the daemon hold something: what a peer can have it hold, and how much that may be.

use crate::rows::P99::OfBeside;
use crate::rows::{Fault, Memory, Prepared};

/// `limits.memory_bytes_max` of the daemons of all rows, in MiB.
const MEMORY_MIB: u32 = 256;

/// What all connections together may hold, in MiB, with what an allocator keeps of it: a quarter more.
const TOGETHER_MIB: f64 = MEMORY_MIB as f64 * 1.25;

/// What one connection may hold, in MiB: `limits.connection_bytes_max` of 16 MiB, and one reply beside it, with what an
/// allocator keeps of it.
const CONNECTION_MIB: f64 = 32.0;

/// The setting `limits.memory_bytes_max` of the daemons of all rows.
pub(crate) fn memory_bytes_max() -> String {
    (u64::from(MEMORY_MIB) << 20).to_string()
}

/// What all connections of a daemon may hold together, as it counts that, in MiB.
pub(crate) fn memory_mib_max() -> f64 {
    MEMORY_MIB.into()
}

impl Memory {
    /// In MiB.
    pub(crate) fn mib_max(self) -> f64 {
        match self {
            Self::Mib(mib) => mib,
            Self::OfConnections(count) => (CONNECTION_MIB * f64::from(count)).min(TOGETHER_MIB),
        }
    }
}

/// `connections` are those of the peers.
const fn holding(name: &'static str, connections: u16) -> Fault {
    Fault {
        name,
        p99: Some(OfBeside(2.0)),
        memory: Memory::OfConnections(connections),
        // Theirs, those that come in their place meanwhile, and the daemon's own.
        descriptors_max: 2 * connections as usize + 200,
        daemon: Prepared::Plain,
        is_quick: true,
    }
}

const fn long(fault: Fault) -> Fault {
    Fault {
        is_quick: false,
        ..fault
    }
}

const fn on(daemon: Prepared, fault: Fault) -> Fault {
    Fault { daemon, ..fault }
}

/// Each with the connections that it opens.
pub(crate) const HOLDING: [Fault; 28] = [
    on(Prepared::WithLog, holding("reads-cancelled", 1)),
    on(Prepared::WithLog, holding("results-unread-8", 8)),
    on(Prepared::WithLog, long(holding("results-unread-100", 100))),
    long(holding("filters-of-1-mb-1", 1)),
    long(holding("filters-of-1-mb-10", 10)),
    on(Prepared::WithLog, long(holding("filters-of-1-kb-8", 8))),
    holding("params-of-1-mb-1", 1),
    long(holding("params-of-1-mb-10", 10)),
    long(holding("ordered-params-of-1-mb-10", 10)),
    long(holding("meta-of-1-mb-10", 10)),
    long(holding("half-lines-of-1-mb-300", 300)),
    holding("streams-unread-100", 100),
    on(Prepared::Defaults, holding("all-that-one-can-hold", 1)),
    long(holding("replies-of-4-mb-unread-50", 50)),
    on(
        Prepared::WithTls,
        long(holding("tls-replies-unread-50", 50)),
    ),
    on(
        Prepared::WithTls,
        long(holding("tls-half-hellos-1000", 1_000)),
    ),
    holding("pages-half-asked-1000", 1_000),
    long(holding("pages-unread-1000", 1_000)),
    on(
        Prepared::WithConnections("200"),
        long(holding("refused-2000", 2_000)),
    ),
    on(Prepared::WithLog, long(holding("tails-unread-100", 100))),
    on(
        Prepared::WithLog,
        long(holding("tails-without-credit-8", 8)),
    ),
    on(Prepared::Defaults, long(holding("tails-by-fields-1", 1))),
    holding("tails-by-fields-8", 8),
    on(Prepared::WithShortLog, long(holding("batches-50", 50))),
    on(
        Prepared::Defaults,
        long(holding("batches-of-mistakes-1", 1)),
    ),
    on(
        Prepared::WithManyFields,
        long(holding("filters-of-many-fields-1", 1)),
    ),
    on(
        Prepared::WithManyEntries,
        long(holding("filters-cancelled-8", 8)),
    ),
    on(Prepared::WithEmitLimits, holding("emits-8", 8)),
];
