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
    slots: Box<[PoolSlot]>,
}

/// One kept connection, and the calls that it was chosen for.
struct PoolSlot {
    endpoint: Arc<Endpoint>,
    in_flight: AtomicUsize,
}

/// Which of the kept connections was chosen; any number in the mode `short`.
pub(crate) type SlotNumber = u32;

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

        let slot = || PoolSlot {
            endpoint: dialer.endpoint(&address),
            in_flight: AtomicUsize::new(0),
        };
        let slots = (0..count).map(|_| slot()).collect();

        Self {
            address,
            dialer,
            slots,
        }
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.address
    }

    pub(crate) fn is_short(&self) -> bool {
        self.slots.is_empty()
    }

    /// The least busy of the connections that take calls. If it is busy too, another one is opened meanwhile.
    pub(crate) fn ready(&self) -> Option<(SlotNumber, Arc<Connection>)> {
        let mut best: Option<(SlotNumber, usize, Arc<Connection>)> = None;
        let mut closed = None;

        for (number, slot) in (0..).zip(&self.slots) {
            let Some(connection) = slot.endpoint.current() else {
                closed = Some(slot);
                continue;
            };

            let in_flight = slot.in_flight.load(Ordering::Relaxed);
            if best.as_ref().is_none_or(|(_, least, _)| in_flight < *least) {
                best = Some((number, in_flight, connection));
            }
        }

        let (number, in_flight, connection) = best?;
        if let Some(slot) = closed
            && in_flight > 0
        {
            slot.endpoint.begin_connecting();
        }

        Some((number, connection))
    }

    /// Whether any connection takes calls.
    pub(crate) fn is_connected(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.endpoint.current().is_some())
    }

    /// Begins to connect, where no connection takes calls, and does not wait for it.
    pub(crate) fn begin_connecting(&self) {
        if let Some(slot) = self.slots.first()
            && !self.is_connected()
        {
            slot.endpoint.begin_connecting();
        }
    }

    /// The least busy one, connected or not.
    pub(crate) fn least_busy(&self) -> SlotNumber {
        let busy = |(_, slot): &(SlotNumber, &PoolSlot)| slot.in_flight.load(Ordering::Relaxed);
        (0..)
            .zip(&self.slots)
            .min_by_key(busy)
            .map_or(0, |(number, _)| number)
    }

    /// Waits for a connection: the chosen one, or a new one.
    pub(crate) async fn connection(
        &self,
        slot: SlotNumber,
        deadline: Option<Instant>,
    ) -> Result<Arc<Connection>, Error> {
        if let Some(slot) = self.slot(slot) {
            return slot.endpoint.connection(deadline).await;
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
    pub(crate) fn enter(&self, slot: SlotNumber) {
        if let Some(slot) = self.slot(slot) {
            slot.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The call is over.
    pub(crate) fn leave(&self, slot: SlotNumber) {
        if let Some(slot) = self.slot(slot) {
            slot.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The kept connections as they are, be they over.
    pub(crate) fn latest(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.slots.iter().filter_map(|slot| slot.endpoint.latest())
    }

    fn slot(&self, number: SlotNumber) -> Option<&PoolSlot> {
        self.slots.get(number as usize)
    }
}
