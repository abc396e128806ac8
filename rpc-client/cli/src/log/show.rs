//! Entries for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rpc_core::api::log::{Level, TS_MAX};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::exit::Failure;
use crate::output::{Output, printable};
use crate::view::Colours;

/// The widest column of services. Longer names move the message to the right.
const SERVICE_WIDTH_MAX: usize = 20;

/// How entries are shown.
#[derive(Args)]
pub(super) struct Display {
    /// Print JSON even on a terminal
    #[arg(long)]
    json: bool,
    /// Print human-readable lines even into a pipe or a file
    #[arg(long, conflicts_with = "json")]
    text: bool,
    /// Show times in UTC instead of local time, in human-readable lines
    #[arg(long)]
    utc: bool,
}

/// Where entries are shown.
pub(super) struct Shown {
    output: Output,
    /// `None` for JSON.
    lines: Option<Lines>,
}

/// Lines for people.
struct Lines {
    colours: Colours,
    /// `None` for UTC.
    zone: Option<TimeZone>,
    /// The longest name of a service so far.
    service_width: usize,
}

impl Shown {
    pub(super) fn new(display: &Display) -> Self {
        let is_terminal = Output::is_terminal();
        let is_text = display.text || !display.json && is_terminal;
        let colours = match is_terminal {
            true => Colours::of_environment(),
            false => Colours::Off,
        };

        Self {
            output: Output::new(),
            lines: is_text.then(|| Lines {
                colours,
                zone: (!display.utc).then(TimeZone::system),
                service_width: 0,
            }),
        }
    }

    pub(super) fn print(&mut self, entries: &[Box<RawValue>]) -> Result<(), Failure> {
        for entry in entries {
            let parsed = serde_json::from_str::<Entry<'_>>(entry.get());
            match (&mut self.lines, parsed) {
                (Some(lines), Ok(entry)) => self.output.laid_out(&lines.line(&entry))?,
                _ => self.output.json(entry.get())?,
            }
        }
        self.output.flush()
    }
}

/// An entry as it is stored. Its numbers are not read into values, which would change large ones.
#[derive(Deserialize)]
struct Entry<'e> {
    #[serde(borrow)]
    ts: &'e RawValue,
    level: Level,
    service: String,
    message: String,
    trace: Option<String>,
    #[serde(borrow)]
    fields: Option<BTreeMap<String, &'e RawValue>>,
}

impl Lines {
    /// An entry in one line. Only its colours steer a terminal.
    fn line(&mut self, entry: &Entry<'_>) -> String {
        let service = printable(&entry.service);
        let width = service.chars().count().min(SERVICE_WIDTH_MAX);
        self.service_width = self.service_width.max(width);

        let time = self.dim(&self.time(entry.ts));
        let level = self.coloured(&format!("{:5}", entry.level), colour_of(entry.level));
        let mut line = format!(
            "{time} {level} {service:width$} {}",
            printable(&entry.message),
            width = self.service_width
        );

        let fields = fields_of(entry);
        if !fields.is_empty() {
            line.push(' ');
            line.push_str(&self.dim(&printable(&fields)));
        }
        line
    }

    /// The number of milliseconds as a date and time, or as it is where that has no date.
    fn time(&self, ts: &RawValue) -> String {
        let Some(ms) = ts.get().parse::<u64>().ok().filter(|ms| *ms <= TS_MAX) else {
            return printable(ts.get());
        };

        let local = self.zone.as_ref().and_then(|zone| {
            let time = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
            let local = time.to_zoned_datetime(zone.clone());
            Some(local.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
        });
        local.unwrap_or_else(|| {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            humantime::format_rfc3339_millis(time).to_string()
        })
    }

    fn dim(&self, text: &str) -> String {
        self.coloured(text, "2")
    }

    /// A text in a colour, by its number in SGR (ECMA-48 section 8.3.117).
    fn coloured(&self, text: &str, colour: &str) -> String {
        match self.colours {
            Colours::On => format!("\x1b[{colour}m{text}\x1b[0m"),
            Colours::Off => text.to_owned(),
        }
    }
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::Trace | Level::Debug => "2",
        Level::Info => "32",
        Level::Warn => "33",
        Level::Error => "31",
        Level::Fatal => "1;31",
    }
}

fn fields_of(entry: &Entry<'_>) -> String {
    let mut fields = Vec::new();
    if let Some(trace) = &entry.trace {
        fields.push(format!("trace={}", word_or_json(trace)));
    }

    for (key, value) in entry.fields.iter().flatten() {
        let mut field = format!("{key}=");
        match serde_json::from_str::<String>(value.get()) {
            Ok(text) => field.push_str(&word_or_json(&text)),
            Err(_) => {
                let _ = write!(field, "{value}");
            }
        }
        fields.push(field);
    }
    fields.join(" ")
}

fn word_or_json(text: &str) -> String {
    if is_word(text) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

/// Whether it can stand without quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|char: char| char.is_whitespace() || char.is_control() || char == '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(colours: Colours, zone: Option<TimeZone>) -> Lines {
        Lines {
            colours,
            zone,
            service_width: 0,
        }
    }

    fn text_of(json: &str) -> String {
        lines(Colours::Off, None).line(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn an_entry_is_one_line_whatever_is_in_it() {
        let entry = r#"{"seq":7,"ts":1700000000123,"level":"warn","service":"order",
            "message":"refused\n\u001b[31m"}"#;
        assert_eq!(
            text_of(entry),
            "2023-11-14T22:13:20.123Z warn  order refused\\n\\u001b[31m"
        );

        let entry = r#"{"seq":7,"ts":1700000000123,"level":"warn","service":"order","message":"refused",
            "trace":"4bf9","fields":{"a":"one","b":"one two","c":9.50,"d":"","e":12345678901234567890123,"\u001b[2J":"\u001b[2J"}}"#;
        let fields = "a=one b=\"one two\" c=9.50 d=\"\" e=12345678901234567890123";
        let escaped = r#"\u001b[2J="\u001b[2J""#;
        assert_eq!(
            text_of(entry),
            format!("2023-11-14T22:13:20.123Z warn  order refused trace=4bf9 {escaped} {fields}")
        );
    }

    #[test]
    fn a_time_that_has_no_date_is_shown_as_the_number_that_it_is() {
        let check = |ts: &str, shown: &str| {
            let entry = format!(r#"{{"ts":{ts},"level":"info","service":"s","message":"m"}}"#);
            assert_eq!(text_of(&entry), format!("{shown} info  s m"));
        };

        check("0", "1970-01-01T00:00:00.000Z");
        check("253402300799999", "9999-12-31T23:59:59.999Z");
        for ts in [
            "253402300800000",
            "1700000000000000",
            "18446744073709551615",
            "1e300",
            "-1",
            "1700000000.5",
        ] {
            check(ts, ts);
        }
    }

    #[test]
    fn times_are_local_and_columns_as_wide_as_the_services_so_far() {
        let mut lines = lines(Colours::Off, Some(TimeZone::fixed(jiff::tz::offset(2))));
        let mut line = |service: &str| {
            let entry = format!(
                r#"{{"ts":1700000000123,"level":"info","service":"{service}","message":"m"}}"#
            );
            lines.line(&serde_json::from_str(&entry).unwrap())
        };

        assert_eq!(line("order"), "2023-11-15 00:13:20.123 info  order m");
        assert_eq!(line("a"), "2023-11-15 00:13:20.123 info  a     m");
        let long = "x".repeat(30);
        assert!(line(&long).ends_with(&format!("{long} m")));
        assert!(line("a").ends_with(&format!("a{} m", " ".repeat(19))));
    }

    #[test]
    fn levels_have_colours_and_what_an_entry_says_has_none_of_its_own() {
        let mut lines = lines(Colours::On, None);
        let entry =
            r#"{"ts":0,"level":"error","service":"s","message":"\u001b[32mfine","fields":{"a":1}}"#;
        assert_eq!(
            lines.line(&serde_json::from_str(entry).unwrap()),
            "\x1b[2m1970-01-01T00:00:00.000Z\x1b[0m \x1b[31merror\x1b[0m s \\u001b[32mfine \x1b[2ma=1\x1b[0m"
        );

        let colours = Level::ALL.map(colour_of);
        assert_eq!(colours, ["2", "2", "32", "33", "31", "1;31"]);
    }
}
