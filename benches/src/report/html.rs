//! The page: a sentence and a plot for each scenario, in one file that needs no other.

use std::fmt::Write;

use clap::ValueEnum;

use super::headline::{Better, headline, knee_latency_headline, latency_headline};
use super::svg::{Axes, Bar, Dots, Line, Unit, bars, dots, escape, lines};
use super::table::{Table, of_scenario, of_verdicts};
use super::{Figures, Report, Row, knee, number};
use crate::contenders::Contender;
use crate::scenario::{Extra, Kind, Scenario};
use crate::targets::judge;

const STYLE: &str = "
:root{color-scheme:light dark;--page:#fff;--text:#1b2430;--quiet:#5b6675;--grid:#e3e7ec;--limit:#8a94a3;--other:#9db2c9;
--ours:#1d5fd6;--s1:#c8371f;--s2:#0b7d57;--s3:#b06a00;--s4:#7440c4;--s5:#0a7c91;--s6:#b3246f;--s7:#587a12;--pass:#0b7d57;--miss:#c8371f}
@media(prefers-color-scheme:dark){:root{--page:#14181f;--text:#e3e8ef;--quiet:#9aa6b5;--grid:#2a323d;--limit:#8a94a3;--other:#4d6078;
--ours:#6ea3ff;--s1:#ff8a70;--s2:#4cc99a;--s3:#e8b04d;--s4:#b795ff;--s5:#56c8dd;--s6:#ff85bd;--s7:#a9cc5c;--pass:#4cc99a;--miss:#ff8a70}}
body{margin:0 auto;max-width:900px;padding:24px 20px 60px;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif}
h1{margin:0 0 4px;font-size:28px}h2{margin:56px 0 4px;font-size:20px;line-height:1.35}h3{margin:28px 0 4px;font-size:17px}
p{margin:4px 0 12px}.about{color:var(--quiet)}code{font-size:.92em}
.plot{overflow-x:auto}svg{display:block;width:100%;min-width:640px;height:auto;margin:8px 0 4px}
svg text{fill:var(--text);font:13px system-ui,sans-serif}svg .quiet{fill:var(--quiet)}svg .strong{font-weight:700}
.grid{stroke:var(--grid)}.spread{stroke:var(--text);fill:none;stroke-width:1.2}
.ours{--c:var(--ours)}.limit{--c:var(--limit)}.other{--c:var(--other)}.legend{--c:var(--quiet)}
.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}.s5{--c:var(--s5)}.s6{--c:var(--s6)}.s7{--c:var(--s7)}
.fill{fill:var(--c)}.bar.limit{fill:transparent;stroke:var(--c);stroke-width:1.5;stroke-dasharray:4 3}
.line{stroke:var(--c);fill:none;stroke-width:2.2}.thin{stroke-width:1.2}.lead{stroke-width:.8;opacity:.6}.ring{fill:var(--page)}
svg text.name{fill:var(--c)}svg text.ours{font-weight:700}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:3px 10px;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}
th{color:var(--quiet);font-weight:500}.n{text-align:left}.wrap td{white-space:normal;text-align:left}
.pass{color:var(--pass);font-weight:600}.miss{color:var(--miss);font-weight:600}.failed{color:var(--miss)}
summary{cursor:pointer;color:var(--quiet)}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px}dt{font-weight:600}dd{margin:0}
";

/// The page of what was measured so far.
pub(super) fn page(report: &Report, scenarios: &[Scenario]) -> String {
    let mut page = format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width,initial-scale=1'>\
         <title>Benchmarks</title><style>{STYLE}</style>\n\
         <h1>Benchmarks</h1>\
         <p>One call that sends a log entry and receives a receipt, made by each contender in its own way. \
         Every figure is the median of several rounds; in each round all contenders had a turn. \
         The thin whisker on a bar goes from the worst round to the best; behind a bar stands how it relates to rpc.</p>\n"
    );

    page += "<dl>";
    for contender in Contender::value_variants() {
        let takes_part = report
            .rows
            .iter()
            .any(|row| row.contender == contender.name());
        let help = contender
            .to_possible_value()
            .and_then(|value| value.get_help().map(ToString::to_string));

        if let Some(help) = help.filter(|_| takes_part) {
            write!(
                page,
                "<dt>{}</dt><dd>{}</dd>",
                contender.name(),
                escape(&help)
            )
            .expect("a string grows");
        }
    }
    page += "</dl>\n";

    for scenario in scenarios {
        let rows: Vec<&Row> = report
            .rows
            .iter()
            .filter(|row| row.scenario == scenario.name)
            .collect();

        if !rows.is_empty() {
            page += &Section::of(report, scenario, &rows).html();
        }
    }

    let verdicts = judge(report);
    if !verdicts.is_empty() {
        page += "<h2>The targets</h2>";
        page += &table(&of_verdicts(&verdicts));
    }

    page += "<h2>The machine</h2><div class='wide wrap'><table>";
    for (name, value) in &report.facts {
        write!(
            page,
            "<tr><th class='n'>{name}</th><td>{}</td></tr>",
            escape(value)
        )
        .expect("a string grows");
    }

    page + "</table></div>\n"
}

/// One scenario of the page under way.
struct Section<'a> {
    report: &'a Report,
    scenario: &'a Scenario,
    /// The scenario's rows.
    rows: &'a [&'a Row],
    /// Those that are in the plots, with their figures.
    shown: Vec<(&'a Row, &'a Figures)>,
}

impl<'a> Section<'a> {
    fn of(report: &'a Report, scenario: &'a Scenario, rows: &'a [&'a Row]) -> Self {
        // The limit's ways to write are in the table; its best stands for it.
        let shown = rows
            .iter()
            .filter(|row| !row.contender.starts_with("limit-"))
            .filter_map(|row| Some((*row, row.outcome.as_ref().ok()?)))
            .collect();

        Self {
            report,
            scenario,
            rows,
            shown,
        }
    }

    /// A sentence, the plots, and all figures in a table.
    fn html(&self) -> String {
        let scenario = self.scenario;
        let mut section = format!(
            "<h2 id='{0}'>{1}</h2><p class='about'><code>{0}</code>: {2}</p>\n",
            scenario.name,
            escape(&headline(scenario, self.rows)),
            escape(scenario.about)
        );

        section += &self.plot();
        if scenario.name.starts_with("inflight") || scenario.name == "connections-64" {
            section += &self.latencies();
        }

        let of_scenario = of_scenario(self.report, scenario);
        for failure in &of_scenario.failures {
            write!(section, "<p class='failed'>{}</p>", escape(failure)).expect("a string grows");
        }

        if scenario.kind == Kind::Allocations {
            section + &table(&of_scenario)
        } else {
            section
                + "<details><summary>all figures</summary>"
                + &table(&of_scenario)
                + "</details>\n"
        }
    }

    /// The plot of what the scenario is about.
    fn plot(&self) -> String {
        match (self.scenario.kind, self.scenario.extra) {
            (Kind::OpenLoop(_), _) => self.latencies_over_rates(),
            (Kind::Loads, _) if self.rows.iter().any(|row| row.x.is_some()) => self.over_callers(),
            (_, Extra::P99Over(without)) => self.with_and_without(without),
            (_, Extra::KibPerConnection) => {
                self.bars(Better::Less, "KiB of the server's memory a connection")
            }
            (_, Extra::Seconds(calls)) if self.scenario.kind == Kind::Loads => self.bars(
                Better::Less,
                &format!("seconds for {} calls (shorter is better)", number(calls)),
            ),
            (_, Extra::AllocationsPerCall) => String::new(),
            (Kind::Idle(_), _) => self.bars(Better::More, "connects with a first call, a second"),
            _ => self.bars(Better::More, "calls a second"),
        }
    }

    fn bars(&self, better: Better, axis: &str) -> String {
        bars(&all_bars(&self.shown, better), axis)
    }

    fn latencies_over_rates(&self) -> String {
        let over_rate = |y, figure: fn(&Figures) -> Option<f64>| {
            let axes = Axes {
                x: "calls asked for a second",
                y,
                is_x_log: true,
                is_y_log: true,
                y_unit: Unit::Time,
            };
            lines(&series(&self.shown, figure), &axes)
        };

        over_rate("p99, from when the call was due", |figures| figures.p99_us)
            + &over_rate("p50, from when the call was due", |figures| figures.p50_us)
    }

    /// Throughput and latency over the number of callers, in a plot each.
    fn over_callers(&self) -> String {
        let over_callers = |y, y_unit, figure: fn(&Figures) -> Option<f64>| {
            let axes = Axes {
                x: "concurrent callers",
                y,
                is_x_log: true,
                is_y_log: true,
                y_unit,
            };
            lines(&series(&self.shown, figure), &axes)
        };

        over_callers("calls a second", Unit::Number, |figures| {
            Some(figures.rps?.median)
        }) + &format!("<h3>{}</h3>", escape(&knee_latency_headline(self.rows)))
            + &over_callers("p99", Unit::Time, |figures| figures.p99_us)
            + &format!(
                "<p>{}</p>",
                escape(&knee::headline(&knee::knees(
                    self.report,
                    self.scenario.name
                )))
            )
    }

    /// The p99 of the scenario beside that of the step `without`.
    fn with_and_without(&self, without: &str) -> String {
        let with = self.scenario.name;
        let p99 = |step: &str, contender: &str| self.report.figures(step, contender)?.p99_us;

        let both = self
            .shown
            .iter()
            .filter(|(row, _)| row.step == with)
            .filter_map(|(row, _)| {
                let values = vec![p99(without, &row.contender)?, p99(with, &row.contender)?];
                Some(Dots {
                    label: row.contender.clone(),
                    class: class(row).into(),
                    values,
                })
            });

        dots(
            &both.collect::<Vec<_>>(),
            &["without it", "with it"],
            "p99 of the fast calls",
        )
    }

    /// A sentence about the latencies and their plot, the shortest first.
    fn latencies(&self) -> String {
        let latencies = self.shown.iter().filter_map(|(row, figures)| {
            let values = vec![figures.p50_us?, figures.p99_us?, figures.p999_us?];
            Some(Dots {
                label: label(row),
                class: class(row).into(),
                values,
            })
        });
        let mut latencies: Vec<Dots> = latencies.collect();
        latencies.sort_by(|a, b| a.values[0].total_cmp(&b.values[0]));

        let plot = dots(
            &latencies,
            &[
                "half of the calls (p50)",
                "99 of 100 (p99)",
                "999 of 1,000 (p999)",
            ],
            "time of a call (the figure at the end is the p999)",
        );

        format!("<h3>{}</h3>{plot}", escape(&latency_headline(self.rows)))
    }
}

fn table(table: &Table) -> String {
    if table.lines.is_empty() {
        return String::new();
    }

    let mut html = String::from("<div class='wide'><table>");
    for (i, line) in std::iter::once(&table.head).chain(&table.lines).enumerate() {
        html += "<tr>";
        let tag = if i == 0 { "th" } else { "td" };

        for (column, cell) in line.iter().enumerate() {
            let class = match cell.as_str() {
                "pass" | "miss" => cell,
                _ if table.is_name(column) => "n",
                _ => "",
            };
            write!(html, "<{tag} class='{class}'>{}</{tag}>", escape(cell))
                .expect("a string grows");
        }

        html += "</tr>";
    }

    html + "</table></div>\n"
}

fn class(row: &Row) -> &'static str {
    match row.contender.as_str() {
        "rpc" => "ours",
        _ if row.is_limit() => "limit",
        _ => "other",
    }
}

fn label(row: &Row) -> String {
    format!("{}{}", row.contender, row.note)
}

/// The best first, each with its relation to ours.
fn all_bars(shown: &[(&Row, &Figures)], better: Better) -> Vec<Bar> {
    let value = |figures: &Figures| match better {
        Better::More => figures.rps.map(|rps| rps.median),
        Better::Less => figures.extra,
    };

    let ours = shown
        .iter()
        .find(|(row, _)| row.contender == "rpc")
        .map(|(_, figures)| *figures);

    let bar = |(row, figures): &(&Row, &Figures)| {
        let value = value(figures)?;
        let note = match ours.filter(|_| row.contender != "rpc") {
            Some(ours) if better == Better::More => {
                format!("  · rpc has {} ×", number(ours.throughput_over(figures)?))
            }
            Some(ours) => format!("  · {} × rpc's", number(value / ours.extra?)),
            None => String::new(),
        };

        let spread = figures
            .rps
            .filter(|_| better == Better::More)
            .map(|rps| (rps.min, rps.max));

        Some(Bar {
            label: label(row),
            class: class(row).into(),
            value,
            spread,
            note,
        })
    };

    let mut bars: Vec<Bar> = shown.iter().filter_map(bar).collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    if better == Better::More {
        bars.reverse();
    }

    bars
}

/// A line for each contender, in the order in which they appear.
fn series(shown: &[(&Row, &Figures)], figure: fn(&Figures) -> Option<f64>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (row, figures) in shown {
        let (Some(x), Some(y)) = (row.x, figure(figures)) else {
            continue;
        };

        if let Some(line) = lines.iter_mut().find(|line| line.label == row.contender) {
            line.points.push((x, y));
        } else {
            let others = lines.iter().filter(|line| line.class != "ours").count();
            let class = if row.contender == "rpc" {
                "ours".into()
            } else {
                format!("s{}", others % 7 + 1)
            };

            lines.push(Line {
                label: row.contender.clone(),
                class,
                points: vec![(x, y)],
            });
        }
    }

    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, row};
    use crate::scenario::Extent;

    #[test]
    fn the_page_escapes_what_it_is_given() {
        let scenarios = crate::scenario::all(&[Contender::Rpc], Extent::Quick);
        let page = page(&report(vec![row("inflight-64", "rpc", 1.0)]), &scenarios);

        assert!(page.contains("one &lt;fast&gt; core"), "{page}");
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "it must not need the network"
        );
    }
}
