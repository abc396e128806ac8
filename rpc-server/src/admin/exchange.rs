//! One request and its reply, by hyper; then the end of the connection.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rpc_core::Peer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Pages, pages};
use crate::linger;

/// A request has about ten; a browser sends about twenty.
const HEADERS_MAX: usize = 100;

/// Answers one request of a connection that has said `read` so far. `guard` is kept for as long.
pub(crate) async fn serve<IO, G>(io: IO, read: Vec<u8>, peer: Arc<Peer>, all: Arc<Pages>, guard: G)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let exchange = exchange(Rewound { read, taken: 0, io }, &peer, &all);
    let limit = tokio::time::sleep(Duration::from_millis(all.config.timeout_ms));

    // A drain does not wait for somebody who is slow to ask.
    let drained = async {
        all.reporter.stop.draining().await;
        tokio::time::sleep(all.reporter.config.linger_timeout()).await;
    };

    tokio::select! {
        biased;
        ended = exchange => {
            if let Err(error) = ended {
                tracing::debug!(%peer, error, "an HTTP request was not answered");
            }
        }
        () = limit => tracing::info!(%peer, "cut: an HTTP request was not done within `admin.timeout_ms`"),
        () = drained => {}
    }

    drop(guard);
}

async fn exchange<IO>(io: Rewound<IO>, peer: &Peer, all: &Pages) -> Result<(), String>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let answer =
        |request| std::future::ready(Ok::<_, Infallible>(pages::answer(&request, peer, all)));
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        .half_close(true)
        .max_headers(HEADERS_MAX)
        .max_buf_size(all.config.header_bytes_max)
        // The whole exchange has a limit.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service_fn(answer));

    let answered = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;

    // What is no HTTP was answered, too, before that became an error.
    let io = connection.into_parts().io.into_inner().io;
    linger::close(io, all.reporter.config.linger_timeout()).await;

    answered.map_err(|error| error.to_string())
}

/// A stream that begins with what was read of it already.
struct Rewound<IO> {
    read: Vec<u8>,
    taken: usize,
    io: IO,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.read[self.taken..];
        if left.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }

        let length = left.len().min(buf.remaining());
        buf.put_slice(&left[..length]);
        self.taken += length;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
