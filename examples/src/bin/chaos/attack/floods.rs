//! Peers that send more than anybody needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Seen, lines_in};

/// One connection that sends a million calls without waiting, reads the replies, and begins again.
pub(super) fn pipeline(address: &Arc<str>, seen: &Arc<Seen>, frames: u64) {
    let (address, seen) = (Arc::clone(address), Arc::clone(seen));
    tokio::spawn(async move {
        while let Ok(stream) = TcpStream::connect(&*address).await {
            let began = Instant::now();
            let (mut reader, mut writer) = stream.into_split();
            let sending = tokio::spawn(async move {
                let mut chunk = Vec::new();
                for id in 0..frames {
                    chunk.extend_from_slice(
                        format!("{{\"id\":{id},\"cmdid\":10001,\"params\":{{\"ms\":1}}}}\n")
                            .as_bytes(),
                    );

                    if chunk.len() > 64 * 1024 {
                        if writer.write_all(&chunk).await.is_err() {
                            return;
                        }
                        chunk.clear();
                    }
                }

                drop(writer.write_all(&chunk).await);
            });

            let (mut replies, mut buffer) = (0, vec![0; 64 * 1024]);
            while let Ok(n @ 1..) = reader.read(&mut buffer).await {
                let lines = lines_in(&buffer[..n]) as u64;
                replies += lines;
                seen.done.fetch_add(lines, Ordering::Relaxed);
                if replies == frames {
                    break;
                }
            }

            sending.abort();
            if replies < frames && !seen.is_over() {
                Seen::one(&seen.ended);
            }

            seen.took(began);
            sleep(Duration::from_millis(100)).await;
        }
    });
}

/// Four connections that send the same cheap line as fast as it is taken, and read what comes.
pub(super) fn flood(address: &Arc<str>, seen: &Arc<Seen>, line: &'static [u8]) {
    for _ in 0..4 {
        let (address, seen) = (Arc::clone(address), Arc::clone(seen));
        tokio::spawn(async move {
            let lines = 16 * 1024 / line.len();
            let chunk = line.repeat(lines);

            while let Ok(stream) = TcpStream::connect(&*address).await {
                let (mut reader, mut writer) = stream.into_split();
                let reading = tokio::spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(1..) = reader.read(&mut buffer).await {}
                });

                while writer.write_all(&chunk).await.is_ok() {
                    seen.done.fetch_add(lines as u64, Ordering::Relaxed);
                }

                reading.abort();
                Seen::one(&seen.ended);
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
}
