//! Between clients and server: cuts connections, ends one of their sides, delays what passes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::Outcome;

/// How many connections met with which fault.
#[derive(Default)]
pub(crate) struct Cuts {
    cut: AtomicU64,
    ended: AtomicU64,
    delayed: AtomicU64,
}

impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{}, {}, {}",
            get(&self.cut),
            get(&self.ended),
            get(&self.delayed)
        )
    }
}

pub(crate) async fn start(server: Arc<str>) -> Outcome<(String, Arc<Cuts>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, cuts) = (
        listener.local_addr()?.to_string(),
        Arc::new(Cuts::default()),
    );

    let counted = Arc::clone(&cuts);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, cuts) = (Arc::clone(&server), Arc::clone(&counted));
            tokio::spawn(async move {
                if let Ok(server) = TcpStream::connect(&*server).await {
                    drop(
                        client
                            .set_nodelay(true)
                            .and_then(|()| server.set_nodelay(true)),
                    );
                    pass(client, server, &cuts).await;
                }
            });
        }
    });

    Ok((address, cuts))
}

/// Passes bytes on, for as long as this connection has.
async fn pass(client: TcpStream, server: TcpStream, cuts: &Cuts) {
    // Relaxed throughout: counts order nothing.
    let life = Duration::from_millis(fastrand::u64(200..8_000));
    let delay = match fastrand::u8(0..4) {
        0 => Duration::from_millis(fastrand::u64(1..20)),
        _ => Duration::ZERO,
    };
    if !delay.is_zero() {
        cuts.delayed.fetch_add(1, Ordering::Relaxed);
    }

    let breaks_off = fastrand::bool();
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();

    let both = async {
        if breaks_off {
            tokio::join!(
                copy(client_reads, server_writes, delay),
                copy(server_reads, client_writes, delay)
            );
        } else {
            // After its life, the client's side ends here, and what the server still says is passed on.
            let forth = async {
                drop(tokio::time::timeout(life, copy(client_reads, server_writes, delay)).await);
            };
            tokio::join!(forth, copy(server_reads, client_writes, delay));
        }
    };

    if breaks_off {
        // Dropped wherever it is, in the middle of a frame perhaps.
        drop(tokio::time::timeout(life, both).await);
        cuts.cut.fetch_add(1, Ordering::Relaxed);
    } else {
        both.await;
        cuts.ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }

        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }

    drop(to.shutdown().await);
}
