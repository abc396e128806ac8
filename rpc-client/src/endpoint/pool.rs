//! The connections to one endpoint, as many as the mode wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::connect::Connector;
use super::one_call;
use crate::config::{Config, Mode};
use crate::connection::{Common, Connection};
use crate::endpoint::Endpoint;
use crate::error::Error;

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

    /// For one of this many endpoints: where each call opens a connection and there are other endpoints, one failure to
    /// connect is enough to try another one.
    pub(crate) fn for_one_of(&self, endpoints: usize) -> Self {
        if endpoints < 2 || self.common.config.pool.mode != Mode::Short {
            return self.clone();
        }

        let config = Config::clone(&self.common.config)
            .with(|config| config.reconnect.fail_fast_after_ms = 0);
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
        let count = match dialer.common.config.pool.mode {
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

    /// The least busy of the connections that take calls. If it is busy too, another one is opened meanwhile.
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
        if let Some(lane) = self.lane(lane) {
            return lane.endpoint.connection(deadline).await;
        }

        // Boxed: what it needs is no part of the calls on kept connections.
        let Dialer { common, connector } = &self.dialer;
        Box::pin(one_call::connect(
            &self.address,
            common,
            connector,
            deadline,
        ))
        .await
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
