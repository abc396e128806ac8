//! A TCP connection whose peer is noticed when it vanishes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rpc_core::keepalive::{Activity, Keepalive};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::config::Tcp;

/// How old a connection is when the system is asked to look after it: one that is opened for a few calls is over by
/// then, and need not pay for that.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A TCP stream that asks the system to look after it once it lasts, with a user timeout that follows what it does.
///
/// It is dropped once it is over: that ends it, without a system call of its own.
pub(crate) struct Watched {
    stream: TcpStream,
    keepalive: Keepalive,
    state: State,
    alarm: Option<Alarm>,
    /// The alarm had not gone off at the last write.
    is_alarm_ahead: bool,
}

/// When to look at the connection again.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// The task that it wakes.
    task: Waker,
}

enum State {
    /// Nothing was asked of the system yet.
    New {
        settle_at: Instant,
        last_write: Option<Instant>,
    },
    Settled(Activity),
}

/// Asks the system to look after a connection that is idle.
pub(super) fn watch(stream: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
    let socket = SockRef::from(stream);
    if let Some(probes) = keepalive.probes() {
        let options = TcpKeepalive::new()
            .with_time(probes.idle)
            .with_interval(probes.interval)
            .with_retries(probes.count);
        socket.set_tcp_keepalive(&options)?;
    }

    match keepalive.user_timeout_while_idle() {
        Some(limit) => set_user_timeout(stream, limit),
        None => Ok(()),
    }
}

/// Other systems have none.
fn set_user_timeout(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(limit))?;
    let _ = (stream, limit);
    Ok(())
}

impl Watched {
    pub(super) fn new(stream: TcpStream, config: &Tcp) -> Self {
        Self {
            stream,
            keepalive: config.keepalive(),
            state: State::New {
                settle_at: Instant::now() + SETTLED_AFTER,
                last_write: None,
            },
            alarm: None,
            is_alarm_ahead: false,
        }
    }

    /// Notes a write.
    fn has_written(&mut self) {
        let now = Instant::now();
        let alarm = self.alarm.as_ref();
        self.is_alarm_ahead = alarm.is_some_and(|alarm| now < alarm.sleep.deadline());

        match &mut self.state {
            State::New { last_write, .. } => *last_write = Some(now),
            State::Settled(activity) => {
                if let Some(limit) = activity.write(now.into_std()) {
                    self.ask_for(limit);
                }
            }
        }
    }

    /// Asks the system for what it is time for. Reading looks after this, since a connection always reads.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // To poll it costs more than all else here, so that it is not done after each write. The task is another one where
        // the connection was opened by a call that has handed it over since.
        if std::mem::take(&mut self.is_alarm_ahead)
            && let Some(alarm) = &self.alarm
            && alarm.task.will_wake(cx.waker())
        {
            return Poll::Pending;
        }

        loop {
            let due = match &self.state {
                State::New { settle_at, .. } => *settle_at,
                State::Settled(activity) => match activity.idle_at() {
                    Some(at) => Instant::from_std(at),
                    None => return Poll::Pending,
                },
            };

            // One that ends too early is set anew then: cheaper than moving it with every write.
            let alarm = self.alarm.get_or_insert_with(|| Alarm {
                sleep: Box::pin(tokio::time::sleep_until(due)),
                task: cx.waker().clone(),
            });
            alarm.task.clone_from(cx.waker());
            ready!(alarm.sleep.as_mut().poll(cx));
            self.alarm = None;
            self.look(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        match &mut self.state {
            State::New {
                settle_at,
                last_write,
            } if *settle_at <= now => {
                let mut activity = Activity::idle(self.keepalive);
                let busy = last_write.and_then(|at| activity.write(at.into_std()));
                self.state = State::Settled(activity);

                if let Err(error) = watch(&self.stream, &self.keepalive) {
                    tracing::warn!(%error, "keepalive and user timeout could not be set: a server that vanishes is found by pings alone");
                }
                if let Some(limit) = busy {
                    self.ask_for(limit);
                }
            }
            State::New { .. } => {}
            State::Settled(activity) => {
                if let Some(limit) = activity.look(now.into_std()) {
                    self.ask_for(limit);
                }
            }
        }
    }

    fn ask_for(&self, limit: Duration) {
        if let Err(error) = set_user_timeout(&self.stream, limit) {
            tracing::debug!(%error, "the user timeout could not be set");
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            let _ = self.poll_alarm(cx);
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
        self.has_written();
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

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Reads for so long, as a connection without anything to read does.
    async fn read_for(watched: &mut Watched, time: Duration) {
        let read = tokio::time::timeout(time, watched.read_u8()).await;
        assert!(read.is_err(), "nothing is sent");
    }

    fn user_timeout(watched: &Watched) -> Option<Duration> {
        SockRef::from(&watched.stream).tcp_user_timeout().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_system_is_asked_where_a_connection_lasts_and_the_user_timeout_follows_its_writes()
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut watched = Watched::new(stream, &Tcp::default());

        read_for(&mut watched, SETTLED_AFTER / 2).await;
        assert!(!SockRef::from(&watched.stream).keepalive().unwrap());

        read_for(&mut watched, SETTLED_AFTER).await;
        let socket = SockRef::from(&watched.stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(10));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(3));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        let idle = Some(Duration::from_millis(17_500));
        assert_eq!(user_timeout(&watched), idle);

        watched.write_all(b"a").await.unwrap();
        assert_eq!(user_timeout(&watched), Some(seconds(10)));
        read_for(&mut watched, seconds(10)).await;
        watched.write_all(b"b").await.unwrap();
        read_for(&mut watched, seconds(11)).await;
        assert_eq!(user_timeout(&watched), Some(seconds(10)));
        read_for(&mut watched, seconds(1)).await;
        assert_eq!(user_timeout(&watched), idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_written_by_the_time_it_is_watched_counts_as_busy() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut watched = Watched::new(stream, &Tcp::default());
        watched.write_all(b"a").await.unwrap();
        read_for(&mut watched, SETTLED_AFTER * 2).await;
        assert_eq!(user_timeout(&watched), Some(seconds(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_wakes_the_task_that_the_connection_was_handed_to() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut watched = Watched::new(stream, &Tcp::default());
        let opening = tokio::spawn(async move {
            read_for(&mut watched, SETTLED_AFTER * 2).await;
            watched.write_all(b"a").await.unwrap();
            read_for(&mut watched, seconds(1)).await;
            watched
        });

        let mut watched = opening.await.unwrap();
        watched.write_all(b"b").await.unwrap();
        let mut looks = 0;
        let read = poll_fn(|cx| {
            looks += 1;
            assert!(
                Pin::new(&mut watched)
                    .poll_read(cx, &mut ReadBuf::new(&mut [0]))
                    .is_pending()
            );
            if looks == 2 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });

        let begin = Instant::now();
        tokio::time::timeout(seconds(60), read).await.unwrap();
        assert!(
            begin.elapsed() < seconds(20),
            "the alarm wakes it, and not the end of the time"
        );
    }
}
