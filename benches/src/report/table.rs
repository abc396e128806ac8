//! Tables, as text and as the cells of the page's.

use super::{Report, Row, number};
use crate::scenario::Scenario;
use crate::targets::Verdict;

/// A heading and lines below it, all of the same length.
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) lines: Vec<Vec<String>>,
    /// Who failed, and why.
    pub(crate) failures: Vec<String>,
}

/// What a scenario showed. Columns in which nothing stands are left out.
pub(crate) fn of_scenario(report: &Report, scenario: &Scenario) -> Table {
    let rows: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.scenario == scenario.name)
        .collect();

    let mut head: Vec<String> = [
        "step",
        "contender",
        "calls/s",
        "(min–max)",
        "p50 µs",
        "p99 µs",
        "p999 µs",
        "server CPU µs",
        "client CPU µs",
        "ours/its",
    ]
    .map(String::from)
    .into();
    head.push(scenario.extra.heading().into());

    let mut lines = Vec::new();
    let mut failures = Vec::new();
    let text = |value: Option<f64>| value.map(number).unwrap_or_default();
    for row in rows {
        let figures = match &row.outcome {
            Ok(figures) => figures,
            Err(error) => {
                failures.push(format!("{} failed in {}: {error}", row.contender, row.step));
                continue;
            }
        };

        lines.push(vec![
            if scenario.steps.len() == 1 && row.step == scenario.name {
                String::new()
            } else {
                row.step.clone()
            },
            format!("{}{}", row.contender, row.note),
            text(figures.rps.map(|rps| rps.median)),
            figures
                .rps
                .map(|rps| format!("({}–{})", number(rps.min), number(rps.max)))
                .unwrap_or_default(),
            text(figures.p50_us),
            text(figures.p99_us),
            text(figures.p999_us),
            text(figures.server_cpu_us),
            text(figures.client_cpu_us),
            text(report.ratio(row)),
            text(figures.extra),
        ]);
    }

    let used: Vec<bool> = (0..head.len())
        .map(|column| lines.iter().any(|line| !line[column].is_empty()))
        .collect();
    for line in std::iter::once(&mut head).chain(&mut lines) {
        let mut used = used.iter();
        line.retain(|_| used.next() == Some(&true));
    }

    Table {
        head,
        lines,
        failures,
    }
}

/// The targets and what was found.
pub(crate) fn of_verdicts(verdicts: &[Verdict]) -> Table {
    let line = |verdict: &Verdict| {
        vec![
            verdict.step.to_owned(),
            verdict.what.clone(),
            verdict.wanted.clone(),
            verdict
                .found
                .map_or_else(|| "not measured".into(), |found| format!("{found:.3}")),
            verdict.word().to_owned(),
        ]
    };

    Table {
        head: ["scenario", "what", "wanted", "found", ""]
            .map(String::from)
            .into(),
        lines: verdicts.iter().map(line).collect(),
        failures: Vec::new(),
    }
}

impl Table {
    /// Aligned: names to the left, figures to the right.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.lines.is_empty() {
            for line in std::iter::once(&self.head).chain(&self.lines) {
                let mut cells = Vec::new();
                for (column, cell) in line.iter().enumerate() {
                    let lines = std::iter::once(&self.head).chain(&self.lines);
                    let width = lines
                        .map(|line| line[column].chars().count())
                        .max()
                        .unwrap_or(0);

                    let padded = if self.is_name(column) {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    };
                    cells.push(format!("  {padded}"));
                }

                text.push_str(cells.concat().trim_end());
                text.push('\n');
            }
        }

        for failure in &self.failures {
            text.extend(["  ", failure, "\n"]);
        }

        text
    }

    /// Whether a column holds names.
    pub(crate) fn is_name(&self, column: usize) -> bool {
        matches!(
            self.head[column].as_str(),
            "step" | "contender" | "scenario" | "what"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::Contender;
    use crate::report::tests::{report, row};
    use crate::scenario::Extent;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut failed = row("inflight-64", "http", 1.0);
        failed.outcome = Err("it ended".into());
        let report = report(vec![
            row("inflight-64", "rpc", 1_000.0),
            row("inflight-64", "limit", 900.0),
            failed,
        ]);

        let scenarios = crate::scenario::all(&[Contender::Rpc], Extent::Quick);
        let scenario = scenarios
            .iter()
            .find(|scenario| scenario.name == "inflight-64")
            .expect("it is in the list");

        assert_eq!(
            of_scenario(&report, scenario).text(),
            "  contender  calls/s      (min–max)  p50 µs  p99 µs  ours/its\n\
             \u{20}\u{20}rpc          1,000  (1,000–1,000)    10.0    20.0      1.00\n\
             \u{20}\u{20}limit          900      (900–900)    10.0    20.0      1.11\n\
             \u{20}\u{20}http failed in inflight-64: it ended\n"
        );
    }
}
