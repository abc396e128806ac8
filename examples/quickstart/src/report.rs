//! Printed tables of runs and entries.

use std::time::Duration;

use rpc_core::api::log::Entry;

use crate::Error;

/// Characters of an entry that fit a terminal's line.
const SHOWN_CHARS: usize = 120;

/// One run of the job over one transport.
pub(crate) struct Row {
    transport: &'static str,
    calls: u64,
    elapsed: Duration,
    connections: u64,
}

impl Row {
    /// A run of `calls` calls; `connections` is what the server accepted.
    pub(crate) fn new(
        transport: &'static str,
        calls: u64,
        elapsed: Duration,
        connections: u64,
    ) -> Self {
        Self {
            transport,
            calls,
            elapsed,
            connections,
        }
    }

    fn per_second(&self) -> u128 {
        u128::from(self.calls) * 1_000_000 / self.elapsed.as_micros().max(1)
    }
}

/// Prints the runs, one a line.
pub(crate) fn print_table(rows: &[Row]) {
    println!(
        "  {:<27} {:>7} {:>8} {:>10} {:>11} {:>23}",
        "transport", "lines", "seconds", "per second", "connections", "requests per connection"
    );

    for row in rows {
        println!(
            "  {:<27} {:>7} {:>8.3} {:>10} {:>11} {:>23}",
            row.transport,
            row.calls,
            row.elapsed.as_secs_f64(),
            row.per_second(),
            row.connections,
            row.calls / row.connections.max(1)
        );
    }
}

/// Prints the first two and the last two entries, as they are stored.
pub(crate) fn print_ends(entries: &[Entry]) -> Result<(), Error> {
    let (first, rest) = entries.split_at(entries.len().min(2));
    let last = &rest[rest.len().saturating_sub(2)..];

    for entry in first {
        println!("    {}", shown(entry)?);
    }
    if rest.len() > last.len() {
        println!("    …");
    }
    for entry in last {
        println!("    {}", shown(entry)?);
    }

    Ok(())
}

fn shown(entry: &Entry) -> Result<String, Error> {
    let json = serde_json::to_string(entry)?;
    let mut start: String = json.chars().take(SHOWN_CHARS).collect();
    if start.len() < json.len() {
        start.push('…');
    }
    Ok(start)
}
