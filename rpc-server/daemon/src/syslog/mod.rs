//! Syslog in: messages of RFC 5424 and RFC 3164 become entries of the log.
//!
//! A message has no answer, so that its sender does not learn what becomes of it. Over UDP and Unix sockets, what there is no
//! room for is dropped and counted, and the log says how much; over TCP, the connection is not read from for as long.

mod address;
mod datagrams;
mod framing;
mod message;
mod rate;
mod settings;
mod socket;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use rpc_core::api::log::{Append, Fields, Level};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::address::Address;
use self::rate::Rates;
use self::socket::{Bound, bind};
use crate::DaemonError;
use crate::store::{LogEngine, Overflow};

pub use self::settings::SyslogSettings;

/// How often the log says what was dropped.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// What all listeners share.
struct Shared {
    store: Arc<dyn LogEngine>,
    settings: SyslogSettings,
    rates: Rates,
}

/// The listeners, bound and not started yet.
pub(crate) struct Syslog {
    shared: Arc<Shared>,
    sockets: Vec<Bound>,
}

impl Syslog {
    /// Binds the addresses of the settings; `None` if they name none.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound, or that other machines reach although that was not allowed.
    pub(crate) async fn bind(
        settings: &SyslogSettings,
        store: &Arc<dyn LogEngine>,
    ) -> Result<Option<Self>, DaemonError> {
        let mut sockets = Vec::new();
        for text in &settings.listen {
            let bound = bind(text, settings).await;
            let bound = bound.map_err(|error| {
                let message = format!("`syslog.listen` = \"{text}\": {error}");
                DaemonError::setting("syslog.listen", message)
            })?;
            tracing::info!(address = %bound.name(), "listening for syslog");
            sockets.push(bound);
        }

        let shared = Shared {
            store: Arc::clone(store),
            rates: Rates::new(settings.bytes_per_second_per_address),
            settings: settings.clone(),
        };
        Ok((!sockets.is_empty()).then(|| Self {
            shared: Arc::new(shared),
            sockets,
        }))
    }

    /// The addresses that it is bound to, as in the settings, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.sockets.iter().map(Bound::name).collect()
    }

    /// Begins to take messages.
    pub(crate) fn start(self) -> Running {
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        for socket in self.sockets {
            let (shared, stopped) = (Arc::clone(&self.shared), stopped.clone());
            match socket {
                Bound::Udp(socket) => tasks.spawn(datagrams::take_udp(socket, shared, stopped)),
                Bound::Unix(socket) => tasks.spawn(datagrams::take_unix(socket, shared, stopped)),
                Bound::Tcp(listener) => tasks.spawn(streams::accept(listener, shared, stopped)),
            };
        }
        tasks.spawn(tell_drops(Arc::clone(&self.shared), stopped));

        Running {
            shared: self.shared,
            stop,
            tasks,
        }
    }
}

/// Listeners that take messages. They end with this.
pub(crate) struct Running {
    shared: Arc<Shared>,
    /// Dropped, it tells the tasks to end.
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Takes what has come, and no more.
    pub(crate) async fn stop(mut self) {
        drop(self.stop);
        while self.tasks.join_next().await.is_some() {}
        self.shared.tell_dropped();
    }
}

/// Waits until the listeners have to end.
async fn ended(stopped: &mut watch::Receiver<()>) {
    // Nothing is ever sent: the sender is dropped.
    while stopped.changed().await.is_ok() {}
}

/// Says in the log what was dropped for the rates, from time to time.
async fn tell_drops(shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    while tokio::time::timeout(TELL_AFTER, ended(&mut stopped))
        .await
        .is_err()
    {
        shared.tell_dropped();
    }
}

impl Shared {
    fn tell_dropped(&self) {
        let dropped = self.rates.take_dropped();
        if dropped > 0 {
            let emitter = self.store.emitter(None);
            // Without room it is dropped itself, and counted as such.
            let entry = dropped_entry(dropped);
            let _ = self.store.emit(&emitter, (&[entry]).into(), Overflow::Drop);
        }
    }
}

fn dropped_entry(dropped: u64) -> Append {
    let message = format!(
        "{dropped} messages of syslog were dropped: their senders are over `syslog.bytes_per_second_per_address`"
    );
    Append {
        fields: Fields::of(&json!({ "dropped": dropped })).ok(),
        ..Append::new(Level::Warn, "log", message)
    }
}
