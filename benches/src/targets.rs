//! Targets of this project, and whether a run has reached them.

use crate::report::{Figures, Report};

/// One line of the summary.
struct Target {
    /// The step.
    step: &'static str,
    want: Want,
    bound: f64,
}

/// What is compared with the bound. "All" are all contenders but the limit, which does less.
enum Want {
    /// Our throughput over that of another.
    Times(&'static str),
    /// Our throughput over the best of all others.
    TimesAll,
    /// Our throughput over our own in another step.
    TimesOwn(&'static str),
    /// Our p50 over that of another, at most.
    P50(&'static str),
    /// Our p50 over the shortest of all others, at most.
    P50All,
    /// Our p50 over that of ours in another way, at least.
    P50Saved(&'static str),
    /// The step's own figure of a row, at most.
    AtMost(&'static str),
    /// Our throughput over that of another, in each step of the scenario.
    TimesEverywhere(&'static str),
    /// Our throughput.
    PerSecond,
}

const TARGETS: &[Target] = &[
    Target {
        step: "inflight-64",
        want: Want::Times("limit"),
        bound: 0.80,
    },
    Target {
        step: "inflight-64",
        want: Want::Times("http"),
        bound: 8.0,
    },
    Target {
        step: "inflight-64",
        want: Want::Times("grpc"),
        bound: 12.0,
    },
    Target {
        step: "inflight-64",
        want: Want::Times("tarpc-json"),
        bound: 6.0,
    },
    Target {
        step: "inflight-64",
        want: Want::Times("tarpc-bincode"),
        bound: 3.5,
    },
    Target {
        step: "inflight-64",
        want: Want::Times("redis"),
        bound: 2.5,
    },
    Target {
        step: "inflight-512",
        want: Want::Times("limit"),
        bound: 0.80,
    },
    Target {
        step: "inflight-512",
        want: Want::Times("http"),
        bound: 15.0,
    },
    Target {
        step: "inflight-512",
        want: Want::Times("grpc"),
        bound: 15.0,
    },
    Target {
        step: "inflight-512",
        want: Want::Times("tarpc-json"),
        bound: 8.0,
    },
    Target {
        step: "inflight-512",
        want: Want::Times("tarpc-bincode"),
        bound: 2.5,
    },
    Target {
        step: "inflight-64-unpinned",
        want: Want::Times("rpc-pinned"),
        bound: 0.60,
    },
    Target {
        step: "inflight-64-unpinned",
        want: Want::TimesAll,
        bound: 1.0,
    },
    Target {
        step: "inflight-512-unpinned",
        want: Want::Times("rpc-pinned"),
        bound: 0.60,
    },
    Target {
        step: "inflight-512-unpinned",
        want: Want::TimesAll,
        bound: 1.0,
    },
    Target {
        step: "connections-64",
        want: Want::Times("limit"),
        bound: 0.90,
    },
    Target {
        step: "connections-64",
        want: Want::Times("http"),
        bound: 1.5,
    },
    Target {
        step: "connections-64",
        want: Want::Times("grpc"),
        bound: 3.0,
    },
    Target {
        step: "inflight-1",
        want: Want::P50("limit"),
        bound: 1.10,
    },
    Target {
        step: "inflight-1",
        want: Want::P50All,
        bound: 1.0,
    },
    Target {
        step: "inflight-1",
        want: Want::P50Saved("rpc-spin"),
        bound: 4.0,
    },
    Target {
        step: "short",
        want: Want::Times("limit"),
        bound: 0.90,
    },
    Target {
        step: "short",
        want: Want::Times("http-short"),
        bound: 1.0,
    },
    Target {
        step: "idle",
        want: Want::AtMost("rpc"),
        bound: 2.0,
    },
    Target {
        step: "allocations",
        want: Want::AtMost("rpc-client"),
        bound: 0.0,
    },
    // Besides the four strings of the typed params.
    Target {
        step: "allocations",
        want: Want::AtMost("rpc-server"),
        bound: 1.0,
    },
    Target {
        step: "knee-4000",
        want: Want::TimesOwn("knee-64"),
        bound: 1.0,
    },
    Target {
        step: "knee",
        want: Want::TimesEverywhere("http"),
        bound: 1.0,
    },
    Target {
        step: "stream",
        want: Want::PerSecond,
        bound: 500_000.0,
    },
    Target {
        step: "stalled-stream",
        want: Want::AtMost("rpc"),
        bound: 1.1,
    },
];

/// A target, what was found, and whether that is enough.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) step: &'static str,
    /// In words: what is compared.
    pub(crate) what: String,
    /// The bound, with its direction.
    pub(crate) wanted: String,
    /// `None` where a figure is missing.
    pub(crate) found: Option<f64>,
    pub(crate) is_reached: bool,
}

impl Verdict {
    /// "pass", "miss", or "----" where nothing was measured.
    pub(crate) fn word(&self) -> &'static str {
        match (self.found, self.is_reached) {
            (None, _) => "----",
            (_, true) => "pass",
            (_, false) => "miss",
        }
    }
}

/// The targets of the scenarios that were run against what was measured.
pub(crate) fn judge(report: &Report) -> Vec<Verdict> {
    let was_run = |target: &&Target| {
        report
            .rows
            .iter()
            .any(|row| row.step == target.step || row.scenario == target.step)
    };

    TARGETS
        .iter()
        .filter(was_run)
        .map(|target| target.judge(report))
        .collect()
}

impl Target {
    /// Holds what was measured against the bound.
    fn judge(&self, report: &Report) -> Verdict {
        let found = self.found(report);
        let is_at_most = matches!(self.want, Want::P50(_) | Want::P50All | Want::AtMost(_));
        let is_reached = found.is_some_and(|found| {
            if is_at_most {
                found <= self.bound
            } else {
                found >= self.bound
            }
        });

        Verdict {
            step: self.step,
            what: self.what(),
            wanted: format!("{} {:.2}", if is_at_most { "≤" } else { "≥" }, self.bound),
            found,
            is_reached,
        }
    }

    /// What is compared, in words.
    fn what(&self) -> String {
        match self.want {
            Want::Times(other) => format!("throughput against {other}"),
            Want::TimesAll => "throughput against the best of all others".into(),
            Want::TimesOwn(own) => format!("throughput against its own in {own}"),
            Want::P50(other) | Want::P50Saved(other) => format!("p50 against {other}"),
            Want::P50All => "p50 against the shortest of all others".into(),
            Want::AtMost(row) if self.step == "idle" => format!("KiB a connection, {row}"),
            Want::AtMost(row) if self.step == "stalled-stream" => {
                format!("p99 over that without the stream, {row}")
            }
            Want::AtMost(row) => format!("a call, {row}"),
            Want::PerSecond => "items a second".into(),
            Want::TimesEverywhere(other) => {
                format!("throughput against {other}, where it is least")
            }
        }
    }

    /// The figure that is compared with the bound; `None` where something of it was not measured.
    fn found(&self, report: &Report) -> Option<f64> {
        let ours = || report.figures(self.step, "rpc");
        let its = |other: &str| report.figures(self.step, other);

        match self.want {
            Want::Times(other) => ours()?.throughput_over(its(other)?),
            Want::TimesAll => self
                .others(report)
                .filter_map(|its| ours()?.throughput_over(its))
                .min_by(f64::total_cmp),
            Want::TimesOwn(own) => ours()?.throughput_over(report.figures(own, "rpc")?),
            Want::P50(other) | Want::P50Saved(other) => ours()?.p50_over(its(other)?),
            Want::P50All => self
                .others(report)
                .filter_map(|its| ours()?.p50_over(its))
                .max_by(f64::total_cmp),
            // To two digits: a buffer that grew once in 200,000 calls counts as zero a call.
            Want::AtMost(row) => Some((its(row)?.extra? * 100.0).round() / 100.0),
            Want::TimesEverywhere(other) => self.least_throughput_over(other, report),
            Want::PerSecond => Some(ours()?.rps?.median),
        }
    }

    /// The figures of all contenders in the step but ours and the limit.
    fn others<'a>(&self, report: &'a Report) -> impl Iterator<Item = &'a Figures> {
        report
            .rows
            .iter()
            .filter(|row| row.step == self.step && !row.is_ours() && !row.is_limit())
            .filter_map(|row| row.outcome.as_ref().ok())
    }

    /// Our throughput over that of another, in the scenario's step where that is least.
    fn least_throughput_over(&self, other: &str, report: &Report) -> Option<f64> {
        let ours = report
            .rows
            .iter()
            .filter(|row| row.scenario == self.step && row.contender == "rpc");
        let ratios: Option<Vec<f64>> = ours
            .map(|row| {
                let its = report.figures(&row.step, other)?;
                report.figures(&row.step, "rpc")?.throughput_over(its)
            })
            .collect();

        ratios?.into_iter().min_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests;
