//! Peers that make the log service hold something, or work: streams that they do not read, batches, filters.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rpc_client::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Seen;
use super::holds::LONG;
use super::waves::{self, Lines, Peers, Replies};
use crate::daemon::filled_entry;

/// As many calls as a connection may have in flight.
const IN_FLIGHT_MAX: u64 = 1_024;

/// The most entries that a batch may have.
const BATCH_ENTRIES: usize = 10_000;

/// The most bytes that the filter `fields` may have.
const FIELDS_BYTES: usize = 1_024;

/// Time between two entries that come in while streams are open.
const ENTRIES_PAUSE: Duration = Duration::from_millis(10);

/// Begins the attack of this name, if it is one of these; its first wave has come then.
pub(super) async fn begin(name: &str, address: &Arc<str>, seen: &Arc<Seen>) -> bool {
    let peers = match name {
        "tails-unread-100" => Peers::alike(100, tails(100), Replies::Unread),
        "tails-without-credit-8" => {
            Peers::alike(8, tails_without_credit(IN_FLIGHT_MAX), Replies::Unread)
        }
        "tails-by-fields-1" => tails_by_fields(1),
        "tails-by-fields-8" => tails_by_fields(8),
        "batches-50" => batches(50),
        "batches-of-mistakes-1" => Peers::alike(1, mistaken_batches(), Replies::Read),
        "filters-of-many-fields-1" => Peers::alike(1, filters_of_fields(), Replies::Read),
        "filters-cancelled-8" => Peers::alike(8, cancelled_filters(), Replies::Read),
        _ => return false,
    };

    if name.starts_with("tails-") {
        tokio::spawn(entries_come_in(Arc::clone(address), Arc::clone(seen)));
    }
    waves::begin(address, seen, peers).await;
    true
}

/// Appends entries for as long as the attack lasts. One that is refused is no fault.
async fn entries_come_in(address: Arc<str>, seen: Arc<Seen>) {
    let client = Client::new(&*address);
    for number in 0.. {
        if seen.is_over() {
            return;
        }

        drop(client.call::<_, Value>(1_001, &filled_entry(number)).await);
        sleep(ENTRIES_PAUSE).await;
    }
}

/// Streams of all entries, from the first one on.
fn tails(count: u64) -> Lines {
    let head = |id: u64| format!("{{\"id\":{id},\"cmdid\":1006,\"params\":{{\"after\":0}}}}");
    Lines::new(count, head, 0, "\n")
}

/// The same streams, none of which may send an item: each has its first one ready.
fn tails_without_credit(count: u64) -> Lines {
    let head =
        |id: u64| format!("{{\"id\":{id},\"cmdid\":1006,\"credit\":0,\"params\":{{\"after\":0}}}}");
    Lines::new(count, head, 0, "\n")
}

/// Streams that wait for entries with certain fields, no two of them for the same.
fn tails_by_fields(connections: usize) -> Peers {
    let same: Arc<str> = short_fields().into();
    Peers::each(connections, Replies::Unread, move |connection| {
        let same = Arc::clone(&same);
        let head = move |id: u64| {
            format!(
                "{{\"id\":{id},\"cmdid\":1006,\"params\":{{\"fields\":{{{same}\"of\":\"{connection}/{id}\"}}}}}}"
            )
        };
        Lines::new(IN_FLIGHT_MAX, head, 0, "\n")
    })
}

/// As many fields as a filter has room for beside one of its own: each name is a single character.
fn short_fields() -> String {
    let names = (' '..='~')
        .chain('¡'..='ÿ')
        .filter(|name| !['"', '\\'].contains(name));

    let mut text = String::new();
    for name in names {
        if text.len() + 32 > FIELDS_BYTES {
            break;
        }
        let _ = write!(text, "\"{name}\":1,");
    }
    text
}

/// Batches that are nearly as long as a line may be: of a single entry, and of as many as there may be. Half of the
/// connections do not end the first line that they begin.
fn batches(connections: usize) -> Peers {
    let entry = json!({ "level": "info", "service": "chaos", "message": "x".repeat(50) });
    let many: Arc<str> = vec![entry.to_string(); BATCH_ENTRIES].join(",").into();
    let producers = Arc::new(AtomicU64::new(0));

    Peers::each(connections, Replies::Read, move |connection| {
        // A batch that was there before would not be written. Relaxed: the number orders nothing.
        let number = producers.fetch_add(1, Ordering::Relaxed);
        let producer = format!("{}-{number}", std::process::id());
        let begin = move |batch: u64| {
            format!(
                "{{\"id\":{batch},\"cmdid\":1003,\"params\":{{\"producer\":\"{producer}\",\"batch\":{batch},\"entries\":["
            )
        };

        let many = Arc::clone(&many);
        let of_one = "{\"level\":\"info\",\"service\":\"chaos\",\"message\":\"";
        match connection % 4 {
            0 => Lines::new(16, move |batch| begin(batch) + of_one, LONG, "\"}]}}\n"),
            1 => Lines::new(16, move |batch| begin(batch) + &many, 0, "]}}\n"),
            2 => Lines::new(1, move |batch| begin(batch) + of_one, LONG, ""),
            _ => Lines::new(1, move |batch| begin(batch) + &many, 0, ""),
        }
    })
}

/// Batches whose entries are not entries, as many as a line has room for.
fn mistaken_batches() -> Lines {
    let mistakes = vec!["0"; LONG / 2].join(",");
    let head = move |id: u64| {
        format!(
            "{{\"id\":{id},\"cmdid\":1003,\"params\":{{\"producer\":\"p\",\"batch\":1,\"entries\":[{mistakes}]}}}}"
        )
    };
    Lines::new(100, head, 0, "\n")
}

/// Reads that look into all fields of all entries, in vain.
fn filters_of_fields() -> Lines {
    let head = |id: u64| {
        let filter = match id % 2 {
            0 => "\"text\":\"zzz\"",
            _ => "\"fields\":{\"zzz\":1}",
        };
        format!("{{\"id\":{id},\"cmdid\":1002,\"params\":{{\"after\":0,{filter}}}}}")
    };
    Lines::new(IN_FLIGHT_MAX, head, 0, "\n")
}

/// Reads and streams that look through the whole log for what is not in it, in all ways, most of them with their cancel.
fn cancelled_filters() -> Lines {
    let head = |id: u64| {
        let (cmdid, filter) = match id % 5 {
            0 => (1_002, "\"after\":0,\"contains\":\"zzz\""),
            1 => (1_002, "\"after\":0,\"text\":\"zzz\""),
            2 => (1_002, "\"after\":0,\"fields\":{\"user\":-1}"),
            3 => (1_002, "\"order\":\"desc\",\"text\":\"zzz\""),
            _ => (1_006, "\"after\":0,\"fields\":{\"user\":-1}"),
        };
        let mut line = format!("{{\"id\":{id},\"cmdid\":{cmdid},\"params\":{{{filter}}}}}");
        if !id.is_multiple_of(16) {
            let _ = write!(
                line,
                "\n{{\"cmdid\":4,\"oneway\":true,\"params\":{{\"id\":{id}}}}}"
            );
        }
        line
    };
    Lines::new(10_000, head, 0, "\n")
}
