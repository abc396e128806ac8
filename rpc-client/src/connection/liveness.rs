//! Detects peers that are gone: by what is received, and by whether the peer takes what is sent. How much is
//! sent says nothing.
//!
//! It has no clock of its own: the driver asks when its timer fires. A read only sets a flag, so that
//! no call pays for it; the price is that a silence is noticed up to a quarter of an interval late.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::time::{MAX_TIMEOUT, earliest};

pub(crate) struct Liveness {
    ping_interval: Duration,
    ping_misses_max: u32,
    stall_timeout: Duration,
    /// Something was received since the last look.
    has_received: bool,
    /// Not before the last byte, and at most a quarter of an interval after it.
    silent_since: Instant,
    /// Pings in this silence, none of which was answered in its interval.
    pings: u32,
    /// When the silence is looked at; None while it is not watched.
    look_at: Option<Instant>,
    stall: Option<Stall>,
}

/// A write that waits for the peer.
struct Stall {
    /// Bytes that had been written when it began, and when it is over.
    written: u64,
    until: Instant,
}

/// The meaning of a server's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It may be gone, and is asked.
    Counts,
    /// It has nothing to answer, or knows no pings.
    SaysNothing,
}

/// What a look comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LivenessCheck {
    Fine,
    /// Something was received since the last look.
    Heard,
    /// Ask it: send a ping.
    Ping,
    /// The peer is gone: why.
    Dead(String),
}

impl Liveness {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            ping_interval: Duration::from_millis(config.liveness.ping_interval_ms).min(MAX_TIMEOUT),
            ping_misses_max: config.liveness.ping_misses_max,
            stall_timeout: Duration::from_millis(config.timeouts.write_stall_timeout_ms)
                .min(MAX_TIMEOUT),
            has_received: false,
            silent_since: now,
            pings: 0,
            look_at: None,
            stall: None,
        }
    }

    /// To be called with every read.
    pub(crate) fn has_received(&mut self) {
        self.has_received = true;
    }

    /// To be called while the peer does not take what is sent, with the bytes that it ever took.
    pub(crate) fn is_stalled(&mut self, written: u64) {
        if self.stall_timeout.is_zero()
            || self
                .stall
                .as_ref()
                .is_some_and(|stall| stall.written == written)
        {
            return;
        }

        self.stall = Some(Stall {
            written,
            until: Instant::now() + self.stall_timeout,
        });
    }

    /// To be called while nothing waits to be written.
    pub(crate) fn is_not_stalled(&mut self) {
        self.stall = None;
    }

    /// When to look next.
    pub(crate) fn next_look(&mut self, silence: Silence) -> Option<Instant> {
        if self.look_at.is_none() && silence == Silence::Counts && !self.ping_interval.is_zero() {
            self.begin_silence(Instant::now());
            self.look_at = Some(self.silent_since + self.ping_interval / 4);
        }
        earliest(self.look_at, self.stall.as_ref().map(|stall| stall.until))
    }

    pub(crate) fn look(&mut self, now: Instant, silence: Silence) -> LivenessCheck {
        if self.stall.as_ref().is_some_and(|stall| stall.until <= now) {
            let limit = self.stall_timeout.as_millis();
            return LivenessCheck::Dead(format!(
                "the server took no bytes for `timeouts.write_stall_timeout_ms` of {limit} ms"
            ));
        }

        if self.look_at.is_none_or(|at| at > now) {
            return LivenessCheck::Fine;
        }

        if self.has_received {
            self.begin_silence(now);
            self.look_at = Some(now + self.ping_interval / 4);
            return LivenessCheck::Heard;
        }

        if silence == Silence::SaysNothing {
            self.look_at = None;
            return LivenessCheck::Fine;
        }

        if now < self.end_of_interval() {
            self.look_at = Some(self.end_of_interval());
            return LivenessCheck::Fine;
        }

        if self.pings >= self.ping_misses_max {
            let (pings, silence) = (self.pings, (now - self.silent_since).as_millis());
            return LivenessCheck::Dead(format!(
                "nothing was received for {silence} ms, in spite of {pings} pings"
            ));
        }

        self.pings += 1;
        // After a jump of the clock, or a process that stood still, the ping still has its whole interval.
        self.silent_since = self.silent_since.max(now - self.ping_interval * self.pings);
        self.look_at = Some(self.end_of_interval());
        LivenessCheck::Ping
    }

    /// The last ping has not left yet: it has its whole interval from when it does. Meanwhile it is the
    /// stalled write that tells of a dead peer.
    pub(crate) fn ping_waits(&mut self, now: Instant) {
        self.silent_since = self.silent_since.max(now - self.ping_interval * self.pings);
    }

    fn begin_silence(&mut self, now: Instant) {
        self.has_received = false;
        self.silent_since = now;
        self.pings = 0;
    }

    /// When the interval ends that the last ping began, or the last byte.
    fn end_of_interval(&self) -> Instant {
        self.silent_since + self.ping_interval * (self.pings + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whenever it is told to, until `end` ms; `heard` ms are when something is received.
    fn course(config: &Config, heard: &[u64], end: u64) -> Vec<(u64, LivenessCheck)> {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut liveness = Liveness::new(config, began);
        liveness.silent_since = began;
        liveness.look_at = Some(at(config.liveness.ping_interval_ms / 4));
        let mut course = Vec::new();
        let mut heard = heard.iter().copied().peekable();

        while let Some(now) = liveness
            .next_look(Silence::Counts)
            .filter(|now| *now <= at(end))
        {
            while heard.next_if(|ms| at(*ms) <= now).is_some() {
                liveness.has_received();
            }

            let verdict = liveness.look(now, Silence::Counts);
            let is_dead = matches!(verdict, LivenessCheck::Dead(_));
            if !matches!(verdict, LivenessCheck::Fine | LivenessCheck::Heard) {
                course.push((u64::try_from((now - began).as_millis()).unwrap(), verdict));
            }
            if is_dead {
                break;
            }
        }

        course
    }

    #[test]
    fn silence_is_asked_about_and_two_misses_are_the_end() {
        let config = Config::default();
        let dead = |ms| {
            LivenessCheck::Dead(format!(
                "nothing was received for {ms} ms, in spite of 2 pings"
            ))
        };

        let expected = [
            (5_000, LivenessCheck::Ping),
            (10_000, LivenessCheck::Ping),
            (15_000, dead(15_000)),
        ];
        assert_eq!(course(&config, &[], 60_000), expected);

        // Noticed up to a quarter of an interval late, and never early.
        let expected = [
            (6_250, LivenessCheck::Ping),
            (11_250, LivenessCheck::Ping),
            (16_250, dead(15_000)),
        ];
        assert_eq!(course(&config, &[10], 60_000), expected);
    }

    #[test]
    fn whatever_is_received_begins_the_count_anew() {
        let every_second: Vec<_> = (0..60).map(|second| second * 1_000).collect();
        assert_eq!(course(&Config::default(), &every_second, 60_000), []);

        let answered: Vec<_> = (1..12).map(|n| n * 5_000).collect();
        let pings = course(&Config::default(), &answered, 60_000);
        assert!(
            pings
                .iter()
                .all(|(_, verdict)| *verdict == LivenessCheck::Ping),
            "{pings:?}"
        );
    }

    #[test]
    fn a_process_that_stood_still_asks_before_it_judges() {
        let config = Config::default();
        let began = Instant::now();
        let mut liveness = Liveness::new(&config, began);
        liveness.look_at = Some(began + Duration::from_secs(5));

        let late = began + Duration::from_secs(3_600);
        assert_eq!(liveness.look(late, Silence::Counts), LivenessCheck::Ping);
        assert_eq!(
            liveness.next_look(Silence::Counts),
            Some(late + Duration::from_secs(5))
        );
    }

    #[test]
    fn an_idle_connection_that_is_not_watched_needs_no_timer_until_it_is_used() {
        let began = Instant::now();
        let mut liveness = Liveness::new(&Config::default(), began);
        assert_eq!(liveness.next_look(Silence::SaysNothing), None);

        let at = liveness.next_look(Silence::Counts).unwrap();
        liveness.has_received();
        assert_eq!(liveness.look(at, Silence::Counts), LivenessCheck::Heard);

        let at = liveness.next_look(Silence::SaysNothing).unwrap();
        assert_eq!(liveness.look(at, Silence::SaysNothing), LivenessCheck::Fine);
        assert_eq!(liveness.next_look(Silence::SaysNothing), None);
    }

    #[test]
    fn no_setting_is_too_long_and_zero_turns_it_off() {
        let off = Config::default().with(|config| {
            config.liveness.ping_interval_ms = 0;
            config.timeouts.write_stall_timeout_ms = 0;
        });
        let mut liveness = Liveness::new(&off, Instant::now());
        liveness.is_stalled(0);
        assert_eq!(liveness.next_look(Silence::Counts), None);

        let endless = off.with(|config| {
            config.liveness.ping_interval_ms = u64::MAX;
            config.timeouts.write_stall_timeout_ms = u64::MAX;
        });
        let mut liveness = Liveness::new(&endless, Instant::now());
        liveness.is_stalled(0);
        let (next, much_later) = (
            liveness.next_look(Silence::Counts).unwrap(),
            Instant::now() + 2 * MAX_TIMEOUT,
        );
        assert!(next > Instant::now() + MAX_TIMEOUT / 8);
        assert!(matches!(
            liveness.look(much_later, Silence::Counts),
            LivenessCheck::Dead(_)
        ));
    }
}
