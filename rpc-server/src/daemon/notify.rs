//! Tells systemd how the daemon fares (`sd_notify`); nothing happens where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::server::ServerHandle;

/// It serves. `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its settings again; [`ready`] ends that. With the time, as `Type=notify-reload` wants it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(error) => tracing::warn!(%error, "the service manager is not told: there is no monotonic clock"),
    }
}

/// It drains.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Says that all is alive, for as long as that is so, where the service manager wants to know (`WatchdogSec=`):
/// when the runtime is stuck, or a thread of the server's `workers`, it says nothing, and the daemon is
/// restarted. Twice in the manager's time, as `sd_watchdog_enabled(3)` advises.
pub async fn keep_watchdog(server: ServerHandle) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let half = (limit / 2).max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(half);
    loop {
        ticks.tick().await;
        if server.silent_for() < half {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
