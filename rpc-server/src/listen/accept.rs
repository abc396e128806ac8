//! The loop that accepts, and what it does when the process has no descriptors left.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use rpc_core::backoff::Backoff;
use tokio::net::{TcpStream, UnixStream};

use super::intake::{Intake, Serve};
use super::listener::Listener;
use crate::metrics::{add, subtract};
use crate::sync::AtomicU64;

/// Connections that are accepted one after another before the others of this runtime have their turn.
const ACCEPTS_PER_TURN: u32 = 64;

/// The longest pause between two who are told that there is no descriptor for them: those who wait are told
/// one after another, and a processor has other things to do.
const PAUSE_BETWEEN_REFUSALS: Duration = Duration::from_millis(10);

/// Pauses after failures that nothing can be done about: long enough to cost nothing, short enough to be
/// back soon after.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether there are descriptors again, while no peer connects.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who has connected.
pub(crate) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// Accepts for ever.
pub(crate) async fn accept_all(listener: &Listener, intake: &Intake, server: &impl Serve) {
    let mut accepting = AcceptLoop {
        listener,
        intake,
        server,
        reserve: Reserve::open(),
        degraded: None,
        backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
    };
    let mut in_a_row = 0;

    loop {
        let Some(accepted) = accepting.next().await else {
            continue;
        };

        match accepted {
            Ok(accepted) => {
                accepting.has_accepted();
                intake.take_in(accepted, server);
                in_a_row += 1;
                if in_a_row % ACCEPTS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => accepting.fail(&error).await,
        }
    }
}

struct AcceptLoop<'a, S> {
    listener: &'a Listener,
    intake: &'a Intake,
    server: &'a S,
    /// None while there is no descriptor for it.
    reserve: Option<Reserve>,
    degraded: Option<Degraded<'a>>,
    backoff: Backoff,
}

impl<S: Serve> AcceptLoop<'_, S> {
    /// The next connection or failure; none where it is time to look whether there are descriptors again.
    async fn next(&mut self) -> Option<io::Result<Accepted>> {
        if self.degraded.is_none() {
            return Some(self.listener.accept(&self.intake.config).await);
        }

        let accepted = tokio::time::timeout(LOOK_AGAIN, self.listener.accept(&self.intake.config))
            .await
            .ok();
        if accepted.is_none() {
            self.look_again();
        }

        accepted
    }

    fn has_accepted(&mut self) {
        self.backoff.reset();
        if self.degraded.is_some() {
            self.look_again();
        }
    }

    /// There is room again where there is a descriptor besides the reserve.
    fn look_again(&mut self) {
        if self.reserve.is_none() {
            self.reserve = Reserve::open();
        }

        if self.reserve.is_some() && Reserve::open().is_some() {
            self.degraded = None;
            tracing::info!("descriptors are available again; all connections are accepted");
        }
    }

    async fn fail(&mut self, error: &io::Error) {
        add(&self.intake.metrics.limits.accept_failures, 1);

        if is_of_the_peer(error) {
            let log = &self.intake.log.lost_peers;
            log.write(|| tracing::debug!(%error, "a connection was gone before it was accepted"));
        } else if is_exhaustion(error) {
            self.exhausted(error).await;
        } else {
            let log = &self.intake.log.accept_failures;
            log.write(|| tracing::warn!(%error, "a connection could not be accepted"));
            self.pause().await;
        }
    }

    /// Gives the reserve up for one of those who wait, so that it is told instead of left to hang, or shown a page.
    async fn exhausted(&mut self, error: &io::Error) {
        let gauge = &self.intake.metrics.limits.accept_degraded;
        self.degraded.get_or_insert_with(|| Degraded::new(gauge));

        self.intake.log.without_descriptors.write(|| {
            tracing::warn!(%error, "new connections are refused; raise the limit of open files (LimitNOFILE, ulimit -n) or lower `limits.connections_max`");
        });

        let Some(reserve) = self.reserve.take() else {
            self.reserve = Reserve::open();
            self.pause().await;
            return;
        };
        drop(reserve);

        // Another part of this process may be quicker; then no peer is told, this time.
        let is_told = match self.listener.accept(&self.intake.config).now_or_never() {
            Some(Ok(accepted)) => {
                self.intake.serve_for_a_moment(accepted, self.server).await;
                true
            }
            Some(Err(_)) | None => false,
        };

        self.reserve = Reserve::open();
        if is_told && self.reserve.is_some() {
            self.backoff.reset();
            tokio::time::sleep(rpc_core::backoff::half_jitter(PAUSE_BETWEEN_REFUSALS)).await;
        } else {
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        // The first delay of a back-off is zero, and here nothing has changed since.
        let delay = self
            .backoff
            .next_delay()
            .max(PAUSE_MIN.mul_f64(0.5 + fastrand::f64()));
        tokio::time::sleep(delay).await;
    }
}

/// A descriptor that is kept to be given up.
struct Reserve(#[allow(dead_code, reason = "held, not used")] File);

impl Reserve {
    fn open() -> Option<Self> {
        File::open("/dev/null").ok().map(Self)
    }
}

/// Counts a listener among those that cannot accept, until it can, or is gone.
struct Degraded<'a>(&'a AtomicU64);

impl<'a> Degraded<'a> {
    fn new(gauge: &'a AtomicU64) -> Self {
        add(gauge, 1);
        Self(gauge)
    }
}

impl Drop for Degraded<'_> {
    fn drop(&mut self) {
        subtract(self.0, 1);
    }
}

/// Whether the process or the system has run out of descriptors or memory: ENFILE, EMFILE, ENOBUFS, ENOMEM.
/// The standard library has no names for most of them; the first two have the same numbers on every Unix.
fn is_exhaustion(error: &io::Error) -> bool {
    let has_no_buffers = if cfg!(target_os = "linux") { 105 } else { 55 };
    error.kind() == io::ErrorKind::OutOfMemory
        || error
            .raw_os_error()
            .is_some_and(|code| code == 23 || code == 24 || code == has_no_buffers)
}

/// Whether only the one connection failed: accept(2) passes on what its network had to say.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };

    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_connection_are_told_from_those_of_all() {
        for code in [23, 24, 12] {
            let error = io::Error::from_raw_os_error(code);
            assert!(is_exhaustion(&error) && !is_of_the_peer(&error), "{error}");
        }

        for kind in [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::NetworkUnreachable,
        ] {
            assert!(is_of_the_peer(&kind.into()) && !is_exhaustion(&kind.into()));
        }

        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!is_of_the_peer(&other) && !is_exhaustion(&other));
    }
}
