//! The knee of a latency: calls in flight at which the p99 exceeds ten times its lowest.

use super::table::Table;
use super::{Report, number};

/// How many times its lowest the p99 is at the knee.
const TIMES: f64 = 10.0;

/// Where one contender has its knee.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Knee {
    pub(crate) contender: String,
    /// The lowest p99, in microseconds, and the calls in flight that it was seen with.
    lowest_us: f64,
    at_lowest: f64,
    /// Calls in flight; none where the p99 stays below ten times its lowest.
    pub(crate) calls: Option<f64>,
    /// The most calls in flight that were tried.
    most: f64,
}

/// The knees of all contenders of the scenario, in the order of the results. Empty if the scenario has no steps over
/// the number of callers.
pub(crate) fn knees(report: &Report, scenario: &str) -> Vec<Knee> {
    let rows = || report.rows.iter().filter(|row| row.scenario == scenario);
    let mut names: Vec<&str> = Vec::new();
    for row in rows() {
        if !names.contains(&row.contender.as_str()) {
            names.push(&row.contender);
        }
    }

    let knee = |name: &str| {
        let its = rows().filter(|row| row.contender == name);
        let points = its.filter_map(|row| Some((row.x?, row.outcome.as_ref().ok()?.p99_us?)));
        Knee::of(name, points.collect())
    };
    names.into_iter().filter_map(knee).collect()
}

impl Knee {
    /// Out of pairs of calls in flight and p99, in that order.
    fn of(contender: &str, points: Vec<(f64, f64)>) -> Option<Self> {
        let lowest = points.iter().enumerate();
        let (place, (at_lowest, lowest_us)) =
            lowest.min_by(|(_, a), (_, b)| a.1.total_cmp(&b.1))?;
        let bound = lowest_us * TIMES;
        let over = points[place..].windows(2).find(|pair| pair[1].1 > bound);

        Some(Self {
            contender: contender.to_owned(),
            lowest_us: *lowest_us,
            at_lowest: *at_lowest,
            calls: over.map(|pair| crossing(pair[0], pair[1], bound)),
            most: points.last()?.0,
        })
    }

    /// The calls in flight at the knee, in words.
    pub(crate) fn calls_in_words(&self) -> String {
        match self.calls {
            Some(calls) => number(calls.round()),
            None => format!("over {}", number(self.most)),
        }
    }
}

/// Where a line from one point to the next reaches the bound, on scales on which the plots are drawn: both
/// logarithmic.
fn crossing((x0, y0): (f64, f64), (x1, y1): (f64, f64), bound: f64) -> f64 {
    let part = (bound / y0).ln() / (y1 / y0).ln();
    (x0.ln() + (x1 / x0).ln() * part).exp()
}

/// A line for each knee.
pub(crate) fn table(knees: &[Knee]) -> Table {
    let line = |knee: &Knee| {
        vec![
            knee.contender.clone(),
            number(knee.lowest_us),
            number(knee.at_lowest),
            knee.calls_in_words(),
        ]
    };

    Table {
        head: [
            "contender",
            "lowest p99 µs",
            "with calls in flight",
            "ten times that with",
        ]
        .map(String::from)
        .into(),
        lines: knees.iter().map(line).collect(),
        failures: Vec::new(),
    }
}

/// The knees in a sentence; empty without knees.
pub(super) fn headline(knees: &[Knee]) -> String {
    let parts: Vec<String> = knees
        .iter()
        .map(|knee| format!("{} {}", knee.contender, knee.calls_in_words()))
        .collect();
    if parts.is_empty() {
        return String::new();
    }

    format!(
        "The p99 exceeds ten times its lowest with this number of calls in flight: {}.",
        parts.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    fn rows(contender: &str, p99s: &[(f64, f64)]) -> Vec<crate::report::Row> {
        let at = |(x, p99_us): &(f64, f64)| {
            let mut row = row(&format!("knee-{x}"), contender, 1.0);
            row.x = Some(*x);
            row.outcome.as_mut().expect("it has figures").p99_us = Some(*p99_us);
            row
        };
        p99s.iter().map(at).collect()
    }

    #[test]
    fn the_knee_lies_where_the_line_reaches_ten_times_the_lowest_p99() {
        // The lowest is 50, with ten calls; on logarithmic scales 500 is halfway between 250 and 1,000.
        let mut all = rows(
            "http",
            &[(1.0, 60.0), (10.0, 50.0), (100.0, 250.0), (400.0, 1_000.0)],
        );
        all.extend(rows("rpc", &[(1.0, 20.0), (4_000.0, 199.0)]));

        let knees = knees(&report(all), "inflight-64");
        let found: Vec<_> = knees
            .iter()
            .map(|knee| (&*knee.contender, knee.calls_in_words()))
            .collect();
        assert_eq!(
            found,
            [("http", "200".to_owned()), ("rpc", "over 4,000".to_owned())]
        );
        assert_eq!((knees[0].lowest_us, knees[0].at_lowest), (50.0, 10.0));
        assert_eq!(
            headline(&knees),
            "The p99 exceeds ten times its lowest with this number of calls in flight: http 200; rpc over 4,000."
        );
    }

    #[test]
    fn a_high_p99_before_the_lowest_is_no_knee_and_a_scenario_without_steps_has_none() {
        let falling = rows("rpc", &[(1.0, 900.0), (10.0, 40.0), (50.0, 60.0)]);
        assert_eq!(knees(&report(falling), "inflight-64")[0].calls, None);

        let without = report(vec![row("inflight-64", "rpc", 1.0)]);
        assert_eq!(knees(&without, "inflight-64"), []);
        assert_eq!(headline(&[]), "");
    }
}
