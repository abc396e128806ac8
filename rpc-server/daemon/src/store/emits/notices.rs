//! Entries of the log itself, which tell of entries that were dropped.

use std::sync::Arc;

use rpc_core::api::log::{Append, Fields, Level};
use serde_json::json;
use tokio::time::Instant;

use super::super::new_entries::NewEntries;
use super::super::queue::{Outcome, Queue, Tell};
use super::services::{Dropped, Services};

/// Which drops the log tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Due {
    /// Those that have ended, and those that have lasted for long.
    Ended,
    /// All, since the log is closed.
    All,
}

/// An entry on its way to the disk which tells of drops.
pub(in crate::store) struct NoticeRun {
    services: Arc<Services>,
    dropped: Dropped,
}

impl NoticeRun {
    /// Has what could not be written told again.
    pub(in crate::store) fn finish(self, outcome: &Outcome) {
        if outcome.is_err() {
            self.services.note_untold(&self.dropped);
        }
    }
}

/// Writes an entry for each service whose drops are due, with this time in milliseconds since 1970. Those for which the
/// queue has no room are due again.
pub(in crate::store) fn send_notices(
    services: &Arc<Services>,
    queue: &Queue,
    due: Due,
    now_ms: u64,
) {
    for dropped in services.drops_to_tell(due, Instant::now()) {
        let entry = NewEntries::from(&notice(&dropped)).received_at(now_ms);
        let tell = || {
            Tell::Notice(NoticeRun {
                services: Arc::clone(services),
                dropped: dropped.clone(),
            })
        };
        if queue.push_for(&entry, tell).is_err() {
            services.note_untold(&dropped);
        }
    }
}

fn notice(dropped: &Dropped) -> Append {
    let Dropped {
        service, entries, ..
    } = dropped;
    let (noun, verb) = match entries {
        1 => ("entry", "was"),
        _ => ("entries", "were"),
    };
    let whose = match service {
        Some(service) => format!("`{service}`"),
        None => "other services".to_owned(),
    };

    let mut notice = Append::new(
        Level::Warn,
        "log",
        format!("{entries} {noun} of {whose} {verb} dropped"),
    );
    notice.fields = Fields::of(&json!({ "service": service, "dropped": entries })).ok();
    notice
}
