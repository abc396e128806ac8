//! `rpc log append`, `rpc log read`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use rpc_client::{Client, Code, Error, RawJson};
use rpc_core::api::log::{APPEND, Appended, Level, READ, Read as Params};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::Target;
use crate::call::{key_value, refuse_repetition};
use crate::cursor::Cursor;
use crate::exit::{self, Failure, describe, exit_code};
use crate::output::{Output, complain};
use crate::tail::Tail;

/// As many entries as the server gives in one page.
pub(crate) const PAGE_ENTRIES_MAX: u32 = 1_000;

/// Write to the server's log, read and follow it
#[derive(Subcommand)]
pub(crate) enum Log {
    Append(Append),
    Read(Read),
    Tail(Tail),
}

impl Log {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        match self {
            Self::Append(append) => append.run(target).await,
            Self::Read(read) => read.run(target).await,
            Self::Tail(tail) => tail.run(target).await,
        }
    }
}

/// Write an entry and print its number once it is on disk
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log append 'backup done'
  rpc log append --level warn --service order --field user=4211 --field amount:=9.5 'payment refused'
  make 2>&1 | rpc log append --service build -")]
pub(crate) struct Append {
    /// trace, debug, info, warn, error or fatal
    #[arg(long, default_value_t = Level::Info)]
    level: Level,
    /// Name of the service that writes the entry
    #[arg(long, value_name = "NAME", default_value = "rpc")]
    service: String,
    /// Trace that the entry belongs to
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Add a field: KEY=TEXT, or KEY:=JSON for a number, true, an object; may be given several times, with
    /// different keys
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = field)]
    fields: Vec<Field>,
    /// What happened; `-` writes each line of standard input as an entry, in order. A line that fails is
    /// reported on standard error and the others are written; the exit code is then that of the first failure
    message: String,
}

impl Append {
    async fn run(self, target: &Target) -> Result<(), Failure> {
        let keys = self.fields.iter().map(|field| field.key.as_str());
        refuse_repetition("--field", keys)?;
        let entry = Entry {
            level: self.level,
            service: self.service,
            message: self.message,
            trace: self.trace,
            fields: Fields(self.fields),
        };

        let client = target.client();
        let mut output = Output::new();
        if entry.message == "-" {
            append_lines(target, client, entry, &mut output).await
        } else {
            append(&client, &entry, &mut output).await
        }
    }
}

/// Writes each line of standard input as an entry. A line that fails is reported, and the others go on: what
/// comes through a pipe is not there a second time.
async fn append_lines(
    target: &Target,
    mut client: Client,
    mut entry: Entry,
    output: &mut Output,
) -> Result<(), Failure> {
    // Before anything is read: what was not sent can then be piped again.
    client.connect().await?;

    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    let mut lines = Lines::default();
    loop {
        line.clear();
        let mut bounded = (&mut input).take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line).await;
        let read = read.map_err(|error| Failure::stdin(&error))?;
        if read == 0 {
            return lines.end(client.address());
        }

        if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            skip_line(&mut input).await?;
            let message = format!("not sent: it is longer than {LINE_BYTES_MAX} bytes");
            lines.fail(&message, exit::USAGE);
            continue;
        }

        // A log takes what programs print: bytes that are no text are replaced, not refused.
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        entry.message = text.strip_suffix('\r').unwrap_or(text).to_owned();

        // One at a time: that is the order.
        match append(&client, &entry, output).await {
            Ok(()) => lines.count += 1,
            Err(Failure::Call(error)) => {
                // A server may end the connection behind a line that is too long, and would lose the next one with it.
                if error.code() == Code::RESOURCE_EXHAUSTED {
                    client = target.client();
                }
                lines.fail(&describe(&error), exit_code(&error));
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Maximum length of a line of standard input in bytes, as much as a client keeps for its connection. A longer
/// one is not kept, and fails.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// Reads to the end of the line.
async fn skip_line(input: &mut (impl AsyncBufRead + Unpin)) -> Result<(), Failure> {
    loop {
        let bytes = input
            .fill_buf()
            .await
            .map_err(|error| Failure::stdin(&error))?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(bytes.len(), |end| end + 1);
        input.consume(length);

        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

/// Maximum number of lines whose failures are reported one by one; further ones are counted.
const REPORTS_MAX: u64 = 10;

/// The lines of standard input so far.
#[derive(Default)]
struct Lines {
    count: u64,
    failed: u64,
    /// Exit code of the first failure.
    exit: Option<u8>,
}

impl Lines {
    fn fail(&mut self, reason: &str, exit: u8) {
        self.count += 1;
        self.failed += 1;
        if self.failed <= REPORTS_MAX {
            complain(&format!("rpc: line {}: {reason}", self.count));
        } else if self.failed == REPORTS_MAX + 1 {
            complain("rpc: further lines that fail are counted");
        }
        self.exit.get_or_insert(exit);
    }

    /// The failure of the first line that failed decides the exit code.
    fn end(self, address: &str) -> Result<(), Failure> {
        let Self {
            count,
            failed,
            exit,
        } = self;
        match exit {
            None => Ok(()),
            Some(exit) => Err(Failure::Lines {
                message: format!("{address}: {failed} of {count} lines failed"),
                exit,
            }),
        }
    }
}

async fn append(client: &Client, entry: &Entry, output: &mut Output) -> Result<(), Failure> {
    let Appended { seq, .. } = client.call(APPEND, entry).await?;
    output.text(&seq.to_string())?;
    output.flush()
}

/// An entry to be written, with its fields as they were given.
#[derive(Serialize)]
struct Entry {
    level: Level,
    service: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Fields::is_empty")]
    fields: Fields,
}

/// Fields with keys that differ. Their JSON is not read into values, which would change large numbers.
struct Fields(Vec<Field>);

#[derive(Clone, PartialEq)]
struct Field {
    key: String,
    json: RawJson<'static>,
}

impl Fields {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|Field { key, json }| (key, json)))
    }
}

/// Print entries as they are stored, a line of JSON each
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log read --limit 10
  rpc log read --all --level error | jq -r .message
  rpc log read --since 10m --field user=4211
  rpc log read --after 17                          go on behind entry 17")]
pub(crate) struct Read {
    /// Only entries with a higher number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Maximum number of entries
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// All entries, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    filters: Filters,
}

/// Which entries to look at.
#[derive(Args, Default, PartialEq)]
pub(crate) struct Filters {
    /// Only entries of this level or a more severe one: trace, debug, info, warn, error or fatal
    #[arg(long)]
    level: Option<Level>,
    /// Only entries of exactly this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only entries whose message contains this text
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Only entries with this text in their message, service, trace, or a text of their fields
    #[arg(long, value_name = "TEXT")]
    anywhere: Option<String>,
    /// Only entries of this trace
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Only entries with this field: KEY=VALUE for a text or a number, KEY:=JSON for a number, true, false or null; may be given
    /// several times, with different keys
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = field)]
    fields: Vec<Field>,
    /// Only entries from this time on, as 10m or 2h (ago), or 2026-01-05T10:20:30Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only entries before this time, in the form of --since
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
}

/// A time in milliseconds since 1970: how long ago it was, or a date and time.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let time = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };

    let since_1970 = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let ms = since_1970.and_then(|time| u64::try_from(time.as_millis()).ok());
    ms.ok_or_else(|| {
        "it must be a time ago, as 10m or 2h, or a date and time since 1970, as 2026-01-05T10:20:30Z".into()
    })
}

impl Filters {
    pub(crate) fn params(&self, cursor: &Cursor, limit: u32) -> Params {
        Params {
            log: cursor.log.clone(),
            after: cursor.after,
            limit: Some(limit),
            level: self.level,
            service: self.service.clone(),
            contains: self.contains.clone(),
            text: self.anywhere.clone(),
            trace: self.trace.clone(),
            fields: self.wanted_fields(),
            from: self.since,
            to: self.until,
            ..Params::default()
        }
    }

    /// Refuses fields that cannot be asked for together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        refuse_repetition(
            "--field",
            self.fields.iter().map(|field| field.key.as_str()),
        )
    }

    /// The fields, whose names differ, as `check` has shown.
    fn wanted_fields(&self) -> Option<rpc_core::api::log::Fields> {
        if self.fields.is_empty() {
            return None;
        }
        rpc_core::api::log::Fields::of(&Fields(self.fields.clone())).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A page with its entries as they are stored.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) log: String,
    pub(crate) entries: Vec<Box<RawValue>>,
    pub(crate) next: u64,
    pub(crate) oldest: u64,
    pub(crate) last: u64,
}

pub(crate) async fn read(client: &Client, params: &Params) -> Result<Page, Error> {
    client.call(READ, params).await
}

impl Read {
    async fn run(self, target: &Target) -> Result<(), Failure> {
        self.filters.check()?;
        let client = target.client();
        let mut output = Output::new();
        let mut left = if self.all { u64::MAX } else { self.limit };
        let mut cursor = Cursor {
            log: None,
            after: self.after,
        };

        while left > 0 {
            let limit = u32::try_from(left)
                .unwrap_or(u32::MAX)
                .min(PAGE_ENTRIES_MAX);
            let page = read(&client, &self.filters.params(&cursor, limit)).await?;
            // Where no place was given, reading begins with what there is.
            if cursor.after > 0
                && let Some(lost) = cursor.lost(&page)
            {
                complain(&format!("rpc: {}: {lost}", client.address()));
            }

            for entry in &page.entries {
                output.json(entry.get())?;
            }
            output.flush()?;

            // A page may hold nothing and still not be the last: what was looked at did not match.
            if page.next <= cursor.after {
                break;
            }

            left = left.saturating_sub(page.entries.len() as u64);
            cursor.move_to(&page);
        }

        Ok(())
    }
}

/// `KEY=TEXT` or `KEY:=JSON`.
fn field(text: &str) -> Result<Field, String> {
    let (key, value) = key_value(text)?;
    match key.strip_suffix(':') {
        Some("") => Err("it must be KEY=TEXT or KEY:=JSON".into()),
        Some(key) => match RawJson::parse(&value) {
            Ok(json) => Ok(Field {
                key: key.to_owned(),
                json,
            }),
            Err(error) => Err(format!("`{value}` is not valid JSON: {error}")),
        },
        None => match RawJson::serialize(&value) {
            Ok(json) => Ok(Field { key, json }),
            Err(error) => Err(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_text_unless_it_says_json() {
        let check = |text: &str, key: &str, json: &str| {
            let field = field(text).unwrap();
            assert_eq!((field.key.as_str(), field.json.as_str()), (key, json));
        };

        check("user=4211", "user", "\"4211\"");
        check("user:=4211", "user", "4211");
        check("url=http://h/?a=b", "url", "\"http://h/?a=b\"");
        check("empty=", "empty", "\"\"");
        check("tags:=[\"a\"]", "tags", "[\"a\"]");
        check(
            "order:=12345678901234567890123",
            "order",
            "12345678901234567890123",
        );
        check("price:=1.50", "price", "1.50");

        for wrong in ["user", "=x", ":=1", "user:=x"] {
            assert!(field(wrong).is_err(), "{wrong}");
        }
    }
}
