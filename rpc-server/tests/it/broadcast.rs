//! Broadcasts over connections: 1,000 subscribers, of which 10 read nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use rpc_server::broadcast::{Broadcast, BroadcastConfig, BroadcastStats, SlowSubscriber};
use rpc_server::{Config, Reply, Router, State};
use serde::Serialize;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{Client, PATIENCE, TestServer, call, settle};

const FOLLOW: u32 = 100;
const FAST: u64 = 990;
const DEAF: u64 = 10;
const ITEMS: u64 = 160;
const BURST: u64 = 16;
const TEXT: &str = "as much as a line of a log has, or a word less";

const WAITING: BroadcastConfig = BroadcastConfig {
    items_max: 32,
    bytes_max: 2_400,
    slow: SlowSubscriber::DropOldest,
};
const MEMORY_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum News {
    Item { n: u64, text: &'static str },
    Missed { missed: u64 },
}

async fn follow(State(news): State<Broadcast<News>>) -> Reply {
    Reply::stream(news.subscribe().items(|missed| Ok(News::Missed { missed })))
}

/// A broadcast with 990 subscribers that read each item as it comes, and 10 that read nothing.
struct Rig {
    server: TestServer,
    news: Broadcast<News>,
    fast: Vec<JoinHandle<()>>,
    deaf: Vec<Client<DuplexStream>>,
    read: Arc<AtomicU64>,
}

impl Rig {
    async fn start(slow: SlowSubscriber) -> Self {
        let news = Broadcast::new(BroadcastConfig { slow, ..WAITING }).unwrap();
        let router = Router::with_state(news.clone())
            .route(FOLLOW, follow)
            .unwrap();
        let config = Config::default().with(|config| {
            config.limits.frame_bytes_max = 64 * 1024;
            // Less waits for those who do not read before the broadcast sees that they are slow.
            config.limits.output_bytes_soft_max = 8 * 1024;
            config.limits.connection_bytes_max = 128 * 1024;
            config.limits.memory_bytes_max = MEMORY_BYTES_MAX;
        });
        let server = TestServer::with(config, router).await;

        let read = Arc::<AtomicU64>::default();
        let connect = || server.connect_through(1_024);
        let fast: Vec<_> = (0..FAST).map(|_| connect()).collect();
        let mut deaf: Vec<_> = (0..DEAF).map(|_| connect()).collect();
        let fast = fast
            .into_iter()
            .map(|client| tokio::spawn(read_all(client, Arc::clone(&read))))
            .collect();
        join_all(
            deaf.iter_mut()
                .map(|client| client.send(call(1, FOLLOW, ""))),
        )
        .await;
        settle().await;
        assert_eq!(news.stats().subscribers as u64, FAST + DEAF);

        Self {
            server,
            news,
            fast,
            deaf,
            read,
        }
    }

    /// Publishes all items, a burst at a time: the next one when those who read have read it.
    async fn publish(&self) {
        for burst in 0..ITEMS / BURST {
            for n in burst * BURST..(burst + 1) * BURST {
                let item = News::Item { n, text: TEXT };
                self.news.publish(item).await.unwrap();
                let BroadcastStats { items, bytes, .. } = self.news.stats();
                assert!(items <= WAITING.items_max && bytes <= WAITING.bytes_max);
            }

            let all = FAST * (burst + 1) * BURST;
            let reading = async {
                while self.read.load(Ordering::Relaxed) < all {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, reading).await.unwrap();
        }
    }

    /// Ends the broadcast: those who read have read all of it, in time and within the limits.
    async fn finish(&mut self) -> BroadcastStats {
        let stats = self.news.stats();
        self.news.close();
        try_join_all(self.fast.drain(..)).await.unwrap();
        assert_eq!(self.read.load(Ordering::Relaxed), FAST * ITEMS);

        let limits = self.server.stats().limits;
        assert!(
            limits.memory_bytes_peak < MEMORY_BYTES_MAX as u64,
            "{limits:?}"
        );
        assert_eq!((limits.memory_sheds, limits.output_cuts), (0, 0));
        assert_eq!(stats.published, ITEMS);
        stats
    }
}

/// Reads each item once, in its order, and then the end.
async fn read_all(mut client: Client<DuplexStream>, read: Arc<AtomicU64>) {
    client.send(call(1, FOLLOW, "")).await;
    for n in 0..ITEMS {
        let item = format!("{{\"n\":{n},\"text\":\"{TEXT}\"}}");
        client
            .expect(&format!(
                "{{\"id\":1,\"code\":0,\"more\":true,\"data\":{item}}}"
            ))
            .await;
        read.fetch_add(1, Ordering::Relaxed);
    }
    client.expect("{\"id\":1,\"code\":0}").await;
}

/// What one that begins to read late has got.
struct Late {
    items: u64,
    missed: u64,
    end: Value,
}

/// Reads to the end: all items are there, or among those that it was told it has missed.
async fn read_late(mut client: Client<DuplexStream>) -> Late {
    let (mut items, mut missed) = (0, 0);
    loop {
        let reply = client.reply().await;
        if reply["more"].is_null() {
            return Late {
                items,
                missed,
                end: reply,
            };
        }

        if let Some(dropped) = reply["data"]["missed"].as_u64() {
            missed += dropped;
        } else {
            assert_eq!(reply["data"]["n"], items + missed, "the next one");
            items += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_nothing_misses_the_oldest_items_and_is_told_how_many() {
    let mut rig = Rig::start(SlowSubscriber::DropOldest).await;
    rig.publish().await;
    let stats = rig.finish().await;
    assert_eq!((stats.ended, stats.subscribers as u64), (0, FAST + DEAF));

    let late = join_all(rig.deaf.into_iter().map(read_late)).await;
    assert!(late.iter().all(|late| late.missed > 0));
    assert!(late.iter().all(|late| late.items + late.missed == ITEMS));
    assert!(late.iter().all(|late| late.end["code"] == 0));
    let missed: u64 = late.iter().map(|late| late.missed).sum();
    assert_eq!(missed, stats.dropped);
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_nothing_is_ended_with_code_8_and_no_other_one_waits() {
    let mut rig = Rig::start(SlowSubscriber::End).await;
    let begun = Instant::now();
    rig.publish().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let stats = rig.finish().await;
    assert_ended(rig.deaf, stats).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_nothing_is_waited_for_and_then_ended() {
    let patience = Duration::from_secs(3);
    let mut rig = Rig::start(SlowSubscriber::Wait(patience)).await;
    let begun = Instant::now();
    rig.publish().await;
    assert_eq!(begun.elapsed().as_secs(), 3, "once for all of them");
    let stats = rig.finish().await;
    assert_ended(rig.deaf, stats).await;
}

/// Those who read nothing have got the first items, and then code 8 with the number of those that waited for them.
async fn assert_ended(deaf: Vec<Client<DuplexStream>>, stats: BroadcastStats) {
    assert_eq!((stats.ended, stats.subscribers as u64), (DEAF, FAST));
    let mut dropped = 0;
    for late in join_all(deaf.into_iter().map(read_late)).await {
        assert_eq!((&late.end["code"], late.missed), (&8.into(), 0));
        let said = late.end["message"].as_str().unwrap();
        let said = said.strip_prefix("the caller is too slow for this stream: ");
        let (waited, _) = said.unwrap().split_once(" waiting items").unwrap();
        let waited: u64 = waited.parse().unwrap();
        assert!(waited > 0 && late.items + waited < ITEMS);
        dropped += waited;
    }
    assert_eq!(dropped, stats.dropped);
}
