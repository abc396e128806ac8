//! Tells systemd how the daemon fares (`sd_notify`); nothing happens where nobody listens.

use std::time::Duration;

use sd_notify::NotifyState;

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

/// Says that the runtime is alive, for as long as that is so, where the service manager wants to know
/// (`WatchdogSec=`): a runtime that is stuck says nothing, and the daemon is restarted. Twice in the
/// manager's time, as `sd_watchdog_enabled(3)` advises.
pub async fn keep_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
