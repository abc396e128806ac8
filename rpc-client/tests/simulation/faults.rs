//! The plan of the faults, made from the seed before the run begins.

use std::time::Duration;

use fastrand::Rng;

/// One thing that is done to the network or to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is sent between the client and this server is lost.
    Partition(usize),
    /// Only what the client sends is lost.
    PartitionToServer(usize),
    /// Only what the server sends is lost.
    PartitionToClient(usize),
    /// What is sent arrives when the fault is over.
    Hold(usize),
    /// Everything takes long.
    Slow(usize),
    /// The server's process dies; its connections are closed by its system.
    Crash(usize),
    /// The server's power fails: nothing is closed.
    PowerFailure(usize),
    /// The server drains, and starts anew.
    Drain(usize),
}

/// A fault, from when to when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// Plans faults for each server, one after another with pauses, until `end`.
pub(crate) fn plan(random: &mut Rng, servers: usize, end: Duration) -> Vec<Planned> {
    let mut planned = Vec::new();
    // Some runs are calm, so that the checks are also made where nothing goes wrong.
    let pause_ms = [200, 600, 2_000, 100_000][random.usize(..4)];
    for server in 0..servers {
        let mut at = Duration::from_millis(random.u64(..pause_ms));
        while at < end {
            let fault = match random.u8(..8) {
                0 => Fault::Partition(server),
                1 => Fault::PartitionToServer(server),
                2 => Fault::PartitionToClient(server),
                3 => Fault::Hold(server),
                4 => Fault::Slow(server),
                5 => Fault::Crash(server),
                6 => Fault::PowerFailure(server),
                _ => Fault::Drain(server),
            };
            let until = (at + Duration::from_millis(random.u64(1..1_500))).min(end);
            planned.push(Planned {
                fault,
                from: at,
                until,
            });
            at = until + Duration::from_millis(random.u64(1..pause_ms));
        }
    }
    planned
}
