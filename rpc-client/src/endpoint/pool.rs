//! The connections to one endpoint, as many as the mode wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rpc_core::backoff::half_jitter;
use tokio::time::Instant;

use super::authenticate::Refusal;
use super::connect::Connector;
use super::dial::Tried;
use crate::config::{Config, Mode};
use crate::connection::liveness::earliest;
use crate::connection::{Common, Connection, LostOneways};
use crate::endpoint::Endpoint;
use crate::error::{Cause, Error, Kind};
use crate::time::after;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) common: Common,
    pub(crate) connector: Connector,
}

/// One endpoint's connections: kept ones, or a new one for each call.
pub(crate) struct Pool {
    address: Arc<str>,
    dialer: Dialer,
    /// None in the mode `short`.
    lanes: Box<[Lane]>,
}

/// One kept connection, and the calls that it was chosen for.
struct Lane {
    endpoint: Arc<Endpoint>,
    in_flight: AtomicUsize,
}

/// Which of the kept connections was chosen; any number in the mode `short`.
pub(crate) type LaneNumber = u32;

impl Dialer {
    pub(crate) fn endpoint(&self, address: &Arc<str>) -> Arc<Endpoint> {
        Endpoint::new(
            Arc::clone(address),
            self.common.clone(),
            self.connector.clone(),
        )
    }

    /// A connection for one call alone. The call's own task opens it: nobody else waits for it, and nobody
    /// opens another one in its place.
    ///
    /// # Errors
    /// The last error of connecting, where that has failed for longer than `fail_fast_after_ms`; the deadline,
    /// where it comes first. Either way nothing was sent.
    async fn connect_for_one_call(
        &self,
        address: &Arc<str>,
        deadline: Option<Instant>,
    ) -> Result<Arc<Connection>, Error> {
        // Who calls learns what becomes of it: no later flush has to tell.
        let common = Common {
            lost_oneways: LostOneways::default(),
            ..self.common.clone()
        };
        let config = &common.config;

        let error = |kind| Error::new(kind, address, None);
        let mut backoff = config.backoff();
        // Since when connecting fails, and how it last did.
        let mut failing: Option<(Instant, Cause)> = None;

        loop {
            let now = Instant::now();
            let patience = failing
                .as_ref()
                .map(|(since, _)| after(*since, config.fail_fast_after()));
            let until = earliest(deadline, patience);
            if until.is_some_and(|until| until <= now) {
                return Err(error(match failing {
                    Some((_, last)) if until != deadline => Kind::NotSent(last),
                    _ => Kind::Deadline { was_sent: false },
                }));
            }

            let connect_end = after(now, config.connect_timeout());
            // One timer for all that ends an attempt.
            let limit = until.map_or(connect_end, |until| until.min(connect_end));
            let tried = Tried::default();
            let opening = self.connector.open(address, &common, &tried, drop);
            let refusal = match tokio::time::timeout_at(limit, opening).await {
                Ok(Ok(connection)) if connection.is_usable() => return Ok(connection),
                // It was sent away before it could be used; the next one need not fare better.
                Ok(Ok(connection)) => Refusal::of_over(&connection),
                Ok(Err(refusal)) => refusal,
                Err(_) if limit == connect_end => Refusal::no_answer(config, &tried),
                Err(_) => continue,
            };

            refusal.tell(address);
            let last = match refusal {
                Refusal::Failed(last) => last,
                Refusal::Token(last, _) => return Err(error(Kind::NotSent(last))),
            };

            let now = Instant::now();
            let since = failing.map_or(now, |(since, _)| since);
            failing = Some((since, last));
            let mut delay = backoff.next_delay_after(now - since);
            if config.reconnect_wanted_ms > 0 {
                delay = delay.min(half_jitter(Duration::from_millis(
                    config.reconnect_wanted_ms,
                )));
            }

            let patience = after(since, config.fail_fast_after());
            let until = deadline.map_or(patience, |deadline| deadline.min(patience));
            if now < until {
                tokio::time::sleep_until(until.min(now + delay)).await;
            }
        }
    }

    /// Where each call opens a connection and there are other endpoints, one failure to connect is
    /// enough to try another one.
    pub(crate) fn for_one_of_several(&self, is_several: bool) -> Self {
        if !is_several || self.common.config.mode != Mode::Short {
            return self.clone();
        }

        let config = Config {
            fail_fast_after_ms: 0,
            ..Config::clone(&self.common.config)
        };
        Self {
            common: Common {
                config: Arc::new(config),
                ..self.common.clone()
            },
            connector: self.connector.clone(),
        }
    }
}

impl Pool {
    pub(crate) fn new(address: Arc<str>, dialer: Dialer) -> Self {
        let count = match dialer.common.config.mode {
            Mode::Single => 1,
            // A pool of none could never serve a call.
            Mode::Pooled(count) => count.max(1),
            Mode::Short => 0,
        };

        let lane = || Lane {
            endpoint: dialer.endpoint(&address),
            in_flight: AtomicUsize::new(0),
        };
        let lanes = (0..count).map(|_| lane()).collect();

        Self {
            address,
            dialer,
            lanes,
        }
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    pub(crate) fn is_short(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The least busy of the connections that take calls. Where even that one is busy, another one is
    /// opened meanwhile.
    pub(crate) fn ready(&self) -> Option<(LaneNumber, Arc<Connection>)> {
        let mut best: Option<(LaneNumber, usize, Arc<Connection>)> = None;
        let mut closed = None;

        for (number, lane) in (0..).zip(&self.lanes) {
            let Some(connection) = lane.endpoint.current() else {
                closed = Some(lane);
                continue;
            };

            let in_flight = lane.in_flight.load(Ordering::Relaxed);
            if best.as_ref().is_none_or(|(_, least, _)| in_flight < *least) {
                best = Some((number, in_flight, connection));
            }
        }

        let (number, in_flight, connection) = best?;
        if let Some(lane) = closed
            && in_flight > 0
        {
            lane.endpoint.open();
        }

        Some((number, connection))
    }

    /// Whether any connection takes calls.
    pub(crate) fn is_connected(&self) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.endpoint.current().is_some())
    }

    /// Begins to connect, where no connection takes calls, and does not wait for it.
    pub(crate) fn open(&self) {
        if let Some(lane) = self.lanes.first()
            && !self.is_connected()
        {
            lane.endpoint.open();
        }
    }

    /// The least busy one, connected or not.
    pub(crate) fn least_busy(&self) -> LaneNumber {
        let busy = |(_, lane): &(LaneNumber, &Lane)| lane.in_flight.load(Ordering::Relaxed);
        (0..)
            .zip(&self.lanes)
            .min_by_key(busy)
            .map_or(0, |(number, _)| number)
    }

    /// Waits for a connection: the chosen one, or a new one.
    pub(crate) async fn connection(
        &self,
        lane: LaneNumber,
        deadline: Option<Instant>,
    ) -> Result<Arc<Connection>, Error> {
        match self.lane(lane) {
            Some(lane) => lane.endpoint.connection(deadline).await,
            // Boxed: what it needs is no part of the calls on kept connections.
            None => Box::pin(self.dialer.connect_for_one_call(&self.address, deadline)).await,
        }
    }

    /// Counts a call that it was chosen for.
    pub(crate) fn enter(&self, lane: LaneNumber) {
        if let Some(lane) = self.lane(lane) {
            lane.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The call is over.
    pub(crate) fn leave(&self, lane: LaneNumber) {
        if let Some(lane) = self.lane(lane) {
            lane.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The kept connections as they are, be they over.
    pub(crate) fn latest(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.lanes.iter().filter_map(|lane| lane.endpoint.latest())
    }

    fn lane(&self, number: LaneNumber) -> Option<&Lane> {
        self.lanes.get(number as usize)
    }
}
