//! The table.

use std::fmt::Write as _;

/// One fault, and what was seen.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The good client's p99 in milliseconds, alone and under the fault; of several rounds, the median.
    pub(crate) alone: f64,
    pub(crate) under: f64,
    /// While another daemon of the machine has the fault, where that is what `under` is compared with.
    pub(crate) beside: Option<f64>,
    /// How many times as long it is under the fault as otherwise.
    pub(crate) ratio: f64,
    pub(crate) errors: u64,
    pub(crate) rss_peak_mib: f64,
    /// The most that the daemon's connections have held, as it counts that.
    pub(crate) held_peak_mib: Option<f64>,
    pub(crate) descriptors_peak: usize,
    /// What else was counted.
    pub(crate) notes: String,
    /// The bounds that were missed.
    pub(crate) missed: Vec<String>,
}

impl Row {
    /// Notes a bound, and whether it was kept.
    pub(crate) fn bound(&mut self, is_kept: bool, what: impl FnOnce() -> String) {
        if !is_kept {
            self.missed.push(what());
        }
    }
}

pub(crate) struct Report {
    rows: Vec<Row>,
    is_quick: bool,
}

const HEAD: &str = "| row | p99 alone, ms | p99 beside it, ms | p99 with it, ms | ratio | good client's errors | daemon's RSS, MiB | counted, MiB | descriptors | seen | verdict |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |";

impl Report {
    pub(crate) fn new(is_quick: bool) -> Self {
        println!("{HEAD}");
        Self {
            rows: Vec::new(),
            is_quick,
        }
    }

    /// Adds a row, and prints it.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{}", line(&row));
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn is_passed(&self) -> bool {
        self.rows.iter().all(|row| row.missed.is_empty())
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("{HEAD}\n");
        for row in &self.rows {
            let _ = writeln!(out, "{}", line(row));
        }
        let _ = writeln!(out, "\n{}", self.last_line());
        out
    }

    pub(crate) fn last_line(&self) -> String {
        let missed = self
            .rows
            .iter()
            .filter(|row| !row.missed.is_empty())
            .count();
        let speed = if self.is_quick {
            " (speed was not judged)"
        } else {
            ""
        };

        format!("{} rows, {missed} missed{speed}", self.rows.len())
    }
}

fn line(row: &Row) -> String {
    let verdict = if row.missed.is_empty() {
        "pass".into()
    } else {
        format!("MISS: {}", row.missed.join("; "))
    };
    let beside = row
        .beside
        .map(|beside| format!("{beside:.2}"))
        .unwrap_or_default();
    let held = row
        .held_peak_mib
        .map(|held| format!("{held:.1}"))
        .unwrap_or_default();

    format!(
        "| {} | {:.2} | {beside} | {:.2} | {:.2} | {} | {:.1} | {held} | {} | {} | {verdict} |",
        row.name,
        row.alone,
        row.under,
        row.ratio,
        row.errors,
        row.rss_peak_mib,
        row.descriptors_peak,
        row.notes
    )
}
