//! Peers that are slow: to send, or to read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Seen, connect_with_small_buffer, lines_in};
use crate::Outcome;

/// Connections that send a frame a byte a second, and begin again when they are closed.
pub(super) async fn drip(address: &Arc<str>, seen: &Arc<Seen>, count: usize) -> Outcome<()> {
    for number in 0..count {
        // One after another: that many at once is another row.
        let first = TcpStream::connect(&**address).await?;

        // Each has its own time: they do not know of each other.
        let phase = Duration::from_secs(1) * u32::try_from(number)? / u32::try_from(count)?;

        let (address, seen) = (Arc::clone(address), Arc::clone(seen));
        tokio::spawn(async move {
            sleep(phase).await;
            let mut stream = Some(first);
            while let Ok(mut stream) = match stream.take() {
                Some(stream) => Ok(stream),
                None => TcpStream::connect(&*address).await,
            } {
                Seen::one(&seen.done);
                for byte in b"{\"cmdid\":0,\"params\":\"a line that takes its time\""
                    .chunks(1)
                    .cycle()
                {
                    let mut reply = [0; 256];
                    if stream.write_all(byte).await.is_err()
                        || matches!(stream.try_read(&mut reply), Ok(0))
                    {
                        break;
                    }

                    sleep(Duration::from_secs(1)).await;
                }

                Seen::one(&seen.ended);
            }
        });
    }

    Ok(())
}

/// Connections that ask for a lot and read nothing.
pub(super) async fn never_read(address: &Arc<str>, seen: &Arc<Seen>, count: usize) -> Outcome<()> {
    for _ in 0..count {
        let mut stream = connect_with_small_buffer(address).await?;
        let (address, seen) = (Arc::clone(address), Arc::clone(seen));
        tokio::spawn(async move {
            // Many at a time: what fills the buffers between here and there shall not take this machine's time.
            let requests =
                b"{\"id\":1,\"cmdid\":10003,\"params\":{\"bytes\":65536}}\n".repeat(1_000);

            loop {
                Seen::one(&seen.done);

                // Ids that are free again are used again: the call is over before it could be told.
                while stream.write_all(&requests).await.is_ok() {}
                Seen::one(&seen.ended);
                sleep(Duration::from_millis(200)).await;

                match connect_with_small_buffer(&address).await {
                    Ok(next) => stream = next,
                    Err(_) => return,
                }
            }
        });
    }

    Ok(())
}

/// Peers that first write a megabyte, and then read the replies to it: a server that stops reading
/// because its replies are not read waits for ever, and so does the peer.
pub(super) fn write_then_read(address: &Arc<str>, seen: &Arc<Seen>, count: usize) {
    let line = format!("{{\"cmdid\":0,\"params\":\"{}\"}}\n", "x".repeat(1_000));
    let (frames, batch) = (1_000, Arc::<str>::from(line.repeat(1_000)));

    for _ in 0..count {
        let (address, seen, batch) = (Arc::clone(address), Arc::clone(seen), Arc::clone(&batch));
        // Also a peer that has just begun when the attack is over gets its time.
        let mut working = seen.working();
        tokio::spawn(async move {
            while let Ok(mut stream) = TcpStream::connect(&*address).await {
                let began = Instant::now();
                let exchange = async {
                    stream.write_all(batch.as_bytes()).await?;
                    let (mut lines, mut buffer) = (0, vec![0; 64 * 1024]);
                    while lines < frames {
                        match stream.read(&mut buffer).await? {
                            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                            n => lines += lines_in(&buffer[..n]),
                        }
                    }

                    Ok::<_, std::io::Error>(())
                };

                match timeout(Duration::from_secs(10), exchange).await {
                    Ok(Ok(())) => Seen::one(&seen.done),
                    _ => Seen::one(&seen.faults),
                }
                seen.took(began);
                drop(working);
                sleep(Duration::from_millis(100)).await;
                if seen.is_over() {
                    return;
                }
                working = seen.working();
            }
        });
    }
}
