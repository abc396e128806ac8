//! Reports of the last minutes, for the page and for `stats`.

use std::time::Duration;

use rpc_core::Code;
use serde::Serialize;

use super::recent::{Lately, Window, Windows};
use super::report::LatencyReport;
use super::{CODES, CommandName, Counts, by_name, code_index, failures, name_of};

/// Failed calls of a minute below which their share says nothing.
const FAILED_LEAST: u64 = 5;

/// The share of failed calls, in percent, from which on an operator should look.
const NOTICED_PERCENT: u64 = 5;

/// The share of failed calls, in percent, from which on the server is of little use, whatever their codes.
const CRITICAL_PERCENT: u64 = 50;

/// The same for codes that are the server's fault.
const CRITICAL_FAULTS_PERCENT: u64 = 10;

/// Codes that blame the server, its load or what it depends on, and not the caller.
const FAULTS: [Code; 6] = [
    Code::UNKNOWN,
    Code::DEADLINE_EXCEEDED,
    Code::RESOURCE_EXHAUSTED,
    Code::INTERNAL,
    Code::UNAVAILABLE,
    Code::DATA_LOSS,
];

/// What has happened in the last minutes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecentReport {
    /// The last minute, and up to ten seconds more.
    pub minute: WindowReport,
    /// The last five minutes, and up to ten seconds more.
    pub five_minutes: WindowReport,
    /// The last half hour.
    pub history: HistoryReport,
    /// The last failures, by command and code, the last one first; at most 20.
    pub failures: Vec<FailureReport>,
    /// The slowest calls of the last five to six minutes, the slowest first; at most 10. What took
    /// less than a millisecond is not among them.
    pub slowest: Vec<CallReport>,
}

/// What calls came to in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WindowReport {
    /// How long it was, in milliseconds: less than its name says while the server is young.
    pub span_ms: u64,
    /// Calls that ended, by the name of their code; in the sums of all commands, with the replies that do not belong to
    /// a call.
    pub calls: Counts,
    /// How many of them failed: all codes but OK and CANCELLED.
    pub failed: u64,
    /// From the receipt of a request to just before its reply is written.
    pub latency: LatencyReport,
}

/// A line of history for each of three figures, the oldest point first; at most 180 points.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HistoryReport {
    /// The time from a point to the next, in milliseconds.
    pub interval_ms: u64,
    /// Calls that ended, each second.
    pub calls_per_second: Vec<f64>,
    /// Those of them that failed, each second.
    pub failed_per_second: Vec<f64>,
    /// 99 of 100 calls took no longer, in microseconds.
    pub p99_us: Vec<u64>,
}

/// One call, without anything that it was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallReport {
    /// Its command; none for all that are not registered.
    pub cmdid: Option<u32>,
    /// The service that the command belongs to.
    pub service: String,
    /// The command's name there.
    pub method: String,
    /// The name of its code; `OF_SERVICES` for all codes of services.
    pub code: &'static str,
    /// How long ago it ended, in milliseconds.
    pub ago_ms: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// The number of its connection.
    pub connection: u64,
    /// The address of its peer.
    pub peer: String,
}

/// Calls of one command that failed with one code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureReport {
    /// How many there were for as long as they have been in this list.
    pub times: u64,
    /// The last one.
    #[serde(flatten)]
    pub last: CallReport,
}

/// How bad things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Nothing to do.
    Good,
    /// An operator should look, in the morning.
    Warning,
    /// An operator should look now.
    Critical,
}

/// Calls fail, enough of them that an operator should know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    pub(crate) severity: Severity,
    /// A sentence with the figures.
    pub(crate) problem: String,
}

impl Lately {
    pub(crate) fn report(
        &self,
        failures: Vec<FailureReport>,
        slowest: Vec<CallReport>,
    ) -> RecentReport {
        let WindowReports {
            minute,
            five_minutes,
        } = self.windows(&self.all);
        RecentReport {
            minute,
            five_minutes,
            history: self.history.clone(),
            failures,
            slowest,
        }
    }

    /// The last minute and the last five of the command at this place.
    pub(super) fn of_command(&self, place: usize) -> WindowReports {
        let unused = Windows::default();
        self.windows(self.commands.get(&place).unwrap_or(&unused))
    }

    fn windows(&self, windows: &Windows) -> WindowReports {
        WindowReports {
            minute: WindowReport::new(self.minute, &windows.minute),
            five_minutes: WindowReport::new(self.five_minutes, &windows.five_minutes),
        }
    }

    /// What the failures of the last minute mean for an operator; none where they are few.
    pub(crate) fn failing(&self, commands: &[CommandName]) -> Option<Failing> {
        let all = &self.all.minute;
        let (calls, failed) = (all.count(), all.failed());
        let is_over = |failed: u64, percent: u64| {
            failed >= FAILED_LEAST
                && u128::from(failed) * 100 >= u128::from(calls) * u128::from(percent)
        };

        if !is_over(failed, NOTICED_PERCENT) {
            return None;
        }

        let faults: u64 = FAULTS
            .map(|code| all.calls[usize::from(code_index(code))])
            .iter()
            .sum();
        let is_critical =
            is_over(failed, CRITICAL_PERCENT) || is_over(faults, CRITICAL_FAULTS_PERCENT);

        let percent = failed.saturating_mul(100) / calls.max(1);
        let most = self.most_frequent_failure(commands);
        Some(Failing {
            severity: if is_critical {
                Severity::Critical
            } else {
                Severity::Warning
            },
            problem: format!(
                "{percent} % of the calls of the last minute failed ({failed} of {calls}), most often {most}."
            ),
        })
    }

    /// The command and the code of most failures of the last minute.
    fn most_frequent_failure(&self, commands: &[CommandName]) -> String {
        let of_commands = self.commands.iter().flat_map(|(place, windows)| {
            failures(&windows.minute.calls).map(|(code, count)| (count, Some(*place), code))
        });

        // Those that do not belong to a call: bad lines, refusals.
        let mut rest = self.all.minute.calls;
        for windows in self.commands.values() {
            for (rest, calls) in rest.iter_mut().zip(&windows.minute.calls) {
                *rest = rest.saturating_sub(*calls);
            }
        }
        let others = failures(&rest).map(|(code, count)| (count, None, code));

        match of_commands.chain(others).max() {
            Some((_, Some(place), code)) => {
                let CommandName {
                    service, method, ..
                } = &commands[place];
                format!("`{service}.{method}` with {}", said(code))
            }
            Some((_, None, code)) => {
                format!("lines and calls that were refused, with {}", said(code))
            }
            None => "in ways that are not known".to_owned(),
        }
    }
}

/// A code as a person reads it.
fn said(code: usize) -> String {
    match code {
        code if code + 1 == CODES => "a code of its service".to_owned(),
        code => format!("code {code} {}", name_of(code)),
    }
}

/// The windows of one command, or of all.
pub(super) struct WindowReports {
    pub(super) minute: WindowReport,
    pub(super) five_minutes: WindowReport,
}

impl WindowReport {
    fn new(span: Duration, window: &Window) -> Self {
        Self {
            span_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            calls: by_name(window.calls.into_iter()),
            failed: window.failed(),
            latency: LatencyReport::new(&window.latency),
        }
    }
}

#[cfg(test)]
mod tests;
