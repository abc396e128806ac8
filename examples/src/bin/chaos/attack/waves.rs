//! Waves of peers: each opens its connections, sends for as long as the server takes it, and stays until the next one
//! comes in its place.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Seen, connect_with_small_buffer};

/// How long a connection tries to send; a server that holds as much as it may does not read on.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a wave stays before the next one comes in its place.
pub(super) const STAY: Duration = Duration::from_secs(2);

/// After this time a server has let go of a connection whose peer is gone.
const GONE: Duration = Duration::from_millis(1_500);

/// Lines are written this many bytes at a time, or one line where that is longer.
const CHUNK_BYTES: usize = 64 * 1024;

/// What one connection sends: lines that differ in their number alone.
#[derive(Clone)]
pub(super) struct Lines {
    count: u64,
    /// The beginning of the line with this number.
    head: Arc<dyn Fn(u64) -> String + Send + Sync>,
    /// Bytes between beginning and end.
    filler_bytes: usize,
    /// The end, with its line break.
    tail: &'static str,
}

/// What a connection does with replies.
#[derive(Clone, Copy)]
pub(super) enum Replies {
    Unread,
    Read,
}

impl Lines {
    pub(super) fn new(
        count: u64,
        head: impl Fn(u64) -> String + Send + Sync + 'static,
        filler_bytes: usize,
        tail: &'static str,
    ) -> Self {
        Self {
            count,
            head: Arc::new(head),
            filler_bytes,
            tail,
        }
    }

    /// Writes them all, for as long as the peer takes them.
    pub(super) async fn send<IO: AsyncWriteExt + Unpin>(&self, to: &mut IO) -> io::Result<()> {
        let filler = "x".repeat(self.filler_bytes);
        let mut chunk = String::new();
        for number in 1..=self.count {
            chunk += &(self.head)(number);
            chunk += &filler;
            chunk += self.tail;
            if chunk.len() >= CHUNK_BYTES || number == self.count {
                to.write_all(chunk.as_bytes()).await?;
                chunk.clear();
            }
        }

        to.flush().await
    }
}

/// The peers of each wave.
#[derive(Clone)]
pub(super) struct Peers {
    connections: usize,
    /// What the connection with this number sends.
    lines: Arc<dyn Fn(usize) -> Lines + Send + Sync>,
    replies: Replies,
}

impl Peers {
    /// Peers that all send the same.
    pub(super) fn alike(connections: usize, lines: Lines, replies: Replies) -> Self {
        Self::each(connections, replies, move |_| lines.clone())
    }

    /// Peers that each send lines of their own.
    pub(super) fn each(
        connections: usize,
        replies: Replies,
        lines: impl Fn(usize) -> Lines + Send + Sync + 'static,
    ) -> Self {
        Self {
            connections,
            lines: Arc::new(lines),
            replies,
        }
    }
}

/// Has one wave after another come; the first one is there when it returns.
pub(super) async fn begin(address: &Arc<str>, seen: &Arc<Seen>, peers: Peers) {
    let (address, seen) = (Arc::clone(address), Arc::clone(seen));
    let mut held = wave(&address, &seen, &peers).await;
    tokio::spawn(async move {
        while !seen.is_over() {
            sleep(STAY).await;
            drop(held);
            if peers.connections == 1 {
                // What is said of one connection does not hold for two.
                sleep(GONE).await;
            }
            held = wave(&address, &seen, &peers).await;
        }
    });
}

/// Opens the connections of a wave, and sends on each; they live as long as what is returned.
pub(super) async fn wave(address: &Arc<str>, seen: &Arc<Seen>, peers: &Peers) -> JoinSet<()> {
    let (mut held, mut sent) = (JoinSet::new(), Vec::new());
    for number in 0..peers.connections {
        let (address, seen) = (Arc::clone(address), Arc::clone(seen));
        let (lines, replies) = ((peers.lines)(number), peers.replies);
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        sent.push(told);

        held.spawn(async move {
            let Ok(stream) = connect_with_small_buffer(&address).await else {
                return;
            };

            let (mut reader, mut writer) = stream.into_split();
            let sending = async {
                // What the server does not take in time, or at all, is no fault of either.
                drop(timeout(PATIENCE, lines.send(&mut writer)).await);
                Seen::one(&seen.done);
                drop(tell);
                std::future::pending::<()>().await;
            };

            match replies {
                Replies::Unread => sending.await,
                Replies::Read => {
                    let reading = async {
                        let mut buffer = vec![0; CHUNK_BYTES];
                        while let Ok(1..) = reader.read(&mut buffer).await {}
                        Seen::one(&seen.ended);
                    };
                    tokio::join!(sending, reading);
                }
            }
        });
    }

    // Each ends when its connection has sent, or could not be opened.
    for told in sent {
        drop(told.await);
    }
    held
}
