//! Compares what peers have emitted with what the log has of it, while another service sends its own entries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rpc_client::Client;
use rpc_core::api::log::{EMIT, FLUSH, Flushed, LogStats, READ, STATS, ServiceStats};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Outcome;
use crate::attack::SERVICE_PREFIX;
use crate::daemon::Daemon;
use crate::report::Row;

/// The service whose entries all have to arrive.
const SERVICE: &str = "other";

/// Time between two of its entries of each kind.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the log may take to tell of drops that have ended: it looks once a second.
const NOTICE: Duration = Duration::from_secs(10);

/// A service beside the peers, which appends and emits until it is ended.
pub(crate) struct Witness {
    client: Client,
    is_over: Arc<AtomicBool>,
    sending: JoinHandle<Outcome<Sent>>,
}

/// Entries that the service has sent.
#[derive(Default)]
struct Sent {
    appended: u64,
    emitted: u64,
}

impl Witness {
    pub(crate) fn start(daemon: &Daemon) -> Self {
        let client = Client::new(&*daemon.process.address);
        let is_over = Arc::<AtomicBool>::default();
        let sending = tokio::spawn(send(client.clone(), Arc::clone(&is_over)));

        Self {
            client,
            is_over,
            sending,
        }
    }

    /// Ends the service, and compares the log with what was sent: `by_peers` is the number of their entries.
    pub(crate) async fn compare(
        self,
        row: &mut Row,
        daemon: &Daemon,
        by_peers: u64,
    ) -> Outcome<()> {
        // Relaxed: it orders nothing.
        self.is_over.store(true, Ordering::Relaxed);
        let sent = self.sending.await??;

        let flushed: Flushed = self.client.call(FLUSH, &json!({})).await?;
        row.bound(
            (flushed.emitted, flushed.dropped) == (sent.emitted, 0),
            || {
                format!(
                    "of {} entries that `{SERVICE}` has emitted {} are there and {} were dropped",
                    sent.emitted, flushed.emitted, flushed.dropped
                )
            },
        );

        let stats: LogStats = Client::new(&*daemon.process.address)
            .call(STATS, &json!({}))
            .await?;
        let other = stats.services.get(SERVICE).copied().unwrap_or_default();
        let all = sent.appended + sent.emitted;
        row.bound((other.entries, other.dropped) == (all, 0), || {
            format!("`stats` has {other:?} of `{SERVICE}`, which has sent {all} entries")
        });

        let peers = of_peers(&stats);
        row.bound(peers.entries + peers.dropped == by_peers, || {
            format!("`stats` has {peers:?} of the peers, which have sent {by_peers} entries")
        });
        row.bound(peers.dropped > 0, || "nothing was dropped".into());

        let notices = told(&self.client, peers.dropped).await?;
        let dropped = notices.dropped;
        row.bound(dropped == peers.dropped, || {
            format!(
                "the log tells of {dropped} drops, `stats` of {}",
                peers.dropped
            )
        });

        let (last, expected) = (notices.last, peers.entries + all + notices.count);
        row.bound(last == expected, || {
            format!("the last entry has the number {last}, and {expected} were taken")
        });

        row.notes = format!(
            "{}; {by_peers} entries emitted, {} of them dropped; {all} of another service, all there",
            row.notes, peers.dropped
        );
        Ok(())
    }
}

/// Appends and emits until it is over.
async fn send(client: Client, is_over: Arc<AtomicBool>) -> Outcome<Sent> {
    let entry = json!({ "level": "info", "service": SERVICE, "message": "it goes on" });
    let mut sent = Sent::default();
    while !is_over.load(Ordering::Relaxed) {
        client.call::<_, Value>(1_001, &entry).await?;
        sent.appended += 1;
        client.notify(EMIT, &entry).await?;
        sent.emitted += 1;
        sleep(PAUSE).await;
    }

    Ok(sent)
}

/// What the log has counted of all peers together.
fn of_peers(stats: &LogStats) -> ServiceStats {
    let peers = stats
        .services
        .iter()
        .filter(|(name, _)| name.starts_with(SERVICE_PREFIX));

    peers.fold(ServiceStats::default(), |all, (_, one)| ServiceStats {
        entries: all.entries + one.entries,
        bytes: all.bytes + one.bytes,
        dropped: all.dropped + one.dropped,
    })
}

/// Entries of the log itself.
#[derive(Default)]
struct Notices {
    count: u64,
    /// The drops of peers that they tell of.
    dropped: u64,
    /// The last number of the log.
    last: u64,
}

/// Reads what the log tells of drops, until that is all of them, or it has had its time.
async fn told(client: &Client, dropped: u64) -> Outcome<Notices> {
    let (began, mut after, mut notices) = (Instant::now(), 0, Notices::default());
    while began.elapsed() < NOTICE {
        let page = json!({ "after": after, "service": "log", "limit": 1_000 });
        let page: Value = client.call(READ, &page).await?;
        let entries = page["entries"].as_array().ok_or("a page without entries")?;

        for entry in entries {
            notices.count += 1;
            let fields: BTreeMap<String, Value> =
                serde_json::from_value(entry["fields"].clone()).unwrap_or_default();
            let service = fields.get("service").and_then(Value::as_str);
            if service.is_some_and(|service| service.starts_with(SERVICE_PREFIX)) {
                let count = fields.get("dropped").and_then(Value::as_u64);
                notices.dropped += count.unwrap_or_default();
            }
        }

        (after, notices.last) = (
            page["next"].as_u64().ok_or("a page without `next`")?,
            page["last"].as_u64().ok_or("a page without `last`")?,
        );
        let is_read = page["more"] != true;
        if is_read && notices.dropped >= dropped {
            break;
        }
        if is_read {
            sleep(PAUSE).await;
        }
    }

    Ok(notices)
}
