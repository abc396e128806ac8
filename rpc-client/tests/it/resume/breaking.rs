//! Connections that break after a number of bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rpc_client::Client;
use rpc_server::{Config, Router, Server};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Counting, NumbersServer};

/// A byte stream that breaks after a number of bytes, in whatever direction.
pub(super) struct Breaking {
    pub(super) io: DuplexStream,
    pub(super) left: usize,
    pub(super) breaks: Arc<AtomicUsize>,
}

impl Breaking {
    /// Whether any of these bytes may pass.
    fn check(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 || self.left > 0 {
            return Ok(());
        }

        self.breaks.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What is over the limit is lost on its way.
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        self.check(read)?;
        let passed = read.min(self.left);
        buf.set_filled(before + passed);
        self.left -= passed;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(bytes.len())?;
        let length = bytes.len().min(self.left);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &bytes[..length]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A client of a server whose connections break after as many bytes as `bytes` says, and how many have broken.
pub(super) async fn client(
    config: Config,
    bytes: impl Fn() -> usize + Send + Sync + 'static,
) -> (Client, Arc<AtomicUsize>) {
    let router = Router::new().serve(NumbersServer(Counting)).unwrap();
    let server = Server::builder().config(config).router(router);
    let handle = server.bind().await.unwrap().handle();
    let breaks = Arc::<AtomicUsize>::default();

    let counted = Arc::clone(&breaks);
    let connect = move |_: String| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let breaking = Breaking {
            io: theirs,
            left: bytes(),
            breaks: Arc::clone(&counted),
        };
        tokio::spawn(handle.serve_connection(breaking, "test"));
        std::future::ready(Ok(ours))
    };
    (Client::builder("far").connector(connect).build(), breaks)
}
