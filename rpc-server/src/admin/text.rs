//! The figures of the page as plain text, for curl and for browsers without JavaScript.

use std::fmt::{self, Write};

use rpc_core::printable::Printable;

use crate::metrics::{CallReport, CommandReport, Report, WindowReport};

/// Rows of the table of commands.
const COMMANDS_LISTED: usize = 30;

/// All that a person wants to see at once.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();

    // Writing to a string does not fail.
    let _ = head(&mut text, report)
        .and_then(|()| windows(&mut text, report))
        .and_then(|()| commands(&mut text, report))
        .and_then(|()| failures(&mut text, report))
        .and_then(|()| slowest(&mut text, report))
        .and_then(|()| limits(&mut text, report));
    text
}

fn head(text: &mut String, report: &Report) -> fmt::Result {
    let (build, health) = (&report.build, &report.health);
    writeln!(text, "{}", health.headline)?;
    for problem in &health.problems {
        writeln!(text, "  {}", Printable(problem))?;
    }

    let name = Printable(&build.name);
    let (version, uptime) = (Printable(&build.version), Seconds(report.uptime_ms / 1_000));
    writeln!(text, "\n{name} {version}, up {uptime}")?;

    let (server, blocking) = (&report.server, &report.blocking);
    writeln!(
        text,
        "{} calls in flight, {} connections, late by {} lately",
        server.in_flight,
        server.connections_open,
        Micros(report.runtime.lag_recent_max_us)
    )?;
    writeln!(
        text,
        "blocking work: {} of {} threads, {} waiting, {} refused",
        blocking.running, blocking.threads_max, blocking.waiting, blocking.refused
    )?;

    let process = &report.process;
    if let Some((bytes, threads)) = process.resident_bytes.zip(process.threads) {
        writeln!(text, "memory {} MiB, {threads} threads", bytes >> 20)?;
    }
    Ok(())
}

fn windows(text: &mut String, report: &Report) -> fmt::Result {
    let recent = &report.recent;
    writeln!(text, "\n{HEAD:>88}")?;
    row(text, "last minute", &recent.minute)?;
    row(text, "last 5 minutes", &recent.five_minutes)
}

/// The heads of the columns that [`row`] writes.
const HEAD: &str = "calls/s     failed        p50        p99      p99.9";

fn row(text: &mut String, name: &str, window: &WindowReport) -> fmt::Result {
    let latency = &window.latency;
    let calls: u64 = window.calls.values().sum();
    let failed = Share {
        part: window.failed,
        all: calls,
    };

    // Padding needs strings.
    let (rate, failed) = (per_second(calls, window.span_ms), failed.to_string());
    let [p50, p99, p999] =
        [latency.p50_us, latency.p99_us, latency.p999_us].map(|us| Micros(us).to_string());
    writeln!(
        text,
        "{name:<36} {rate:>7} {failed:>10} {p50:>10} {p99:>10} {p999:>10}"
    )
}

fn commands(text: &mut String, report: &Report) -> fmt::Result {
    let calls = |command: &CommandReport| -> u64 { command.five_minutes.calls.values().sum() };
    let mut commands: Vec<&CommandReport> = report.commands.iter().collect();
    commands.sort_by_key(|command| std::cmp::Reverse(calls(command)));

    writeln!(text, "\ncommands, last minute")?;
    for command in commands.iter().take(COMMANDS_LISTED) {
        let name = command_name(&command.service, &command.method, command.cmdid);
        row(text, &name, &command.minute)?;
    }
    Ok(())
}

fn failures(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "\nlast failures")?;
    if report.recent.failures.is_empty() {
        writeln!(text, "none")?;
    }

    for failure in &report.recent.failures {
        writeln!(text, "{} {:>8} times", call(&failure.last), failure.times)?;
    }
    Ok(())
}

fn slowest(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "\nslowest calls of the last 5 minutes")?;
    if report.recent.slowest.is_empty() {
        writeln!(text, "none took a millisecond")?;
    }

    for slow in &report.recent.slowest {
        let took = Micros(slow.took_us).to_string();
        writeln!(text, "{} {took:>10}", call(slow))?;
    }
    Ok(())
}

fn call(call: &CallReport) -> String {
    let name = command_name(&call.service, &call.method, call.cmdid);
    let ago = format!("{} ago", Seconds(call.ago_ms / 1_000));
    let (code, peer) = (call.code, Printable(&call.peer).to_string());
    format!(
        "{ago:<14} {name:<30} {code:<20} {peer:<24} no. {}",
        call.connection
    )
}

fn limits(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "\nlimits")?;
    for limit in &report.limits {
        writeln!(text, "{:<36} {} of {}", limit.name, limit.used, limit.max)?;
    }
    writeln!(text, "\nmore: /metrics, /stats.json, /readyz")
}

fn command_name(service: &str, method: &str, cmdid: Option<u32>) -> String {
    match cmdid {
        Some(cmdid) => format!("{}.{} {cmdid}", Printable(service), Printable(method)),
        None => "all others".to_owned(),
    }
}

/// Of less than a second, what came in it: a server that has just started is no faster than others.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn per_second(count: u64, span_ms: u64) -> String {
    format!("{:.1}", count as f64 * 1_000.0 / span_ms.max(1_000) as f64)
}

struct Share {
    part: u64,
    all: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_mille = self.part.saturating_mul(1_000) / self.all.max(1);
        match (self.part, per_mille) {
            (1.., 0) => f.write_str("< 0.1 %"),
            _ => write!(f, "{}.{} %", per_mille / 10, per_mille % 10),
        }
    }
}

struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ ..1_000 => write!(f, "{us} µs"),
            us @ ..1_000_000 => write!(f, "{}.{:02} ms", us / 1_000, us % 1_000 / 10),
            us => write!(f, "{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
        }
    }
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s @ ..60 => write!(f, "{s} s"),
            s @ ..3_600 => write!(f, "{} min {} s", s / 60, s % 60),
            s @ ..86_400 => write!(f, "{} h {} min", s / 3_600, s % 3_600 / 60),
            s => write!(f, "{} d {} h", s / 86_400, s % 86_400 / 3_600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_a_person_reads_them() {
        let share = |part, all| Share { part, all }.to_string();
        assert_eq!(share(0, 0), "0.0 %");
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(1, 5_000), "< 0.1 %");

        let times = [7, 1_230, 999_999, 12_345_678].map(|us| Micros(us).to_string());
        assert_eq!(times, ["7 µs", "1.23 ms", "999.99 ms", "12.34 s"]);
        let spans = [59, 61, 3_661, 90_000].map(|s| Seconds(s).to_string());
        assert_eq!(spans, ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(per_second(120, 60_000), "2.0");
    }

    #[test]
    fn the_heads_of_the_columns_are_above_their_figures() {
        let mut text = String::new();
        let head = format!("{HEAD:>88}");
        row(&mut text, "x", &WindowReport::default()).unwrap();
        assert_eq!(head.chars().count(), text.trim_end().chars().count());
    }
}
