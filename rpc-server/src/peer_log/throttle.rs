//! The throttle of one kind of log lines: some lines a second, then one with the number of those left out.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::Level;
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;

use super::AUDIT;
use crate::sync::{Mutex, MutexGuard};

/// The time in which the maximum number of lines may be written.
const PERIOD: Duration = Duration::from_secs(1);

/// Log lines that a peer can cause by the thousand, as many a second as one can read. The others are counted: within
/// a second or two one line says how many were left out, so that none is lost without a trace.
///
/// For handlers that log what they are sent. Clones share the count; each kind of lines has a throttle of its own.
///
/// ```
/// use rpc_server::LogThrottle;
/// use tracing::Level;
///
/// let refused = LogThrottle::new("orders that were refused", Level::INFO, 10);
/// for order in 0..1_000 {
///     refused.write(|| tracing::info!(order, "an order was refused"));
/// }
/// ```
#[derive(Clone)]
pub struct LogThrottle(Arc<Kind>);

struct Kind {
    /// What the lines are about, in the plural.
    what: &'static str,
    level: Level,
    audience: Audience,
    lines_per_second: u32,
    /// Held for a look at the clock and an addition. A panic cannot happen within.
    period: Mutex<Period>,
}

/// Who reads the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Operators,
    Auditors,
}

struct Period {
    began: Instant,
    written: u32,
    left_out: u64,
}

/// What becomes of a line.
enum Turn {
    /// It is written, behind the summary of the lines that were left out before it.
    Written {
        left_out: u64,
    },
    /// It is the first one that is left out: the summary is due at this time.
    FirstLeftOut {
        end: Instant,
    },
    LeftOut,
}

impl LogThrottle {
    /// At most `lines_per_second` lines a second of this level. `what` says in the plural what they are about:
    /// the summary reads "further lines were left out: `what`".
    pub fn new(what: &'static str, level: Level, lines_per_second: u32) -> Self {
        Self::of(what, level, Audience::Operators, lines_per_second)
    }

    pub(super) fn of(
        what: &'static str,
        level: Level,
        audience: Audience,
        lines_per_second: u32,
    ) -> Self {
        Self(Arc::new(Kind {
            what,
            level,
            audience,
            lines_per_second,
            period: Mutex::new(Period {
                began: Instant::now(),
                written: 0,
                left_out: 0,
            }),
        }))
    }

    /// Calls `line`, which writes the line, or counts it among those that are left out.
    ///
    /// On a runtime of tokio the number of those is written when their second is over; elsewhere with the next line,
    /// or when the throttle is dropped.
    pub fn write(&self, line: impl FnOnce()) {
        if self.0.level > LevelFilter::current() {
            return;
        }

        match self.0.turn(Instant::now()) {
            Turn::Written { left_out } => {
                self.0.report_left_out(left_out);
                line();
            }
            Turn::FirstLeftOut { end } => self.report_at(end),
            Turn::LeftOut => {}
        }
    }

    /// Writes the number of lines that are left out by then.
    fn report_at(&self, end: Instant) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };

        let rest = Rest(Arc::clone(&self.0));
        let reporting = async move {
            tokio::time::sleep_until(end).await;
            drop(rest);
        };
        runtime.spawn(reporting.with_current_subscriber());
    }
}

impl Kind {
    fn turn(&self, now: Instant) -> Turn {
        let mut period = self.lock();
        if now.saturating_duration_since(period.began) >= PERIOD {
            period.began = now;
            period.written = 0;
        }

        if period.written < self.lines_per_second {
            period.written += 1;
            let left_out = std::mem::take(&mut period.left_out);
            return Turn::Written { left_out };
        }

        // Those of the last period were told with the first line of this one, where it may have any.
        period.left_out += 1;
        if period.left_out > 1 {
            return Turn::LeftOut;
        }
        Turn::FirstLeftOut {
            end: period.began + PERIOD,
        }
    }

    /// Reports what was left out so far.
    fn report_rest(&self) {
        let left_out = std::mem::take(&mut self.lock().left_out);
        self.report_left_out(left_out);
    }

    fn lock(&self) -> MutexGuard<'_, Period> {
        self.period.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how many lines were left out, where there are any, as the lines themselves are written.
    fn report_left_out(&self, left_out: u64) {
        if left_out == 0 {
            return;
        }

        let what = self.what;
        macro_rules! write_line {
            ($($level:ident)+) => {
                match (self.level, self.audience) {
                    $(
                        (Level::$level, Audience::Operators) => {
                            tracing::event!(Level::$level, left_out, "further lines were left out: {what}");
                        }
                        (Level::$level, Audience::Auditors) => {
                            tracing::event!(target: AUDIT, Level::$level, left_out, "further lines were left out: {what}");
                        }
                    )+
                }
            };
        }
        write_line!(ERROR WARN INFO DEBUG TRACE);
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        self.report_rest();
    }
}

/// What is left out and not told yet. It is told when this goes: at its time, or with the runtime.
struct Rest(Arc<Kind>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.report_rest();
    }
}

impl fmt::Debug for LogThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogThrottle")
            .field("what", &self.0.what)
            .field("level", &self.0.level)
            .field("lines_per_second", &self.0.lines_per_second)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says how many lines had been left out before each that is written.
    fn written(throttle: &LogThrottle, periods: u32, lines: u32) -> Vec<u64> {
        let began = Instant::now();
        let moments =
            (0..periods).flat_map(|period| (0..lines).map(move |_| began + PERIOD * period));
        let turns = moments.map(|moment| throttle.0.turn(moment));
        turns
            .filter_map(|turn| match turn {
                Turn::Written { left_out } => Some(left_out),
                Turn::FirstLeftOut { .. } | Turn::LeftOut => None,
            })
            .collect()
    }

    #[test]
    fn lines_that_are_left_out_are_told_with_the_next_one_or_at_the_end_without_a_runtime() {
        let some = LogThrottle::new("lines", Level::INFO, 2);
        assert_eq!(written(&some, 3, 5), [0, 0, 3, 0, 3, 0]);
        assert_eq!(some.0.lock().left_out, 3);

        let none = LogThrottle::new("lines", Level::INFO, 0);
        assert!(written(&none, 3, 5).is_empty());
        assert_eq!(none.0.lock().left_out, 15);
    }
}
