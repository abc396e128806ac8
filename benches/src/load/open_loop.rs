//! The open loop: calls are made at fixed times, whether or not those before have ended.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Load, Recorder, Samples};
use crate::contenders::Caller;

/// Calls that become due within this time are started together: a wake-up for each alone would leave
/// the client's core no time for anything else from 100,000 calls a second on.
const TICK: Duration = Duration::from_micros(20);

/// Starts the callers, and who tells them when calls are due.
pub(super) fn start<C: Caller>(
    callers: Vec<C>,
    rate: u64,
    load: &Arc<Load>,
    recorder: &Arc<Recorder>,
) -> Result<JoinSet<Result<()>>> {
    let due = Arc::new(Due::new(rate, load.begin));
    let timer = Timer::new()?;
    let mut tasks = JoinSet::new();

    for caller in callers {
        tasks.spawn(call(
            caller,
            Arc::clone(load),
            Arc::clone(recorder),
            Arc::clone(&due),
        ));
    }

    let (load, recorder) = (Arc::clone(load), Arc::clone(recorder));
    tasks.spawn(async move { due.tell(&timer, load.end, &recorder).await });
    Ok(tasks)
}

async fn call<C: Caller>(
    mut caller: C,
    load: Arc<Load>,
    recorder: Arc<Recorder>,
    due: Arc<Due>,
) -> Result<()> {
    let mut samples = Samples::new(&recorder);
    while let Some(since) = due.next().await {
        let receipt = caller.log(&load.entry).await?;
        ensure!(receipt.accepted, "an entry was not accepted");

        let now = Instant::now();
        if now > load.end {
            recorder.add_unfinished(since);
        }
        samples.add(since, now);
    }

    Ok(())
}

/// Fixed times at which calls are due, for all callers together. A call that begins late has waited since
/// it was due, so that no pause of the server goes unseen.
struct Due {
    begin: Instant,
    interval_s: f64,
    claimed: AtomicU64,
    /// One permit for each call that is due and not made.
    permits: Semaphore,
}

impl Due {
    fn new(rate: u64, begin: Instant) -> Self {
        Self {
            begin,
            interval_s: 1.0 / rate as f64,
            claimed: AtomicU64::new(0),
            permits: Semaphore::new(0),
        }
    }

    fn time(&self, n: u64) -> Instant {
        self.begin + Duration::from_secs_f64(self.interval_s * n as f64)
    }

    /// Hands out permits as the time comes.
    async fn tell(&self, timer: &Timer, end: Instant, recorder: &Recorder) -> Result<()> {
        let mut told = 0;
        loop {
            let now = Instant::now();
            let first = told;
            while self.time(told) <= now {
                told += 1;
            }

            if now >= end {
                break;
            }

            recorder.add_late(now, (first..told).map(|n| now - self.time(n)));
            self.permits.add_permits(usize::try_from(told - first)?);
            timer
                .wait(
                    self.time(told)
                        .min(end)
                        .saturating_duration_since(now)
                        .max(TICK),
                )
                .await?;
        }

        self.permits.close();

        // What was due and was not even begun has waited too.
        let claimed = self.claimed.load(Ordering::Relaxed);
        for n in (claimed..told).filter(|n| self.time(*n) < end) {
            recorder.add_unfinished(self.time(n));
        }

        Ok(())
    }

    /// Waits for the next call that is due, and says since when it is; `None` at the end.
    async fn next(&self) -> Option<Instant> {
        self.permits.acquire().await.ok()?.forget();

        // Relaxed: only uniqueness matters.
        Some(self.time(self.claimed.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A timer of the system that the runtime waits for as for a socket. The runtime's own timers are up
/// to a millisecond late; and a loop that watches the clock instead is always busy, so that whatever
/// else wants its core takes it away for milliseconds.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[allow(
        deprecated,
        reason = "what replaces it is unsafe, for descriptors that change or close under it; an `OwnedFd` does neither"
    )]
    fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(AsyncFd::new(timerfd_create(
            TimerfdClockId::Monotonic,
            flags,
        )?)?))
    }

    async fn wait(&self, time: Duration) -> Result<()> {
        let nothing = Timespec::default();
        let once = Itimerspec {
            it_interval: nothing,
            it_value: Timespec::try_from(time)?,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;

        // Not read: setting it anew says as well that it has not run out.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timer_is_never_early_however_often_it_is_set() {
        let timer = Timer::new().expect("the system has timers");
        for _ in 0..20 {
            let (begin, time) = (Instant::now(), Duration::from_micros(300));
            timer.wait(time).await.expect("it runs out");
            assert!(begin.elapsed() >= time);
        }
    }

    #[tokio::test]
    async fn calls_that_were_due_and_never_begun_count_with_the_time_that_they_have_waited() {
        let mut load = Load::new(Duration::ZERO, Duration::from_millis(20), None);
        load.begin_now();
        let recorder = Recorder::new(&load);

        // No caller calls.
        let due = Due::new(1_000, load.begin);
        due.tell(&Timer::new().expect("a timer"), load.end, &recorder)
            .await
            .expect("it ends");

        assert!(due.next().await.is_none());
        assert_eq!(recorder.unfinished(), 20);
    }
}
