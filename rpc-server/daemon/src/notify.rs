//! Tells systemd how the daemon fares (`sd_notify`); nothing happens without a service manager.

use std::time::Duration;

use sd_notify::NotifyState;

use rpc_server::ServerHandle;

/// It serves. `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its settings again; [`ready`] ends that. With the time, as `Type=notify-reload` wants it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[
            NotifyState::Reloading,
            now,
            NotifyState::Status("reloading"),
        ]),
        Err(error) => {
            tracing::warn!(%error, "the service manager is not notified of the reload: there is no monotonic clock");
        }
    }
}

/// It drains.
pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Says that all is alive, for as long as that is so, where the service manager wants to know (`WatchdogSec=`):
/// when the runtime is stuck, or a thread of the server's `workers`, it says nothing, and the daemon is
/// restarted. Twice in the manager's time, as `sd_watchdog_enabled(3)` advises.
pub async fn keep_watchdog(server: ServerHandle) {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        watch(
            limit / 2,
            || server.stalled_for(),
            || send(&[NotifyState::Watchdog]),
        )
        .await;
    }
}

/// Calls `say_alive` each `half` of the manager's time in which there was a sign of life.
async fn watch(half: Duration, silent_for: impl Fn() -> Duration, mut say_alive: impl FnMut()) {
    let half = half.max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(half);

    loop {
        ticks.tick().await;
        if silent_for() < half {
            say_alive();
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_nothing_while_a_runtime_has_been_silent_for_half_of_its_time() {
        let (silent_for, said) = (Cell::new(Duration::ZERO), Cell::new(0));
        let half = Duration::from_secs(5);
        let watch = watch(half, || silent_for.get(), || said.set(said.get() + 1));
        tokio::pin!(watch);

        for (silent, said_then) in [(0, 1), (4_999, 2), (5_000, 2), (60_000, 2), (0, 3)] {
            silent_for.set(Duration::from_millis(silent));
            assert!(futures::poll!(watch.as_mut()).is_pending());
            assert_eq!(said.get(), said_then, "silent for {silent} ms");
            tokio::time::advance(half).await;
        }
    }
}
