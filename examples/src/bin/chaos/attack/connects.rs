//! Peers whose connections are the trouble: too many, too short, broken off, or meant for another server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Seen;

/// Whatever takes longer is taken for something that never comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Breaks connections off in the middle of a frame, with a RST.
pub(super) fn reset(address: &Arc<str>, seen: &Arc<Seen>) {
    repeat(
        address,
        seen,
        8,
        Duration::from_millis(4),
        |mut stream| async move {
            stream
            .write_all(
                b"{\"id\":1,\"cmdid\":0}\n{\"id\":2,\"cmdid\":10001,\"params\":{\"ms\":50}}\n{\"id\":3,\"cm",
            )
            .await?;
            end_with_a_reset(&stream)
        },
    );
}

/// Connects and closes at once. With a RST: it leaves no port behind that has to wait.
pub(super) fn storm(address: &Arc<str>, seen: &Arc<Seen>) {
    repeat(
        address,
        seen,
        8,
        Duration::from_millis(1),
        |stream| async move { end_with_a_reset(&stream) },
    );
}

fn end_with_a_reset(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Ends its side after ten requests; every reply must come.
pub(super) fn half_close(address: &Arc<str>, seen: &Arc<Seen>) {
    repeat(
        address,
        seen,
        8,
        Duration::from_millis(5),
        |mut stream| async move {
            let requests: String = (0..10)
                .map(|id| format!("{{\"id\":{id},\"cmdid\":10001,\"params\":{{\"ms\":5}}}}\n"))
                .collect();
            stream.write_all(requests.as_bytes()).await?;
            stream.shutdown().await?;

            let mut replies = String::new();
            stream.read_to_string(&mut replies).await?;
            let good = replies
                .lines()
                .filter(|line| line.contains("\"code\":0"))
                .count();

            if good == 10 {
                Ok(())
            } else {
                Err(io::Error::other(format!("{good} replies of 10")))
            }
        },
    );
}

/// Browsers and TLS clients that have the wrong port: they are told something and closed.
pub(super) fn wrong_protocols(address: &Arc<str>, seen: &Arc<Seen>) {
    let said: [&[u8]; 3] = [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n{\"cmdid\":10000,\"params\":\"x\"}\n\n",
        b"PUT /v1 HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a hello of TLS, or the beginning of one",
    ];

    for text in said {
        repeat(
            address,
            seen,
            2,
            Duration::from_millis(10),
            move |mut stream| async move {
                stream.write_all(text).await?;
                let mut reply = Vec::new();
                stream.read_to_end(&mut reply).await?;

                let is_refused = reply.is_empty() || reply.starts_with(b"HTTP/1.1 4");
                if is_refused {
                    Ok(())
                } else {
                    Err(io::Error::other("a stranger was served"))
                }
            },
        );
    }
}

/// Tasks that connect, do something, and begin again after a pause.
fn repeat<Done>(
    address: &Arc<str>,
    seen: &Arc<Seen>,
    tasks: usize,
    pause: Duration,
    one: impl Fn(TcpStream) -> Done + Clone + Send + Sync + 'static,
) where
    Done: Future<Output = io::Result<()>> + Send + 'static,
{
    for _ in 0..tasks {
        let (address, seen, one) = (Arc::clone(address), Arc::clone(seen), one.clone());
        tokio::spawn(async move {
            while !seen.is_over() {
                let began = Instant::now();
                let exchange = async { one(TcpStream::connect(&*address).await?).await };
                match timeout(PATIENCE, exchange).await {
                    Ok(Ok(())) => Seen::one(&seen.done),
                    Ok(Err(_)) | Err(_) if seen.is_over() => return,
                    Ok(Err(_)) | Err(_) => Seen::one(&seen.faults),
                }

                seen.took(began);
                sleep(pause).await;
            }
        });
    }
}

/// Opens that many connections at once; each has been accepted when its ping is answered.
pub(super) async fn at_once(address: &Arc<str>, seen: &Arc<Seen>, count: usize) {
    let mut opening = JoinSet::new();
    let began = Instant::now();

    for _ in 0..count {
        let address = Arc::clone(address);
        opening.spawn(async move {
            let mut stream = BufReader::new(TcpStream::connect(&*address).await?);
            stream.write_all(b"{\"id\":1,\"cmdid\":0}\n").await?;
            let mut reply = String::new();
            stream.read_line(&mut reply).await?;

            if reply.contains("\"code\":0") {
                Ok(stream)
            } else {
                Err(io::Error::other(reply))
            }
        });
    }

    let mut held = Vec::new();
    while let Some(opened) = opening.join_next().await {
        match opened.map_err(io::Error::other).flatten() {
            Ok(stream) if began.elapsed() <= PATIENCE => {
                Seen::one(&seen.done);
                held.push(stream);
            }
            _ => Seen::one(&seen.faults),
        }

        seen.took(began);
    }

    // They stay until the process ends.
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(held);
    });
}

/// Holds that many connections, accepted or not.
pub(super) async fn hold(address: &Arc<str>, seen: &Arc<Seen>, count: usize) {
    for _ in 0..count {
        let Ok(stream) = TcpStream::connect(&**address).await else {
            continue;
        };

        let seen = Arc::clone(seen);
        tokio::spawn(async move {
            Seen::one(&seen.done);
            let mut buffer = [0; 64];
            while let Ok(1..) = {
                stream.readable().await.ok();
                stream.try_read(&mut buffer)
            } {}
            std::future::pending::<()>().await;
        });
    }
}
