//! The outbox at work: messages are planned, claimed, submitted, and followed.

mod clock;
mod error;
mod lane;
mod metrics;
mod plan;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rpc_server::blocking::BlockingPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{GatewayKind, GatewaySettings, ReceiptsSettings, SmsSettings};
use crate::gateway::{CodeTexts, FileGateway, Gateway, HttpGateway};
use crate::message::Class;
use crate::store::{ClaimRules, GatewaySwitch, Store, StoreError};

pub use clock::Clock;
pub use error::OpenError;
pub use lane::{Lane, LaneState};
pub use plan::{Plan, Planner, Problem};
use tally::SendTally;
pub(crate) use tally::{RefusedFor, Shortage};

/// How long attempts under way may take when the outbox stops. Those that take longer are `unknown` at the next start.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// The outbox: its store, its gateways, and what connects them. Clones are handles of the same one.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    store: Store,
    planner: Planner,
    lanes: Vec<Arc<Lane>>,
    attempts_max: u32,
    pool: BlockingPool,
    clock: Clock,
    sends: SendTally,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Outbox {
    /// Opens the outbox in a directory, with the gateways of the settings, which were checked. It blocks.
    ///
    /// # Errors
    /// As [`Store::open`], and a gateway whose secrets or certificates cannot be read.
    pub fn open(
        dir: &Path,
        settings: &SmsSettings,
        pool: &BlockingPool,
    ) -> Result<Self, OpenError> {
        let receipts = &settings.receipts;
        let gateways = settings.gateways().into_iter().map(|settings| {
            let gateway = gateway(dir, &settings, receipts, pool)?;
            Ok((settings, gateway))
        });
        let gateways = gateways.collect::<Result<_, OpenError>>()?;

        let store = Store::open(
            &dir.join(&settings.data),
            settings.store(),
            Clock::system().now_ms(),
        )?;
        Ok(Self::with(
            store,
            settings,
            gateways,
            pool,
            Clock::system(),
        )?)
    }

    /// An outbox of these parts.
    pub(crate) fn with(
        store: Store,
        settings: &SmsSettings,
        gateways: Vec<(GatewaySettings, Box<dyn Gateway>)>,
        pool: &BlockingPool,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let paused = store.reader().paused()?;
        let lanes: Vec<Arc<Lane>> = gateways
            .into_iter()
            .map(|(settings, gateway)| {
                let switch = match paused.contains(&settings.name) {
                    true => GatewaySwitch::Paused,
                    false => GatewaySwitch::On,
                };
                Arc::new(Lane::new(settings, gateway, switch))
            })
            .collect();

        Ok(Self(Arc::new(Inner {
            planner: Planner::new(settings),
            attempts_max: settings.attempts_max,
            store,
            lanes,
            pool: pool.clone(),
            clock,
            sends: SendTally::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })))
    }

    /// Begins to send what waits. It needs a runtime.
    pub fn start(&self) {
        for lane in &self.0.lanes {
            self.0
                .tasks
                .spawn(work::serve(self.clone(), Arc::clone(lane)));
        }
        self.0.tasks.spawn(work::sweep(self.clone()));
        self.0.tasks.spawn(work::remind(self.clone()));
    }

    /// Stops: no more is claimed, and attempts under way end.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();

        let ended = tokio::time::timeout(STOP_WAIT, self.0.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!(
                "messages were being sent when the server stopped; they are `unknown` after the next start"
            );
        }
    }

    /// What is on disk.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What decides where messages go.
    pub fn planner(&self) -> &Planner {
        &self.0.planner
    }

    /// The gateways, in the order of the settings.
    pub fn lanes(&self) -> &[Arc<Lane>] {
        &self.0.lanes
    }

    /// The gateway of a name.
    pub fn lane(&self, name: &str) -> Option<&Arc<Lane>> {
        self.0.lanes.iter().find(|lane| lane.name() == name)
    }

    /// The threads for blocking work.
    pub fn pool(&self) -> &BlockingPool {
        &self.0.pool
    }

    /// The time, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }

    /// Counts a message that was accepted.
    pub(crate) fn note_accepted(&self, class: Class) {
        self.0.sends.note_accepted(class);
    }

    /// Counts a message that was not accepted.
    pub(crate) fn note_refused(&self, reason: RefusedFor) {
        self.0.sends.note_refused(reason);
    }

    /// Pauses a gateway, or lets it go on. It is on disk before it takes effect.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn switch(&self, lane: &Lane, to: GatewaySwitch) -> Result<(), StoreError> {
        let name = lane.name().to_owned();
        self.0
            .store
            .run(move |outbox| outbox.switch(&name, to))
            .await?;
        lane.switch(to);
        Ok(())
    }

    /// The tasks that end when it stops.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Cancelled when it stops.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.0.stop
    }

    fn claim_rules(&self) -> ClaimRules {
        ClaimRules {
            marketing_not_before: self.0.planner.quiet_until(self.now_ms()),
        }
    }
}

fn gateway(
    dir: &Path,
    settings: &GatewaySettings,
    receipts: &ReceiptsSettings,
    pool: &BlockingPool,
) -> Result<Box<dyn Gateway>, OpenError> {
    let callback = settings
        .receipt
        .as_ref()
        .map_or(String::new(), |receipt| receipts.callback(receipt));
    Ok(match settings.kind {
        GatewayKind::File => Box::new(FileGateway::new(
            dir.join(&settings.file),
            match settings.write_otp {
                true => CodeTexts::Written,
                false => CodeTexts::LeftOut,
            },
            pool.clone(),
        )),
        GatewayKind::Http => {
            let gateway = HttpGateway::new(settings.http.clone())
                .and_then(|gateway| gateway.with_callback(&callback));
            Box::new(gateway.map_err(|error| OpenError::Gateway {
                name: settings.name.clone(),
                error,
            })?)
        }
    })
}
