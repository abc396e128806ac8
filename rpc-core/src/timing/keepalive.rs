//! Keepalive of TCP: when a silent peer counts as gone, and what is asked of the system for it.
//!
//! Two options watch a connection. Keepalive sends probes once it is idle, and gives it up when none of some is
//! answered. The user timeout gives it up when sent bytes stay unacknowledged. On Linux the second one also overrides
//! the first (tcp(7)): a probe that is lost ends the connection once nothing has been received for the user timeout,
//! however many probes keepalive would have waited for. So an idle connection has a user timeout that agrees with
//! its probes, and the short one only from a write until no byte of it can be unacknowledged any more: two system calls
//! an idle spell, and none a call.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// The settings of both options, as the system takes them.
///
/// ```
/// use std::time::Duration;
/// use rpc_core::keepalive::Keepalive;
///
/// let seconds = Duration::from_secs;
/// let keepalive = Keepalive::new(seconds(10), seconds(3), 3, seconds(10));
/// // Probes leave after 10, 13 and 16 s. A connection whose third one is not answered by 19 s is gone, and no other.
/// assert_eq!(keepalive.user_timeout_while_idle(), Some(Duration::from_millis(17_500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    idle: Duration,
    interval: Duration,
    probes: u32,
    user_timeout: Duration,
    /// None where a connection keeps one user timeout.
    spells: Option<Spells>,
}

/// The probes of keepalive, as the system takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// The time without a byte received before the first probe, in whole seconds.
    pub idle: Duration,
    /// The time between two probes, in whole seconds.
    pub interval: Duration,
    /// The number of probes in vain after which the connection is gone.
    pub count: u32,
}

/// The user timeouts of a connection that is busy and of one that is idle, which differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spells {
    busy: Duration,
    idle: Duration,
    /// How long after the last write the connection counts as idle.
    quiet: Duration,
}

impl Keepalive {
    /// Probes after `idle` without a byte received and then each `interval`, `probes` of them in vain at most; and
    /// `user_timeout` for what was sent. `idle` 0 turns probes off, `user_timeout` 0 leaves it to the system. All are
    /// brought to what the system takes: whole seconds up to 32,767, up to 127 probes, a user timeout of up to 24
    /// days. A user timeout that would end together with a probe ends up to half an interval later.
    pub fn new(idle: Duration, interval: Duration, probes: u32, user_timeout: Duration) -> Self {
        let whole = |time: Duration| {
            let part = u64::from(time.subsec_nanos() > 0);
            let seconds = time.as_secs().saturating_add(part);
            Duration::from_secs(seconds.clamp(1, 32_767))
        };

        let interval = whole(interval);
        // What it may be made longer by is left.
        let longest = Duration::from_millis(i32::MAX as u64).saturating_sub(interval);

        Self {
            idle: if idle.is_zero() { idle } else { whole(idle) },
            interval,
            probes: probes.clamp(1, 127),
            user_timeout: user_timeout.min(longest),
            spells: None,
        }
        .apart_from_probes()
        .with_spells()
    }

    /// A user timeout that ends together with the time of a probe cannot be changed between the two: it ends a quarter
    /// of an interval later.
    fn apart_from_probes(mut self) -> Self {
        let margin = self.interval / 4;
        let behind_first = (self.user_timeout + margin).saturating_sub(self.idle);
        let probe = self.probe_end(intervals(behind_first, self.interval));

        if !self.idle.is_zero() && probe > self.idle && self.user_timeout < probe + margin {
            self.user_timeout = probe + margin;
        }
        self
    }

    /// Computed once, as connections look at it with every write.
    fn with_spells(mut self) -> Self {
        let both = self.user_timeout().zip(self.user_timeout_while_idle());
        let differ = both.filter(|(busy, idle)| busy != idle);

        self.spells = differ.map(|(busy, idle)| Spells {
            busy,
            idle,
            quiet: self.quiet(),
        });
        self
    }

    /// When the system looks whether the probe of this number is in vain, and sends the next one.
    fn probe_end(&self, number: u32) -> Duration {
        self.idle + self.interval * number
    }

    /// The probes of a connection that is idle; `None` if it has no probes.
    pub fn probes(&self) -> Option<Probes> {
        (!self.idle.is_zero()).then_some(Probes {
            idle: self.idle,
            interval: self.interval,
            count: self.probes,
        })
    }

    /// The user timeout while bytes may be unacknowledged; `None` where it is left to the system.
    pub fn user_timeout(&self) -> Option<Duration> {
        (!self.user_timeout.is_zero()).then_some(self.user_timeout)
    }

    /// The user timeout of an idle connection: between the last probe and the time at which that probe counts as lost.
    pub fn user_timeout_while_idle(&self) -> Option<Duration> {
        let user_timeout = self.user_timeout()?;
        if self.idle.is_zero() {
            return Some(user_timeout);
        }

        Some(self.probe_end(self.probes - 1) + self.interval / 2)
    }

    /// How long after the last write the connection counts as idle: all bytes of it are acknowledged by then, or the
    /// connection is gone; and the user timeout has not been compared with the next probe yet.
    fn quiet(&self) -> Duration {
        let behind_first = self.user_timeout.saturating_sub(self.idle);
        let next = self.probe_end(intervals(behind_first, self.interval) + 1);
        (self.user_timeout + next) / 2
    }
}

/// How many whole intervals there are in this time.
fn intervals(time: Duration, interval: Duration) -> u32 {
    u32::try_from(time.as_millis() / interval.as_millis()).unwrap_or(u32::MAX)
}

/// Which user timeout a connection has, and which it should have.
#[derive(Debug)]
pub struct Activity {
    keepalive: Arc<Keepalive>,
    last_write: Option<Instant>,
}

impl Activity {
    /// Of a connection that is idle, and has the user timeout of one. Connections with the same settings may share
    /// them.
    pub fn idle(keepalive: impl Into<Arc<Keepalive>>) -> Self {
        Self {
            keepalive: keepalive.into(),
            last_write: None,
        }
    }

    /// Of a connection that was made `now`, and has the user timeout of one that is busy: one that is over soon needs
    /// no other.
    pub fn new(keepalive: impl Into<Arc<Keepalive>>, now: Instant) -> Self {
        Self {
            keepalive: keepalive.into(),
            last_write: Some(now),
        }
    }

    /// Notes a write. Returns the user timeout that the connection should have from now on, where that is another one.
    #[inline]
    pub fn write(&mut self, now: Instant) -> Option<Duration> {
        let was_idle = self.last_write.replace(now).is_none();
        let spells = self.keepalive.spells?;
        was_idle.then_some(spells.busy)
    }

    /// When it may be idle again; `None` while it is, or where that makes no difference.
    #[inline]
    pub fn idle_at(&self) -> Option<Instant> {
        let spells = self.keepalive.spells?;
        Some(self.last_write? + spells.quiet)
    }

    /// Looks whether it is idle again. Returns the user timeout that the connection should have from now on, where
    /// that is another one.
    pub fn look(&mut self, now: Instant) -> Option<Duration> {
        if self.idle_at()? > now {
            return None;
        }

        self.last_write = None;
        self.keepalive.spells.map(|spells| spells.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Whether Linux gives up a healthy connection of which the first `lost` probes are lost, and when: by
    /// `tcp_keepalive_timer`, which compares before it sends the next probe.
    fn given_up(settings: &Keepalive, user_timeout: Duration, lost: u32) -> Option<Duration> {
        let Probes { idle, interval, .. } = settings.probes().unwrap();
        // The probe behind the lost ones is answered.
        (1..=lost)
            .map(|sent| idle + interval * sent)
            .find(|at| *at >= user_timeout)
    }

    #[test]
    fn all_probes_but_the_last_may_be_lost_and_then_it_is_gone_by_the_end_of_the_last() {
        for (idle, interval, probes) in [
            (10, 3, 3),
            (1, 1, 1),
            (60, 10, 5),
            (7_200, 75, 9),
            (5, 20, 2),
        ] {
            for user_timeout in [1, 5, 10, 15, 30, 10_000] {
                let settings = Keepalive::new(
                    seconds(idle),
                    seconds(interval),
                    probes,
                    seconds(user_timeout),
                );
                let limit = settings.user_timeout_while_idle().unwrap();
                let asked = seconds(user_timeout);
                let longest = asked + seconds(interval) / 2;
                assert!(
                    (asked..=longest).contains(&settings.user_timeout().unwrap()),
                    "{settings:?}"
                );
                assert_eq!(given_up(&settings, limit, probes - 1), None, "{settings:?}");
                let end = seconds(idle + interval * u64::from(probes));
                assert_eq!(
                    given_up(&settings, limit, probes),
                    Some(end),
                    "{settings:?}"
                );
            }
        }
    }

    #[test]
    fn a_connection_is_idle_again_before_a_lost_probe_is_held_against_it_and_no_sooner_than_its_bytes_are_gone()
     {
        for (idle, interval, probes) in [(10, 3, 3), (1, 1, 1), (60, 10, 5), (2, 1, 4)] {
            for user_timeout in [1, 5, 10, 14, 30, 100] {
                let settings = Keepalive::new(
                    seconds(idle),
                    seconds(interval),
                    probes,
                    seconds(user_timeout),
                );
                let (quiet, busy) = (settings.quiet(), settings.user_timeout().unwrap());
                assert!(quiet > busy, "{settings:?}: {quiet:?}");
                // With the short timeout still set, nothing is given up before it is changed.
                let found = given_up(&settings, busy, 127);
                assert!(found.is_none_or(|at| at > quiet), "{settings:?}: {found:?}");
            }
        }
    }

    #[test]
    fn an_idle_spell_costs_two_changes_and_a_write_none() {
        let settings = Keepalive::new(seconds(10), seconds(3), 3, seconds(10));
        let start = Instant::now();
        let mut activity = Activity::idle(settings);
        assert_eq!((activity.idle_at(), activity.look(start)), (None, None));

        assert_eq!(activity.write(start), Some(seconds(10)));
        for second in 1..100 {
            assert_eq!(activity.write(start + seconds(second)), None);
        }

        let at = activity.idle_at().unwrap();
        assert_eq!(at, start + seconds(99) + Duration::from_millis(11_500));
        assert_eq!(activity.look(start + seconds(110)), None);
        assert_eq!(activity.look(at), Some(Duration::from_millis(17_500)));
        assert_eq!((activity.idle_at(), activity.look(at)), (None, None));
        assert_eq!(activity.write(at), Some(seconds(10)));
    }

    #[test]
    fn a_connection_that_is_over_soon_costs_no_change_and_a_silent_one_is_idle_after_a_while() {
        let settings = Keepalive::new(seconds(10), seconds(3), 3, seconds(10));
        let start = Instant::now();

        let mut short = Activity::new(settings, start);
        assert_eq!(short.write(start + seconds(1)), None);

        let mut silent = Activity::new(settings, start);
        let at = silent.idle_at().unwrap();
        assert_eq!(at, start + Duration::from_millis(11_500));
        assert_eq!(silent.look(at), Some(Duration::from_millis(17_500)));
        assert_eq!(silent.write(at), Some(seconds(10)));
    }

    #[test]
    fn what_is_turned_off_or_beyond_the_systems_bounds_is_left_out_or_brought_within() {
        let off = Keepalive::new(seconds(0), seconds(3), 3, seconds(10));
        assert_eq!(
            (off.probes(), off.user_timeout_while_idle()),
            (None, Some(seconds(10)))
        );
        let mut activity = Activity::idle(off);
        assert_eq!(
            (activity.write(Instant::now()), activity.idle_at()),
            (None, None)
        );

        let off = Keepalive::new(seconds(10), seconds(3), 3, seconds(0));
        assert_eq!(
            (off.user_timeout(), off.user_timeout_while_idle()),
            (None, None)
        );
        let mut activity = Activity::idle(off);
        assert_eq!(
            (activity.write(Instant::now()), activity.idle_at()),
            (None, None)
        );

        let large = Keepalive::new(Duration::MAX, Duration::MAX, u32::MAX, Duration::MAX);
        assert_eq!(
            large.probes(),
            Some(Probes {
                idle: seconds(32_767),
                interval: seconds(32_767),
                count: 127,
            })
        );
        assert!(large.user_timeout().unwrap() <= Duration::from_millis(i32::MAX as u64));
        assert!(large.quiet() > large.user_timeout().unwrap());
        let small = Keepalive::new(
            Duration::from_millis(1),
            Duration::from_millis(1_001),
            0,
            seconds(1),
        );
        assert_eq!(
            small.probes(),
            Some(Probes {
                idle: seconds(1),
                interval: seconds(2),
                count: 1,
            })
        );
    }
}
