//! One endpoint among several: its connections, what is counted of it, and a call's place at it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::eject::{CallEnd, Health};
use super::latency::PeakEwma;
use crate::config::Config;
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::endpoint::pool::{Dialer, Pool, SlotNumber};
use crate::error::Error;
use crate::metrics::Metrics;

/// One endpoint among several.
pub(crate) struct Member {
    pool: Pool,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    in_flight: AtomicUsize,
    calls: AtomicU64,
    failures: AtomicU64,
    /// The number of the connection that was lost last.
    lost: AtomicU64,
    observations: Mutex<Observations>,
}

#[derive(Default)]
struct Observations {
    latency: PeakEwma,
    health: Health,
}

/// A call's place at an endpoint: counted from its choice until this is dropped.
pub(crate) struct InFlightGuard {
    member: Arc<Member>,
    slot: SlotNumber,
    since: Instant,
    is_unary_call: bool,
}

impl Member {
    pub(crate) fn new(address: Arc<str>, dialer: Dialer) -> Self {
        Self {
            config: Arc::clone(&dialer.common.config),
            metrics: Arc::clone(&dialer.common.metrics),
            pool: Pool::new(address, dialer),
            in_flight: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            observations: Mutex::default(),
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        self.pool.address()
    }

    pub(crate) fn stats(&self) -> EndpointStats {
        let (now, observations) = (Instant::now(), self.observations());
        let latency = observations.latency.estimate(self.decay(), now);
        EndpointStats {
            address: self.pool.address().to_string(),
            is_connected: self.pool.is_connected(),
            is_ejected: observations.health.is_ejected(now),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            latency: latency.map(Duration::from_secs_f64),
        }
    }

    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.observations().health.is_ejected(now)
    }

    pub(crate) fn load(&self, now: Instant) -> Load {
        let in_flight = self.in_flight.load(Ordering::Relaxed) + 1;
        // Exact up to 2^32 calls in flight.
        let in_flight = f64::from(u32::try_from(in_flight).unwrap_or(u32::MAX));
        let latency_s = self.observations().latency.estimate(self.decay(), now);
        Load {
            in_flight,
            latency_s,
        }
    }

    fn decay(&self) -> Duration {
        Duration::from_millis(self.config.balance.latency_decay_ms)
    }

    /// One lock for both, held for a few operations on numbers. Each of them is one step, so a panic
    /// elsewhere leaves nothing half done.
    fn observations(&self) -> MutexGuard<'_, Observations> {
        self.observations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The load of a server, were it to get another call.
pub(crate) struct Load {
    /// The calls in flight, with that one.
    pub(crate) in_flight: f64,
    /// Its latency in seconds, if that is known.
    pub(crate) latency_s: Option<f64>,
}

/// The standing of a server with a connection when a call on it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerStanding {
    /// It takes calls.
    Serving,
    /// It had said goaway, or is gone, so that a rejection is no news of its health.
    Leaving,
}

impl InFlightGuard {
    pub(crate) fn new(member: &Arc<Member>, slot: SlotNumber, now: Instant) -> Self {
        // Relaxed here and below: numbers to compare, which guard nothing.
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        member.pool.enter(slot);

        Self {
            member: Arc::clone(member),
            slot,
            since: now,
            is_unary_call: false,
        }
    }

    /// A place at the least busy connection of this member.
    pub(crate) fn of(member: &Arc<Member>, now: Instant) -> Self {
        Self::new(member, member.pool.least_busy(), now)
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        self.member.pool.address()
    }

    pub(crate) async fn connection(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Arc<Connection>, Error> {
        self.member.pool.connection(self.slot, deadline).await
    }

    /// The call begins now: what it waited for before is not its endpoint's latency.
    pub(crate) fn begins(&mut self, now: Instant) {
        self.since = now;
    }

    /// Of a unary call, whose end says something of the endpoint's latency, given up or not.
    pub(crate) fn with_latency(mut self) -> Self {
        self.is_unary_call = true;
        self
    }

    /// Of any other one, whose length says nothing of it.
    pub(crate) fn without_latency(mut self) -> Self {
        self.is_unary_call = false;
        self
    }

    /// Tells how the call ended.
    pub(crate) fn finish(mut self, failure: Option<&Error>, standing: ServerStanding) {
        self.is_unary_call = false;
        let (member, now) = (&self.member, Instant::now());
        let is_failure = failure.is_some_and(Error::is_of_endpoint);

        member.calls.fetch_add(1, Ordering::Relaxed);
        if failure.is_some() {
            member.failures.fetch_add(1, Ordering::Relaxed);
        }

        if standing == ServerStanding::Leaving && failure.is_some_and(Error::is_rejected) {
            return;
        }

        // A lost connection is one failure, however many calls were on it: whether the server is there
        // again shows in connecting, and it is not to be ejected for having been restarted.
        if let Some(connection) = failure
            .filter(|error| error.is_connection_lost())
            .and_then(Error::connection)
            && member.lost.swap(connection, Ordering::Relaxed) == connection
        {
            return;
        }

        let end = if is_failure {
            CallEnd::Badly
        } else {
            CallEnd::Well
        };
        let mut observations = member.observations();
        // A failure comes fast, which is nothing to be preferred for. A deadline says: at least so slow.
        if !is_failure || failure.is_some_and(Error::is_deadline) {
            let latency = now.saturating_duration_since(self.since);
            observations.latency.observe(latency, member.decay(), now);
        }

        let ejected = observations.health.observe(end, &member.config, now);
        drop(observations);
        if let (Some(time), Some(failure)) = (ejected, failure) {
            member.metrics.ejected();
            let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(address = %member.pool.address(), for_ms, last = %failure, "ejected");
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if self.is_unary_call {
            // Given up: at least so slow.
            let (now, decay) = (Instant::now(), self.member.decay());
            let waited = now.saturating_duration_since(self.since);
            let mut observations = self.member.observations();
            if observations
                .latency
                .estimate(decay, now)
                .is_some_and(|estimate| waited.as_secs_f64() > estimate)
            {
                observations.latency.observe(waited, decay, now);
            }
        }

        self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.member.pool.leave(self.slot);
    }
}

/// What is known of one endpoint of a client; see [`Client::endpoints`](crate::Client::endpoints).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Its address.
    pub address: String,
    /// Whether it has a connection that takes calls; never in the mode `short`.
    pub is_connected: bool,
    /// Whether it has failed too often and is left alone for now.
    pub is_ejected: bool,
    /// Calls that are under way at it; 0 for the only connection of the mode `single`, which is not
    /// balanced.
    pub in_flight: usize,
    /// Calls that have ended at it, well or not; 0 where nothing is balanced.
    pub calls: u64,
    /// Of those, the ones that failed.
    pub failures: u64,
    /// Its latency as the balancer sees it, where any call has ended.
    pub latency: Option<Duration>,
}

impl EndpointStats {
    /// Of an endpoint that nothing is counted of.
    pub(crate) fn of_sole(endpoint: &Endpoint) -> Self {
        Self {
            address: endpoint.address().to_string(),
            is_connected: endpoint.current().is_some(),
            is_ejected: false,
            in_flight: 0,
            calls: 0,
            failures: 0,
            latency: None,
        }
    }
}
