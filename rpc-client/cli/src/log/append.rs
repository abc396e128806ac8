//! `rpc log append`.

use clap::Args;
use rpc_client::{Client, Code};
use rpc_core::api::log::{APPEND, Appended, Level};
use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::fields::{Field, Fields, field};
use crate::Target;
use crate::call::refuse_repetition;
use crate::exit::{self, Failure, describe, exit_code};
use crate::output::{Output, complain};

/// Write an entry and print its number once it is on disk
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log append 'backup done'
  rpc log append --level warn --service order --field user=4211 --field amount:=9.5 'payment refused'
  make 2>&1 | rpc log append --service build -")]
pub(crate) struct Append {
    /// Level of the entry: trace, debug, info, warn, error or fatal
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
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
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
