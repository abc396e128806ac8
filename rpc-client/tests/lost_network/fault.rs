//! Faults of the network, or of the server.

use std::fmt;
use std::time::Duration;

use crate::client::Load;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    DroppedBothWays,
    DroppedToServer,
    DroppedToClient,
    RejectedWithReset,
    RejectedWithIcmp,
    Frozen,
}

/// A rule on what arrives at one end.
pub(crate) struct Rule {
    pub(crate) is_at_server: bool,
    pub(crate) verdict: &'static str,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::DroppedBothWays,
        Self::DroppedToServer,
        Self::DroppedToClient,
        Self::RejectedWithReset,
        Self::RejectedWithIcmp,
        Self::Frozen,
    ];

    /// Packets are stopped where they arrive: a rule on what leaves would be an error of the sender's
    /// own system, which a network never is.
    pub(crate) fn rules(self) -> Vec<Rule> {
        let at_server = |verdict| Rule {
            is_at_server: true,
            verdict,
        };
        let at_client = |verdict| Rule {
            is_at_server: false,
            verdict,
        };
        match self {
            Self::DroppedBothWays => vec![at_server("drop"), at_client("drop")],
            Self::DroppedToServer => vec![at_server("drop")],
            Self::DroppedToClient => vec![at_client("drop")],
            Self::RejectedWithReset => vec![at_server("reject with tcp reset")],
            Self::RejectedWithIcmp => vec![at_server("reject with icmp type admin-prohibited")],
            Self::Frozen => Vec::new(),
        }
    }

    /// Within which time a client with default settings finds it.
    pub(crate) fn bound(self, load: Load) -> Duration {
        let seconds = match (self, load) {
            // The system still acknowledges for the process, so only pings tell: a quarter of their
            // interval, the silence before the first, and two misses.
            (Self::Frozen, _) => 16.25,
            (_, Load::Idle) => 20.0,
            (_, Load::Busy | Load::Sending) => 11.0,
        };
        Duration::from_secs_f64(seconds)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DroppedBothWays => "packets dropped both ways",
            Self::DroppedToServer => "packets to the server dropped",
            Self::DroppedToClient => "packets to the client dropped",
            Self::RejectedWithReset => "packets rejected with RST",
            Self::RejectedWithIcmp => "packets rejected with ICMP",
            Self::Frozen => "server frozen (SIGSTOP)",
        })
    }
}
