//! The last connections of an endpoint and how they have fared, which says how soon the next one is opened.
//!
//! Two kinds of servers end connections as fast as they are opened. One serves nothing: it is full, it is a proxy
//! without a server behind it, or it says goaway to everybody. That is no success of connecting, so it is tried again
//! with the back-off of failures. The other one serves a call and ends the connection; its client opens one after
//! another, but not more than the calls of a moment need.

use std::time::Duration;

use rpc_core::backoff::half_jitter;
use tokio::time::Instant;

use super::dialing::Outage;
use crate::config::Config;
use crate::connection::{Connection, Loss};
use crate::error::Cause;

#[derive(Default)]
pub(super) struct History {
    turned_away: Option<TurnedAway>,
    /// When the last connection was opened.
    opened: Option<Instant>,
    /// Connections in a row that were replaced within `reconnect.base_ms`.
    short_lived: u32,
}

/// Connections in a row that served no call.
#[derive(Clone)]
pub(super) struct TurnedAway {
    pub(super) times: u32,
    pub(super) outage: Outage,
    last: Instant,
    /// The number of the last one.
    connection: u64,
}

impl TurnedAway {
    /// What was long ago says nothing of now.
    fn says_something_at(&self, now: Instant, config: &Config) -> bool {
        now - self.last <= Duration::from_millis(config.reconnect.cap_ms) * 2
    }
}

impl History {
    /// A connection was opened. Returns whether it is not the first one.
    pub(super) fn has_opened(&mut self, now: Instant) -> bool {
        self.opened.replace(now).is_some()
    }

    /// A connection has ended.
    pub(super) fn note_end(&mut self, loss: &Loss, config: &Config, now: Instant) {
        if let Some(known) = &mut self.turned_away
            && known.connection == loss.connection
        {
            // Known since its goaway; perhaps it has said more since.
            let known = &mut known.outage.retry_after;
            *known = loss.retry_after.or(*known);
            return;
        }

        if loss.has_served || loss.is_wanted {
            self.turned_away = None;
        } else {
            self.note_turned_away(loss.connection, loss.cause.clone(), config, now);
            if let Some(turned_away) = &mut self.turned_away {
                turned_away.outage.retry_after = loss.retry_after;
            }
        }
    }

    /// A connection takes no more calls, and is replaced. Returns when the next one may be opened, where that is not
    /// at once.
    pub(super) fn replace(
        &mut self,
        old: &Connection,
        config: &Config,
        now: Instant,
    ) -> Option<Instant> {
        if let Some(cause) = old.sent_away_unserved() {
            self.note_turned_away(old.number(), cause, config, now);
        }

        let base = Duration::from_millis(config.reconnect.base_ms);
        let opened = self.opened.filter(|opened| now - *opened < base);
        let Some(opened) = opened.filter(|_| !old.was_idle()) else {
            self.short_lived = 0;
            return None;
        };

        self.short_lived = self.short_lived.saturating_add(1);
        // The first one may be a coincidence, and its calls need not wait.
        (self.short_lived > 1).then(|| opened + half_jitter(base))
    }

    /// What the last connections say of the next one.
    pub(super) fn turned_away(&self, config: &Config, now: Instant) -> Option<TurnedAway> {
        let turned_away = self.turned_away.clone()?;
        turned_away
            .says_something_at(now, config)
            .then_some(turned_away)
    }

    fn note_turned_away(&mut self, connection: u64, last: Cause, config: &Config, now: Instant) {
        let before = self
            .turned_away
            .take()
            .filter(|before| before.says_something_at(now, config));
        let (times, since) = before.map_or((0, now), |before| (before.times, before.outage.since));

        self.turned_away = Some(TurnedAway {
            times: times.saturating_add(1),
            outage: Outage {
                since,
                last,
                is_final: false,
                retry_after: None,
            },
            last: now,
            connection,
        });
    }
}
