//! The end of a stream that its peer can still read: a socket that is closed with something unread resets, and may
//! take back what was written to it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Writes one line and closes, so that the peer can read it, within the time.
pub(crate) async fn send_last_line<IO>(mut io: IO, line: &[u8], linger: Duration)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let send = async {
        io.write_all(line).await?;
        end(io).await
    };

    // A peer that is gone need not be told.
    let _ = tokio::time::timeout(linger, send).await;
}

/// Closes so that the peer can read what was written to it, within the time: a socket that is closed with
/// something unread resets, and may take that back.
pub(crate) async fn close<IO>(io: IO, linger: Duration)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // A peer that is gone need not be waited for.
    let _ = tokio::time::timeout(linger, end(io)).await;
}

async fn end<IO>(mut io: IO) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    io.shutdown().await?;
    tokio::io::copy(&mut io, &mut tokio::io::sink())
        .await
        .map(drop)
}
