//! Entries of the log itself, which tell of entries that were dropped.

use rpc_core::api::log::{Append, Fields, Level};
use serde_json::json;
use tokio::time::Instant;

use super::super::entry::{Origin, encode};
use super::super::queue::Queue;
use super::services::{Dropped, Services};

/// Which drops the log tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Due {
    /// Those that have ended, and those that have lasted for long.
    Ended,
    /// All, since the log is closed.
    All,
}

/// Writes an entry for each service whose drops are due, with this time in milliseconds since 1970.
pub(in crate::store) fn send_notices(services: &Services, queue: &Queue, due: Due, now_ms: u64) {
    for dropped in services.drops_to_tell(due, Instant::now()) {
        // A queue that is full or closed keeps nothing for later: the figures of `stats` tell of them as well.
        let line = encode(&notice(&dropped), Origin::Plain, now_ms);
        drop(queue.push_untold(&line));
    }
}

fn notice(dropped: &Dropped) -> Append {
    let Dropped { service, entries } = dropped;
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
