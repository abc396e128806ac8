//! Quiet hours: times of the day at which no advertising is sent.

use std::error::Error;
use std::fmt;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Hours of each day in a time zone, as `21:00-09:00` in `Asia/Shanghai`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    until: Time,
    zone: TimeZone,
}

impl QuietHours {
    /// Reads hours and the name of a zone.
    ///
    /// # Errors
    /// Hours that are not two times of a day, a zone that does not exist.
    pub fn new(hours: &str, zone: &str) -> Result<Self, QuietError> {
        let wrong = || QuietError::Hours(hours.to_owned());
        let (from, until) = hours.split_once('-').ok_or_else(wrong)?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| wrong());
        let (from, until) = (time(from)?, time(until)?);
        if from == until {
            return Err(wrong());
        }

        let zone = TimeZone::get(zone).map_err(|_| QuietError::Zone(zone.to_owned()))?;
        Ok(Self { from, until, zone })
    }

    /// The end of the quiet hours that a time lies in, in milliseconds since 1970; `None` if it lies in none.
    pub fn end_of(&self, now_ms: u64) -> Option<u64> {
        let now = i64::try_from(now_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())?;
        let now = now.to_zoned_datetime(self.zone.clone());
        let time = now.time();

        let is_over_midnight = self.from > self.until;
        let is_quiet = if is_over_midnight {
            time >= self.from || time < self.until
        } else {
            (self.from..self.until).contains(&time)
        };
        if !is_quiet {
            return None;
        }

        let ends_today = time < self.until;
        let day = if ends_today {
            now.date()
        } else {
            now.date().checked_add(1.day()).ok()?
        };
        let end = self.zone.to_timestamp(day.to_datetime(self.until)).ok()?;
        u64::try_from(end.as_millisecond()).ok()
    }
}

/// Quiet hours that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuietError {
    /// These are not hours of a day.
    Hours(String),
    /// There is no such zone.
    Zone(String),
}

impl fmt::Display for QuietError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours(hours) => write!(
                f,
                "`hours` = \"{hours}\" must be two different times of the day, for example \"21:00-09:00\""
            ),
            Self::Zone(zone) => write!(
                f,
                "`zone` = \"{zone}\" is not a time zone; name one, for example \"Asia/Shanghai\" or \"UTC\""
            ),
        }
    }
}

impl Error for QuietError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        let time: Timestamp = text.parse().unwrap();
        time.as_millisecond().try_into().unwrap()
    }

    #[track_caller]
    fn check(quiet: &QuietHours, at: &str, end: Option<&str>) {
        assert_eq!(quiet.end_of(ms(at)), end.map(ms), "{at}");
    }

    #[test]
    fn quiet_hours_go_over_midnight_and_end_in_the_morning_of_their_zone() {
        let quiet = QuietHours::new("21:00-09:00", "Asia/Shanghai").unwrap();
        check(&quiet, "2026-03-01T20:59:59.999+08:00", None);
        check(
            &quiet,
            "2026-03-01T21:00:00+08:00",
            Some("2026-03-02T09:00:00+08:00"),
        );
        check(
            &quiet,
            "2026-03-02T08:59:59+08:00",
            Some("2026-03-02T09:00:00+08:00"),
        );
        check(&quiet, "2026-03-02T09:00:00+08:00", None);
        check(
            &quiet,
            "2026-12-31T23:00:00+08:00",
            Some("2027-01-01T09:00:00+08:00"),
        );
    }

    #[test]
    fn quiet_hours_follow_the_clocks_of_their_zone() {
        // In this night the clocks go forward from 2 to 3.
        let quiet = QuietHours::new("22:00-08:00", "Europe/Berlin").unwrap();
        check(
            &quiet,
            "2026-03-28T22:30:00+01:00",
            Some("2026-03-29T08:00:00+02:00"),
        );
        let noon = QuietHours::new("12:00-13:30", "UTC").unwrap();
        check(&noon, "2026-03-28T13:00:00Z", Some("2026-03-28T13:30:00Z"));
        check(&noon, "2026-03-28T13:30:00Z", None);
    }

    #[test]
    fn hours_and_zones_that_cannot_be_are_refused() {
        for wrong in [
            "",
            "21:00",
            "9-21",
            "21:00-24:00",
            "09:00-09:00",
            "21:00-09:00-10:00",
        ] {
            let error = QuietHours::new(wrong, "UTC").unwrap_err();
            assert!(error.to_string().contains("21:00-09:00"), "{error}");
        }
        let error = QuietHours::new("21:00-09:00", "Asia/Beijing2").unwrap_err();
        assert!(error.to_string().contains("Asia/Beijing2"), "{error}");
    }
}
