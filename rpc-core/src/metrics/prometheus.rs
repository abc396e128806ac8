//! The text format that Prometheus reads, version 0.0.4.

use std::fmt::{Display, Write};

use super::histogram::Latencies;

/// A text under way, with the name of the family that it is at.
#[derive(Default)]
pub struct Text(String, &'static str);

/// Microseconds, shown as seconds.
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl Text {
    /// Begins a family of samples.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.1 = name;
        self
    }

    /// Adds a sample with these labels to the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    /// Adds a histogram with these labels to the family.
    pub fn histogram(&mut self, labels: &[(&str, &str)], latencies: &Latencies) -> &mut Self {
        let mut bucket = |bound: &str, count: u64| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            self.line("_bucket", &labels, count);
        };

        for (bound_us, count) in latencies.cumulative() {
            bucket(&Seconds(bound_us).to_string(), count);
        }
        bucket("+Inf", latencies.count());

        self.line("_sum", labels, Seconds(latencies.sum_us()));
        self.line("_count", labels, latencies.count());
        self
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let Self(text, name) = self;
        let _ = write!(text, "{name}{suffix}");

        for (number, (label, value)) in labels.iter().enumerate() {
            let _ = write!(
                text,
                "{}{label}=\"{}\"",
                if number == 0 { '{' } else { ',' },
                escaped(value)
            );
        }

        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// A label's value: a line break would begin a new line, a quote would end it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_cannot_leave_their_quotes() {
        let mut text = Text::default();
        text.family("x", "gauge", "An x.")
            .sample(&[("a", "q\"b\\c\nd"), ("b", "")], 5);

        assert_eq!(
            text.0,
            "# HELP x An x.\n# TYPE x gauge\nx{a=\"q\\\"b\\\\c\\nd\",b=\"\"} 5\n"
        );
    }

    #[test]
    fn histograms_end_with_all_there_are() {
        let mut text = Text::default();
        text.family("x", "histogram", "An x.")
            .histogram(&[("a", "1")], &Latencies::default());

        let lines: Vec<_> = text.0.lines().collect();
        assert_eq!(lines[2], "x_bucket{a=\"1\",le=\"0.000016\"} 0");

        let end = [
            "x_bucket{a=\"1\",le=\"+Inf\"} 0",
            "x_sum{a=\"1\"} 0.000000",
            "x_count{a=\"1\"} 0",
        ];
        assert_eq!(lines[lines.len() - 3..], end);
    }
}
