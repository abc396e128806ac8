//! The tables of a run, as a page that a repository shows.

use std::fmt::Write;

use super::table::{of_scenario, of_verdicts};
use super::{Report, knee};
use crate::scenario::Scenario;
use crate::targets::judge;

/// The machine, a table for each scenario, and the targets.
pub(super) fn page(report: &Report, scenarios: &[Scenario]) -> String {
    let mut page = String::from("# One run of the benchmarks\n\n| | |\n| --- | --- |\n");
    for (name, value) in &report.facts {
        writeln!(page, "| {name} | {} |", value.replace('|', "\\|")).expect("a string grows");
    }

    let verdicts = judge(report);
    if !verdicts.is_empty() {
        page += &block(
            "The targets",
            "What this project wants to reach, and whether it did.",
            &of_verdicts(&verdicts).text(),
        );
    }

    for scenario in scenarios {
        if report.rows.iter().any(|row| row.scenario == scenario.name) {
            page += &block(
                scenario.name,
                scenario.about,
                &of_scenario(report, scenario).text(),
            );

            let knees = knee::knees(report, scenario.name);
            if !knees.is_empty() {
                writeln!(
                    page,
                    "\nCalls in flight with which the p99 exceeds ten times its lowest:\n\n```text\n{}```",
                    knee::table(&knees).text()
                )
                .expect("a string grows");
            }
        }
    }

    page
}

fn block(heading: &str, about: &str, table: &str) -> String {
    format!("\n## {heading}\n\n{about}\n\n```text\n{table}```\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::Contender;
    use crate::report::tests::{report, row};
    use crate::scenario::Extent;

    #[test]
    fn only_what_was_measured_has_a_table() {
        let scenarios = crate::scenario::all(&[Contender::Rpc, Contender::Limit], Extent::Quick);
        let page = page(
            &report(vec![
                row("inflight-64", "rpc", 90.0),
                row("inflight-64", "limit", 100.0),
            ]),
            &scenarios,
        );

        assert!(page.contains("| processor | one <fast> core |"), "{page}");
        let headings: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        assert_eq!(headings, ["## The targets", "## inflight-64"]);
        assert!(page.contains("0.900  pass"), "{page}");
    }
}
