//! Admission of calls: the limit of calls in flight on all connections together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_core::{Peer, Status};
use tokio::time::Instant;

use super::gradient::{Gradient, Sample};
use super::peers::{PeerShare, Peers};
use crate::config::Config;
use crate::peer_log::LogThrottle;
use crate::sync::{AtomicU64, Mutex};

/// The limit, and what refused callers are told.
pub(crate) struct Admission {
    limit: AtomicU64,
    /// Calls of all connections, as of the end of their last turns.
    in_flight: AtomicU64,
    /// Those of each peer, and how many that may be; 0: no limit.
    peers: Arc<Peers>,
    per_peer: u64,
    logged: LogThrottle,
    /// Where the limit follows what the server can do.
    adaptive: Option<Mutex<Gradient>>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        let adaptive = config.admission.adaptive.then(|| {
            Gradient::new(
                config.admission.adaptive_min,
                config.admission.in_flight_max,
                Instant::now(),
            )
        });
        let limit = adaptive
            .as_ref()
            .map_or(config.admission.in_flight_max as u64, Gradient::limit);

        Self {
            limit: AtomicU64::new(limit),
            in_flight: AtomicU64::new(0),
            peers: Arc::default(),
            per_peer: config.admission.in_flight_per_peer as u64,
            logged: LogThrottle::new("calls that were shed", tracing::Level::WARN, 1),
            adaptive: adaptive.map(Mutex::new),
        }
    }

    /// Relaxed: a call too many or too few for a moment does no harm.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// A connection has `now` calls in flight, and had `before` when it last published them.
    fn publish(&self, before: usize, now: usize) {
        if before != now {
            // What is added for fewer calls than before wraps around to what is taken away.
            self.in_flight
                .fetch_add((now as u64).wrapping_sub(before as u64), Ordering::Relaxed);
        }
    }

    /// How many further calls may be in flight, for a connection that has `now` of them and has published `published`.
    pub(crate) fn places(&self, published: usize, now: usize) -> u64 {
        let own = (now as u64).wrapping_sub(published as u64);
        let calls = self.in_flight.load(Ordering::Relaxed).wrapping_add(own);
        self.limit().saturating_sub(calls)
    }

    /// Whether it has any use for the latency of calls.
    pub(crate) fn is_adaptive(&self) -> bool {
        self.adaptive.is_some()
    }

    /// A call that was not ready at once has ended, after this time.
    pub(crate) fn record(&self, latency: Duration, now: Instant) {
        let Some(adaptive) = &self.adaptive else {
            return;
        };

        // Held for a few additions. Where another thread has it, one latency fewer does not matter, and
        // waiting would.
        let Ok(mut gradient) = adaptive.try_lock() else {
            return;
        };

        #[allow(
            clippy::cast_precision_loss,
            reason = "the number of calls of a server is far below 2^52"
        )]
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f64;
        gradient.record(Sample {
            now,
            latency,
            in_flight,
        });
        self.limit.store(gradient.limit(), Ordering::Relaxed);
    }

    /// What is said of a call that is not run.
    pub(crate) fn refusal(&self, config: &Config) -> Status {
        let limit = self.limit();
        let name = if config.admission.adaptive {
            "admission.adaptive"
        } else {
            "admission.in_flight_max"
        };

        self.logged.write(|| {
            tracing::warn!(
                limit,
                setting = name,
                "calls are shed: the maximum number of calls is in flight"
            );
        });

        let message = format!(
            "the server has {limit} calls in flight, the maximum (`{name}`); this call did not run"
        );
        Status::resource_exhausted(message)
            .with_rejected()
            .with_retry_after(config.admission.retry_after())
    }
}

/// The calls of one connection among those of all and those of its peer, as of its last turn; none once this is
/// dropped.
pub(crate) struct CallCount {
    admission: Arc<Admission>,
    /// None for a peer whose calls are not counted.
    peer: Option<PeerShare>,
    published: usize,
    /// How many calls the connection may have, as of the last look.
    calls_max: u64,
    /// The limit that says so.
    limit: Full,
}

/// The limit of calls in flight that is reached, or would be first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    OfAll,
    OfPeer,
}

impl CallCount {
    pub(crate) fn none(admission: &Arc<Admission>, peer: &Peer) -> Self {
        let is_limited = admission.per_peer > 0;
        let share = is_limited.then(|| PeerShare::of(&admission.peers, peer));

        Self {
            admission: Arc::clone(admission),
            peer: share.flatten(),
            published: 0,
            calls_max: 0,
            limit: Full::OfAll,
        }
    }

    /// Looks how many calls may be added to those that the connection has `now`: once a turn, and not for each.
    #[inline]
    pub(crate) fn look(&mut self, now: usize) {
        let mut places = self.admission.places(self.published, now);
        self.limit = Full::OfAll;

        if let Some(peer) = &self.peer {
            let calls = peer.calls(self.published, now);
            let of_peer = self.admission.per_peer.saturating_sub(calls);
            if of_peer < places {
                places = of_peer;
                self.limit = Full::OfPeer;
            }
        }

        self.calls_max = (now as u64).saturating_add(places);
    }

    /// The peer has shown who it is: its calls count for that from now on.
    pub(crate) fn identify(&mut self, peer: &Peer) {
        let calls = self.published;
        self.publish(0);
        *self = Self::none(&self.admission, peer);
        self.publish(calls);
        self.look(calls);
    }

    #[inline]
    pub(crate) fn publish(&mut self, now: usize) {
        self.admission.publish(self.published, now);
        if let Some(peer) = &self.peer {
            peer.publish(self.published, now);
        }
        self.published = now;
    }

    /// Whether there is no room for a call of this connection, which has `now` of them.
    #[inline]
    pub(crate) fn is_full(&self, now: usize) -> bool {
        now as u64 >= self.calls_max
    }

    /// The limit that leaves no room for a call of this connection, where one does.
    pub(crate) fn full(&self, now: usize) -> Option<Full> {
        self.is_full(now).then_some(self.limit)
    }
}

impl Drop for CallCount {
    fn drop(&mut self) {
        self.publish(0);
    }
}
