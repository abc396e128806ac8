//! Events of a client's connections, for programs that want to know.

use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use tokio::sync::broadcast::{self, error::RecvError};

/// A change of one of a client's connections; see [`Client::events`](crate::Client::events).
///
/// The same changes are log events of `tracing` at level debug (goaway: info), with the fields
/// `address`, `connection` and `reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A connection was opened.
    Connected {
        /// The address that it was opened to.
        address: Arc<str>,
        /// Its number within this process, as in [`Error::connection`](crate::Error::connection).
        connection: u64,
    },
    /// A connection is over, whichever side ended it.
    Disconnected {
        /// The address that it was opened to.
        address: Arc<str>,
        /// Its number within this process.
        connection: u64,
        /// Why, in words.
        reason: Arc<str>,
    },
    /// The server takes no new calls on this connection; those in flight go on.
    Goaway {
        /// The address that it was opened to.
        address: Arc<str>,
        /// Its number within this process.
        connection: u64,
        /// What the server says about it.
        message: Arc<str>,
    },
    /// The reader was slower than the events: the oldest ones are lost.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Where the connections of a client send their events. The channel is made by the first listener: a client without
/// listeners keeps nothing for them.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<OnceLock<broadcast::Sender<ConnectionEvent>>>);

impl Events {
    /// Sends an event to the listeners. It is made only if there are any.
    pub(crate) fn send(&self, event: impl FnOnce() -> ConnectionEvent) {
        if let Some(sender) = self.0.get() {
            // An error means that there are no listeners any more.
            let _ = sender.send(event());
        }
    }

    /// The events from now on, at most `limits.events_max` of them ahead of the reader.
    pub(crate) fn listen(&self, events_max: usize) -> BoxStream<'static, ConnectionEvent> {
        // A channel for none cannot be made, and one takes its memory when it is made.
        let events_max = events_max.clamp(1, 1 << 16);
        let receiver = self
            .0
            .get_or_init(|| broadcast::channel(events_max).0)
            .subscribe();

        let next = |mut receiver: broadcast::Receiver<ConnectionEvent>| async move {
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(events)) => ConnectionEvent::Missed { events },
                Err(RecvError::Closed) => return None,
            };
            Some((event, receiver))
        };

        unfold(receiver, next).boxed()
    }
}
