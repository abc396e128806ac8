//! The results for programs. No field has a comma or a quote in it.

use std::fmt::Write;

use super::{Report, Round, knee};
use crate::scenario::Scenario;

/// All that concerns calls. Where a contender failed, its figures are empty.
pub(crate) fn results(report: &Report) -> String {
    let mut text = String::from(
        "contender,scenario,rps,p50_us,p99_us,p999_us,server_cpu_us,client_cpu_us,ratio\n",
    );
    for row in &report.rows {
        let figures = row.outcome.clone().unwrap_or_default();
        let columns = [
            (figures.rps.map(|rps| rps.median), 0),
            (figures.p50_us, 1),
            (figures.p99_us, 1),
            (figures.p999_us, 1),
            (figures.server_cpu_us, 3),
            (figures.client_cpu_us, 3),
            (report.ratio(row), 3),
        ];

        write!(text, "{},{}", row.contender, row.step).expect("a string grows");
        for (value, digits) in columns {
            text.push_str(&value.map_or(",".into(), |value| format!(",{value:.digits$}")));
        }
        text.push('\n');
    }

    text
}

/// The figures that only some scenarios have. A knee that was not reached is empty.
pub(crate) fn extra(report: &Report, scenarios: &[Scenario]) -> String {
    let mut text = String::from("contender,scenario,figure,value\n");
    for row in &report.rows {
        let extra = row.outcome.as_ref().ok().and_then(|figures| figures.extra);
        let scenario = scenarios
            .iter()
            .find(|scenario| scenario.name == row.scenario);

        if let (Some(extra), Some(scenario)) = (extra, scenario) {
            let heading = scenario.extra.heading();
            writeln!(text, "{},{},{heading},{extra:.4}", row.contender, row.step)
                .expect("a string grows");
        }
    }

    for scenario in scenarios {
        for knee in knee::knees(report, scenario.name) {
            let calls = knee.calls.map(|calls| format!("{calls:.0}"));
            writeln!(
                text,
                "{},{},calls in flight at ten times the lowest p99,{}",
                knee.contender,
                scenario.name,
                calls.unwrap_or_default()
            )
            .expect("a string grows");
        }
    }

    text
}

/// Each round by itself.
pub(crate) fn rounds(report: &Report) -> String {
    let mut text = String::from("contender,scenario,round,rps,p50_us\n");
    for row in &report.rows {
        for Round {
            number,
            rps,
            p50_us,
        } in row.outcome.iter().flat_map(|figures| &figures.rounds)
        {
            writeln!(
                text,
                "{},{},{},{rps:.0},{p50_us:.1}",
                row.contender,
                row.step,
                number + 1
            )
            .expect("a string grows");
        }
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};

    #[test]
    fn what_does_not_apply_is_empty_and_every_line_has_nine_fields() {
        let mut failed = row("inflight-64", "http", 1.0);
        failed.outcome = Err("it ended, early".into());

        let text = results(&report(vec![
            row("inflight-64", "rpc", 300.4),
            row("inflight-64", "limit", 400.0),
            failed,
        ]));
        let lines: Vec<&str> = text.lines().collect();

        assert_eq!(lines[1], "rpc,inflight-64,300,10.0,20.0,,,,1.000");
        assert_eq!(lines[2], "limit,inflight-64,400,10.0,20.0,,,,0.751");
        assert_eq!(lines[3], "http,inflight-64,,,,,,,");
        assert!(
            lines.iter().all(|line| line.split(',').count() == 9),
            "{text}"
        );
    }
}
