//! Results and their forms: tables, files, a page.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::scenario::Scenario;

pub(crate) mod csv;
pub(crate) mod facts;
mod headline;
mod html;
pub(crate) mod knee;
mod markdown;
mod svg;
pub(crate) mod table;

/// The middle of several rounds, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);

        let upper = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[upper - 1], values[upper])
        } else {
            values[upper]
        };

        Some(Self { median, min, max })
    }
}

/// What one contender's turn in one round showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    pub(crate) number: usize,
    pub(crate) rps: f64,
    pub(crate) p50_us: f64,
}

/// The medians of one contender's rounds in one step; `None` where a figure does not apply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) rps: Option<Spread>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    pub(crate) server_cpu_us: Option<f64>,
    pub(crate) client_cpu_us: Option<f64>,
    /// How late the load was to start 99 of 100 calls that were due, where they are due at fixed times.
    pub(crate) late_p99_us: Option<f64>,
    /// What the medians are of, in the order of the rounds.
    pub(crate) rounds: Vec<Round>,
    /// The scenario's own figure, see `scenario::Extra`.
    pub(crate) extra: Option<f64>,
}

impl Figures {
    /// Our throughput over its.
    pub(crate) fn throughput_over(&self, its: &Self) -> Option<f64> {
        let paired = self.paired(its, |round| round.rps);
        paired.or_else(|| Some(self.rps?.median / its.rps?.median))
    }

    /// Our p50 over its.
    pub(crate) fn p50_over(&self, its: &Self) -> Option<f64> {
        self.paired(its, |round| round.p50_us)
            .or_else(|| Some(self.p50_us? / its.p50_us?))
    }

    /// The median of what each round shows by itself: a machine that changes its pace from round to round
    /// changes it for both.
    fn paired(&self, its: &Self, figure: fn(&Round) -> f64) -> Option<f64> {
        let of_round = |number| its.rounds.iter().find(|its| its.number == number);
        let both = self
            .rounds
            .iter()
            .filter_map(|ours| Some((ours, of_round(ours.number)?)));

        Spread::of(both.map(|(ours, its)| figure(ours) / figure(its))).map(|ratio| ratio.median)
    }
}

/// One contender in one step.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) step: String,
    /// Where it lies on the plot's axis.
    pub(crate) x: Option<f64>,
    pub(crate) contender: String,
    /// Is written after the name.
    pub(crate) note: String,
    /// Or the reason for having none.
    pub(crate) outcome: Result<Figures, String>,
}

impl Row {
    /// Whether this is this project, in whatever way.
    pub(crate) fn is_ours(&self) -> bool {
        self.contender == "rpc" || self.contender.starts_with("rpc-")
    }

    /// Whether this is the limit, or one of its ways to write.
    pub(crate) fn is_limit(&self) -> bool {
        self.contender.starts_with("limit")
    }
}

/// All that was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// The machine and the versions, for people.
    pub(crate) facts: Vec<(&'static str, String)>,
}

impl Report {
    /// What a contender showed in a step, if it did.
    pub(crate) fn figures(&self, step: &str, contender: &str) -> Option<&Figures> {
        let row = self
            .rows
            .iter()
            .find(|row| row.step == step && row.contender == contender)?;
        row.outcome.as_ref().ok()
    }

    /// Our throughput over that of a row.
    pub(crate) fn ratio(&self, row: &Row) -> Option<f64> {
        // At a fixed rate, throughput is what was asked for.
        let ours = self
            .figures(&row.step, "rpc")
            .filter(|_| row.scenario != "open-loop")?;
        ours.throughput_over(row.outcome.as_ref().ok()?)
    }

    /// Writes the files.
    pub(crate) fn write(&self, directory: &Path, scenarios: &[Scenario]) -> Result<()> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;

        for (name, text) in [
            ("results.csv", csv::results(self)),
            ("extra.csv", csv::extra(self, scenarios)),
            ("rounds.csv", csv::rounds(self)),
            ("tables.md", markdown::page(self, scenarios)),
            ("index.html", html::page(self, scenarios)),
        ] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }

        Ok(())
    }
}

/// With a comma at the thousands, and as many digits behind the point as are of use.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 2,
        medium if medium < 100.0 => 1,
        _ => 0,
    };

    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));

    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && digit.is_ascii_digit() && (whole.len() - i).is_multiple_of(3) && grouped != "-"
        {
            grouped.push(',');
        }
        grouped.push(digit);
    }

    grouped + rest
}

/// A time of this number of microseconds, in the unit that suits it.
pub(crate) fn time(microseconds: f64) -> String {
    match microseconds {
        small if small < 1e3 => format!("{} µs", number(small)),
        medium if medium < 1e6 => format!("{} ms", number(medium / 1e3)),
        large => format!("{} s", number(large / 1e6)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(step: &str, contender: &str, rps: f64) -> Row {
        let figures = Figures {
            rps: Spread::of([rps]),
            p50_us: Some(10.0),
            p99_us: Some(20.0),
            rounds: vec![Round {
                number: 0,
                rps,
                p50_us: 10.0,
            }],
            ..Figures::default()
        };

        Row {
            scenario: "inflight-64",
            step: step.into(),
            x: None,
            contender: contender.into(),
            note: String::new(),
            outcome: Ok(figures),
        }
    }

    pub(crate) fn report(rows: Vec<Row>) -> Report {
        Report {
            rows,
            facts: vec![("processor", "one <fast> core".into())],
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_that_both_took_part_in() {
        let figures = |rounds: &[(usize, f64)]| Figures {
            rounds: rounds
                .iter()
                .map(|(number, rps)| Round {
                    number: *number,
                    rps: *rps,
                    p50_us: 1.0,
                })
                .collect(),
            ..Figures::default()
        };

        let ours = figures(&[(0, 10.0), (1, 500.0), (2, 20.0), (3, 500.0), (4, 60.0)]);
        let its = figures(&[(0, 5.0), (2, 5.0), (4, 20.0)]);

        assert_eq!(ours.throughput_over(&its), Some(3.0));
        assert_eq!(ours.throughput_over(&figures(&[])), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(
            Spread::of([4.0, 1.0, 3.0, 2.0]),
            Some(Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );

        assert_eq!(
            Spread::of([9.0, 1.0, 5.0]),
            Some(Spread {
                median: 5.0,
                min: 1.0,
                max: 9.0
            })
        );

        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_ratio_is_ours_over_its_in_the_same_step() {
        let report = report(vec![
            row("a", "rpc", 300.0),
            row("a", "http", 100.0),
            row("b", "rpc", 1.0),
            row("c", "http", 1.0),
        ]);

        assert_eq!(report.ratio(&report.rows[1]), Some(3.0));
        assert_eq!(report.ratio(&report.rows[3]), None);
    }

    #[test]
    fn numbers_have_commas_and_no_digits_of_no_use() {
        let numbers = [
            0.0,
            0.834,
            9.996,
            12.34,
            999.4,
            1_234.5,
            1_234_567.0,
            -123_456.0,
        ]
        .map(number);

        assert_eq!(
            numbers,
            [
                "0",
                "0.83",
                "10.00",
                "12.3",
                "999",
                "1,234",
                "1,234,567",
                "-123,456"
            ]
        );
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            [12.0, 1_500.0, 2_000_000.0].map(time),
            ["12.0 µs", "1.50 ms", "2.00 s"]
        );
    }
}
