//! `rpc log stats`.

use std::fmt::Write as _;

use clap::Args;
use rpc_core::api::log::{LogStats, STATS, ServiceStats, Spread};
use serde_json::value::RawValue;

use crate::Target;
use crate::exit::Failure;
use crate::output::Output;

/// Print the size of the log, and how much each service has sent
///
/// On a terminal, prints a table; elsewhere the server's answer as a line of JSON.
#[derive(Args)]
pub(crate) struct Stats {
    /// Print JSON even on a terminal
    #[arg(long)]
    json: bool,
    /// Print a table even into a pipe or a file
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

impl Stats {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let params = serde_json::Map::new();
        let mut output = Output::new();

        if self.text || !self.json && Output::is_terminal() {
            let stats: LogStats = client.call(STATS, &params).await?;
            for line in table(&stats).lines() {
                output.text(line)?;
            }
        } else {
            let stats: Box<RawValue> = client.call(STATS, &params).await?;
            output.json(stats.get())?;
        }
        output.flush()
    }
}

fn table(stats: &LogStats) -> String {
    let kept = match stats.last {
        last if last < stats.oldest => "none".to_owned(),
        last => format!("{} to {last}", stats.oldest),
    };
    let synced = match stats.synced {
        true => "synced",
        false => "not synced",
    };

    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "{name:10}{value}");
    };
    row("log", format!("{} ({}, {synced})", stats.log, stats.engine));
    row("entries", kept);
    row(
        "files",
        format!("{}, {}", stats.segments, bytes(stats.bytes)),
    );
    if let Some(free) = stats.free_bytes {
        row("free", bytes(free));
    }
    row("written", stats.written.to_string());
    row("dropped", stats.dropped.to_string());
    row("compressed", stats.compressed.to_string());
    row("damaged", stats.damaged.to_string());
    row("together", spread(&stats.batch_entries, |n| n.to_string()));
    row("fsync", spread(&stats.fsync_us, time));

    let others =
        Some(("(others)", &stats.others)).filter(|(_, others)| **others != ServiceStats::default());
    let services = stats
        .services
        .iter()
        .map(|(name, service)| (name.as_str(), service));
    let mut services: Vec<_> = services.chain(others).collect();
    // Those that send most come first.
    services.sort_by_key(|(_, service)| std::cmp::Reverse(service.bytes));
    if services.is_empty() {
        return out;
    }

    let width = services.iter().map(|(name, _)| name.chars().count());
    let width = width.max().unwrap_or(0).clamp(8, 40);
    let _ = writeln!(
        out,
        "\n{:width$} {:>12} {:>10} {:>10}",
        "SERVICE", "ENTRIES", "BYTES", "DROPPED"
    );
    for (name, service) in services {
        let ServiceStats {
            entries,
            bytes: sent,
            dropped,
        } = service;
        let _ = writeln!(
            out,
            "{name:width$} {entries:>12} {:>10} {dropped:>10}",
            bytes(*sent)
        );
    }
    out
}

fn spread(spread: &Spread, show: impl Fn(u64) -> String) -> String {
    match spread.count {
        0 => "none".to_owned(),
        _ => format!(
            "p50 {}, p99 {}, max {}",
            show(spread.p50),
            show(spread.p99),
            show(spread.max)
        ),
    }
}

/// Microseconds for people.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// A number of bytes for people.
fn bytes(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (bits, unit) in UNITS {
        let whole = bytes >> bits;
        if whole > 0 {
            let tenths = (bytes >> (bits - 10) & 1023) * 10 / 1024;
            return format!("{whole}.{tenths} {unit}");
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_fits() {
        assert_eq!(
            [0, 1023, 1024, 1_600_000, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16777215.9 TiB"]
        );
        assert_eq!(
            [0, 999, 1_250, 2_345_678].map(time),
            ["0 us", "999 us", "1.2 ms", "2.3 s"]
        );
    }

    #[test]
    fn a_table_has_the_services_that_send_most_first() {
        let service = |bytes| ServiceStats {
            entries: 1,
            bytes,
            dropped: 3,
        };
        let stats = LogStats {
            log: "4bf9".into(),
            oldest: 3,
            last: 7,
            services: [("a".into(), service(1)), ("b".into(), service(2048))].into(),
            engine: "files".into(),
            synced: true,
            ..LogStats::default()
        };

        let table = table(&stats);
        assert!(table.starts_with("log       4bf9 (files, synced)\nentries   3 to 7\n"));
        let services: Vec<&str> = table.lines().rev().take(2).collect();
        assert_eq!(
            services,
            [
                "a                   1        1 B          3",
                "b                   1    2.0 KiB          3",
            ]
        );
    }
}
