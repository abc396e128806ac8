//! Peers that make the server hold something: lines, work, params, results, output.

use std::io;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Seen;
use super::waves::{self, Lines, PATIENCE, Peers, Replies, STAY, wave};
use crate::Outcome;

/// How long a call takes that lasts beyond its wave.
const CALL_MS: u32 = 8_000;

/// Nearly as long as a line may be.
pub(super) const LONG: usize = 1_000_000;

/// Begins the attack of this name, if it is one of these; its first wave has come then.
pub(super) async fn begin(name: &str, address: &Arc<str>, seen: &Arc<Seen>) -> Outcome<bool> {
    let (connections, lines, replies) = match name {
        "reads-cancelled" => (1, cancelled_reads(), Replies::Read),
        "results-unread-8" => return results_unread(address, seen, 8).await,
        "results-unread-100" => return results_unread(address, seen, 100).await,
        "filters-of-1-mb-1" => (1, filters(1_000, LONG), Replies::Unread),
        "filters-of-1-mb-10" => (10, filters(100, LONG), Replies::Unread),
        "filters-of-1-kb-8" => (8, filters(1_024, 1_000), Replies::Unread),
        "params-of-1-mb-1" => (1, params(1_000), Replies::Unread),
        "params-of-1-mb-10" => (10, params(100), Replies::Unread),
        "ordered-params-of-1-mb-10" => (10, ordered_params(100), Replies::Unread),
        "meta-of-1-mb-10" => (10, meta(100), Replies::Unread),
        "half-lines-of-1-mb-300" => (300, half_line(), Replies::Unread),
        "streams-unread-100" => (100, streams(), Replies::Unread),
        "all-that-one-can-hold" => (1, all_kinds(), Replies::Unread),
        "replies-of-4-mb-unread-50" => (50, large_replies(), Replies::Unread),
        _ => return Ok(false),
    };

    let peers = Peers::alike(connections, lines, replies);
    waves::begin(address, seen, peers).await;
    Ok(true)
}

/// Reads that look through the whole log, each with its cancel.
fn cancelled_reads() -> Lines {
    let head = |id: u64| {
        format!(
            "{{\"id\":{id},\"cmdid\":1002,\"params\":{{\"after\":0,\"contains\":\"zzz\"}}}}\n\
             {{\"cmdid\":4,\"oneway\":true,\"params\":{{\"id\":{id}}}}}"
        )
    };
    Lines::new(10_000, head, 0, "\n")
}

/// The beginning of a line, and no end.
fn half_line() -> Lines {
    let head = |_: u64| "{\"id\":1,\"cmdid\":0,\"params\":\"".into();
    Lines::new(1, head, LONG, "")
}

/// Streams without credit: each is sent as fast as it is read.
fn streams() -> Lines {
    let head = |id: u64| format!("{{\"id\":{id},\"cmdid\":10005,\"params\":{{\"n\":1000000}}}}");
    Lines::new(100, head, 0, "\n")
}

/// Calls whose replies are nearly as long as they may be.
pub(super) fn large_replies() -> Lines {
    let head =
        |id: u64| format!("{{\"id\":{id},\"cmdid\":10003,\"params\":{{\"bytes\":4000000}}}}");
    Lines::new(1_000, head, 0, "\n")
}

/// Reads that wait for entries with a text of `bytes` bytes.
fn filters(count: u64, bytes: usize) -> Lines {
    let head = |id: u64| {
        format!(
            "{{\"id\":{id},\"cmdid\":1002,\"params\":{{\"after\":0,\"wait_ms\":{CALL_MS},\"contains\":\""
        )
    };
    Lines::new(count, head, bytes, "\"}}\n")
}

/// Calls that take long, and keep their params of a megabyte.
fn params(count: u64) -> Lines {
    let head = |id: u64| {
        format!("{{\"id\":{id},\"cmdid\":10001,\"params\":{{\"ms\":{CALL_MS},\"keep\":\"")
    };
    Lines::new(count, head, LONG, "\"}}\n")
}

/// The same, in order: all but the first wait for their turn.
fn ordered_params(count: u64) -> Lines {
    let head = |_: u64| format!("{{\"cmdid\":10001,\"params\":{{\"ms\":{CALL_MS},\"keep\":\"");
    Lines::new(count, head, LONG, "\"}}\n")
}

/// Calls that take long, and keep a megabyte beside their params.
fn meta(count: u64) -> Lines {
    let head = |id: u64| {
        format!(
            "{{\"id\":{id},\"cmdid\":10001,\"params\":{{\"ms\":{CALL_MS}}},\"meta\":{{\"more\":\""
        )
    };
    Lines::new(count, head, LONG, "\"}}\n")
}

/// Calls that keep their params or metadata, replies nearly as long as they may be, streams, and calls in order, each
/// line a megabyte long: whatever one connection can have the server hold.
fn all_kinds() -> Lines {
    let head = |number: u64| {
        let call = |cmdid: u32, params: &str| {
            format!("{{\"id\":{number},\"cmdid\":{cmdid},\"params\":{{{params},\"keep\":\"")
        };
        match number % 4 {
            0 => format!("{{\"cmdid\":10001,\"params\":{{\"ms\":{CALL_MS},\"keep\":\""),
            1 => call(10_003, "\"bytes\":4000000"),
            2 => call(10_005, "\"n\":1000000"),
            _ => call(10_001, &format!("\"ms\":{CALL_MS}")),
        }
    };
    Lines::new(1_000, head, LONG, "\"}}\n")
}

/// Connections that each have as many reads wait as one may have, and take no reply; then an entry of a megabyte is
/// appended, which is a result for each of the reads.
async fn results_unread(address: &Arc<str>, seen: &Arc<Seen>, connections: usize) -> Outcome<bool> {
    let (address, seen) = (Arc::clone(address), Arc::clone(seen));
    let mut held = wave_of_reads(&address, &seen, connections).await?;

    tokio::spawn(async move {
        while !seen.is_over() {
            sleep(STAY).await;
            drop(held);
            held = wave_of_reads(&address, &seen, connections)
                .await
                .unwrap_or_default();
        }
    });

    Ok(true)
}

async fn wave_of_reads(
    address: &Arc<str>,
    seen: &Arc<Seen>,
    connections: usize,
) -> io::Result<JoinSet<()>> {
    // A read behind the last entry waits for the next one.
    let last = append(address, 1).await?;
    let head = move |id: u64| {
        format!(
            "{{\"id\":{id},\"cmdid\":1002,\"params\":{{\"after\":{last},\"wait_ms\":{CALL_MS}}}}}"
        )
    };
    let lines = Lines::new(1_024, head, 0, "\n");

    let peers = Peers::alike(connections, lines, Replies::Unread);
    let readers = wave(address, seen, &peers).await;
    append(address, LONG).await?;
    Ok(readers)
}

/// Appends an entry, as any client may, and returns its number; one that is refused is no fault, and has the number 0.
async fn append(address: &str, message_bytes: usize) -> io::Result<u64> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let message = "x".repeat(message_bytes);
    let line = format!(
        "{{\"id\":1,\"cmdid\":1001,\"params\":{{\"level\":\"info\",\"service\":\"chaos\",\"message\":\"{message}\"}}}}\n"
    );
    stream.write_all(line.as_bytes()).await?;

    let mut reply = String::new();
    drop(timeout(PATIENCE, stream.read_line(&mut reply)).await);
    let reply = serde_json::from_str::<Value>(&reply).unwrap_or_default();
    Ok(reply["data"]["seq"].as_u64().unwrap_or_default())
}
