//! An accepted TCP connection whose peer is noticed when it vanishes: its user timeout follows what it does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rpc_core::keepalive::{Activity, Keepalive};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A TCP stream with the options of its listener, which are those of a busy connection: one that is over soon costs no
/// system call for them.
pub(super) struct Watched {
    stream: TcpStream,
    activity: Activity,
    alarm: Option<Pin<Box<Sleep>>>,
    /// The alarm had not gone off at the last write: it wakes the task of this connection once it does.
    is_alarm_ahead: bool,
    /// Whether something was written since the last flush.
    is_unflushed: bool,
    /// Whether the peer has ended its side, so that nothing of it can be unread.
    has_peer_ended: bool,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, keepalive: &Arc<Keepalive>) -> Self {
        Self {
            stream,
            activity: Activity::new(Arc::clone(keepalive), Instant::now().into_std()),
            alarm: None,
            is_alarm_ahead: false,
            is_unflushed: false,
            has_peer_ended: false,
        }
    }

    /// Notes a write.
    #[inline]
    fn has_written(&mut self) {
        self.is_unflushed = true;
        let now = Instant::now();
        let alarm = self.alarm.as_ref();
        self.is_alarm_ahead = alarm.is_some_and(|alarm| now < alarm.deadline());

        if let Some(limit) = self.activity.write(now.into_std()) {
            self.ask_for(limit);
        }
    }

    /// Looks whether the connection is idle again. Reading looks after this: what is read wakes no other task.
    #[inline]
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The task is the same for as long as there is an alarm. To poll it costs more than all else here.
        if std::mem::take(&mut self.is_alarm_ahead) {
            return Poll::Pending;
        }

        loop {
            let Some(at) = self.activity.idle_at() else {
                return Poll::Pending;
            };

            // One that ends too early is set anew then: cheaper than moving it with every write.
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::from_std(at))));
            ready!(alarm.as_mut().poll(cx));
            self.alarm = None;

            if let Some(limit) = self.activity.look(Instant::now().into_std()) {
                self.ask_for(limit);
            }
        }
    }

    /// Other systems have no user timeout.
    fn ask_for(&self, limit: Duration) {
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&self.stream).set_tcp_user_timeout(Some(limit)) {
            tracing::debug!(%error, "the user timeout could not be set");
        }
        let _ = limit;
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);

        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() == before && buffer.remaining() > 0 => {
                self.has_peer_ended = true;
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                let _ = self.poll_alarm(cx);
            }
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        if !bytes.is_empty() {
            self.has_written();
        }
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes));
        self.has_written();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// A socket has nothing to flush. Where nothing was written either, it is asked whether the peer has reset the
    /// connection: that is the one question that TLS hands on.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_unflushed) {
            return Poll::Ready(Ok(()));
        }

        Pin::new(&mut self.stream)
            .poll_write(cx, &[])
            .map_ok(|_| ())
    }

    /// A stream that is shut down is dropped next. Where the peer has ended its side, that alone says the same.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_peer_ended {
            return Poll::Ready(Ok(()));
        }

        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux", not(shuttle)))]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Tcp;
    use crate::listen::listener::prepare;

    /// An accepted connection, and its peer.
    async fn accepted() -> (Watched, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        prepare(SockRef::from(&listener), &Tcp::default());

        let address = listener.local_addr().unwrap();
        let peer = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let keepalive = Arc::new(Tcp::default().keepalive());
        (Watched::new(stream, &keepalive), peer)
    }

    fn user_timeout(watched: &Watched) -> Option<u128> {
        let limit = SockRef::from(&watched.stream).tcp_user_timeout().unwrap();
        limit.map(|limit| limit.as_millis())
    }

    async fn read_for(watched: &mut Watched, seconds: u64) {
        let time = Duration::from_secs(seconds);
        assert!(tokio::time::timeout(time, watched.read_u8()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_has_the_short_user_timeout_at_first_and_then_that_of_an_idle_one()
    {
        let (mut watched, _peer) = accepted().await;

        assert_eq!(user_timeout(&watched), Some(10_000));
        read_for(&mut watched, 12).await;
        assert_eq!(user_timeout(&watched), Some(17_500));
    }

    #[tokio::test(start_paused = true)]
    async fn the_user_timeout_is_short_from_a_write_until_its_bytes_are_acknowledged_for_sure() {
        let (mut watched, _peer) = accepted().await;

        for _ in 0..2 {
            watched.write_all(b"a").await.unwrap();
            assert_eq!(user_timeout(&watched), Some(10_000));
            read_for(&mut watched, 9).await;
            watched.write_all(b"b").await.unwrap();
            read_for(&mut watched, 11).await;
            assert_eq!(user_timeout(&watched), Some(10_000));
            read_for(&mut watched, 1).await;
            assert_eq!(user_timeout(&watched), Some(17_500));
        }
    }
}
