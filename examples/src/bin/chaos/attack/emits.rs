//! Peers that send entries to the log without an answer, as fast as they are taken, and know how many they have sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Seen;

/// As many as one call may have.
const FRAME_ENTRIES: usize = 10_000;

/// More than the budget of a service lets in at once.
const ENTRIES_MIN: u64 = 4 * FRAME_ENTRIES as u64;

/// How long a server may take to tell what has become of a connection's entries.
const PATIENCE: Duration = Duration::from_secs(5);

/// The prefix of the names of the services that they send for, each for its own.
pub(crate) const SERVICE_PREFIX: &str = "flood-";

/// Connections that send until the attack is over, and ask then what has become of their entries: of each, whether it
/// is on the disk or was dropped is known.
pub(super) fn flood_with_entries(address: &Arc<str>, seen: &Arc<Seen>, count: usize) {
    for number in 0..count {
        let (address, seen) = (Arc::clone(address), Arc::clone(seen));
        let working = seen.working();
        tokio::spawn(async move {
            if flood(&address, &seen, number).await.is_err() {
                Seen::one(&seen.faults);
            }
            drop(working);
        });
    }
}

async fn flood(address: &str, seen: &Seen, number: usize) -> io::Result<()> {
    let frame = frame_of(&format!("{SERVICE_PREFIX}{number}"));
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut sent = 0;
    while !seen.is_over() || sent < ENTRIES_MIN {
        stream.write_all(frame.as_bytes()).await?;
        sent += FRAME_ENTRIES as u64;
    }

    stream.write_all(b"{\"id\":1,\"cmdid\":1005}\n").await?;
    let mut reply = String::new();
    timeout(PATIENCE, stream.read_line(&mut reply)).await??;

    let reply: Value = serde_json::from_str(&reply)?;
    let of = |name: &str| reply["data"][name].as_u64().unwrap_or_default();
    let known = of("emitted") + of("dropped");
    if known != sent {
        return Err(io::Error::other(format!("{known} of {sent} are known")));
    }

    seen.done.fetch_add(sent, Ordering::Relaxed);
    Ok(())
}

/// A line that is nearly as long as it may be.
fn frame_of(service: &str) -> String {
    let entry = json!({ "level": "info", "service": service, "message": "x".repeat(45) });
    let entries = vec![entry.to_string(); FRAME_ENTRIES].join(",");
    format!("{{\"cmdid\":1004,\"oneway\":true,\"params\":{{\"entries\":[{entries}]}}}}\n")
}
