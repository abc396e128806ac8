//! The addresses of a host that one attempt to connect has dialed, and what became of each.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of addresses that an error names; it counts the others.
const ADDRESSES_SHOWN: usize = 8;

/// What becomes of each address of a host in one attempt to connect. It outlives the attempt, which is dropped
/// at its time limit.
#[derive(Default)]
pub(crate) struct Tried(Mutex<Vec<Dialed>>);

struct Dialed {
    address: SocketAddr,
    outcome: Outcome,
}

/// How far an attempt at one address has come.
pub(super) enum Outcome {
    NotTried,
    NoAnswer,
    Connected,
    Failed(String),
}

impl Tried {
    /// Whether it knows of no address: none was looked up.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(super) fn begin(&self, addresses: &[SocketAddr]) {
        let dialed = |address: &SocketAddr| Dialed {
            address: *address,
            outcome: Outcome::NotTried,
        };
        *self.lock() = addresses.iter().map(dialed).collect();
    }

    pub(super) fn note(&self, number: usize, outcome: Outcome) {
        if let Some(dialed) = self.lock().get_mut(number) {
            dialed.outcome = outcome;
        }
    }

    /// Each change is a single step, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Vec<Dialed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `[::1]:8889: no answer; 127.0.0.1:8889: Connection refused (os error 111)`.
impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialed = self.lock();
        for (number, Dialed { address, outcome }) in dialed.iter().take(ADDRESSES_SHOWN).enumerate()
        {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: ")?;
            match outcome {
                Outcome::NotTried => f.write_str("not tried")?,
                Outcome::NoAnswer => f.write_str("no answer")?,
                Outcome::Connected => f.write_str("connected")?,
                Outcome::Failed(error) => f.write_str(error)?,
            }
        }

        match dialed.len().saturating_sub(ADDRESSES_SHOWN) {
            0 => Ok(()),
            others => write!(f, "; and {others} others"),
        }
    }
}
