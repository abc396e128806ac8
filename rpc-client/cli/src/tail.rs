//! `rpc log tail`: the end of the log, and what comes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::pin::pin;
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Args;
use rpc_client::{Client, Code, Config, Error};
use rpc_core::api::log::{Level, READ, TS_MAX};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cursor::{Cursor, seq};
use crate::exit::{Failure, describe};
use crate::log::{Filters, PAGE_ENTRIES_MAX, Page, read};
use crate::output::{Output, complain, printable};
use crate::{Target, milliseconds};

/// How long one read waits for entries: a server that drains waits for its readers, and need not cut
/// them off.
const POLL_WAIT: Duration = Duration::from_secs(5);

/// Time between attempts while the server is away, and between pages that lead nowhere; also what a last word to it
/// may take.
const PAUSE: Duration = Duration::from_millis(200);

/// Print the last entries, then each one as it comes
///
/// On a terminal as lines for people, elsewhere as they are stored, a line of JSON for each. After a restart of the
/// server it goes on without missing an entry. Ctrl-C ends it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log tail
  rpc log tail -n 100 --level warn --service order
  rpc log tail -n 0 --json | jq .fields")]
pub(crate) struct Tail {
    /// Number of the last entries to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    filters: Filters,
    /// Print JSON on a terminal, too
    #[arg(long)]
    json: bool,
    /// Print lines for people into a pipe or a file, too
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

impl Tail {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let timeout = target.timeout.unwrap_or(Duration::from_millis(
            Config::default().timeouts.call_timeout_ms,
        ));

        let mut interrupted = pin!(tokio::signal::ctrl_c());
        tokio::select! {
            result = self.follow(&client, timeout) => result,
            _ = &mut interrupted => {
                // The read that was given up is cancelled at the server, where it would go on waiting.
                let _ = tokio::time::timeout(PAUSE, client.flush()).await;
                Ok(())
            }
        }
    }

    async fn follow(&self, client: &Client, timeout: Duration) -> Result<(), Failure> {
        self.filters.check()?;
        let is_text = self.text || !self.json && Output::is_terminal();
        let mut output = Output::new();
        let (entries, mut cursor) = last_entries(client, &self.filters, self.lines).await?;
        print(&mut output, &entries, is_text)?;

        let mut is_away = false;
        loop {
            // After a loss, the first answer says that the server is back, and should not wait for an entry.
            let wait = if is_away { Duration::ZERO } else { POLL_WAIT };
            let asked = Instant::now();
            match self.next_page(client, &cursor, wait, timeout).await {
                Ok(page) => {
                    let after = cursor.after;
                    if is_away {
                        complain(&format!(
                            "rpc: {}: back, continuing after entry {after}",
                            client.address()
                        ));
                        is_away = false;
                    }
                    if let Some(lost) = cursor.lost(&page) {
                        complain(&format!("rpc: {}: {lost}", client.address()));
                    }

                    print(&mut output, &page.entries, is_text)?;
                    // A server need not wait: one that is about to stop does not.
                    if page.next <= after && asked.elapsed() < PAUSE {
                        tokio::time::sleep(PAUSE).await;
                    }
                    cursor.move_to(&page);
                }
                Err(error) if is_passing(&error) => {
                    if !is_away {
                        complain(&format!(
                            "rpc: {}; trying again until it is back",
                            describe(&error)
                        ));
                        is_away = true;
                    }

                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let Some(lost) = cursor.find_place(&error) else {
                        return Err(error.into());
                    };

                    complain(&format!("rpc: {}: {lost}", client.address()));
                    is_away = false;
                    // A log that is replaced again and again does not keep this busy.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits for entries behind the cursor; empty where none came.
    async fn next_page(
        &self,
        client: &Client,
        cursor: &Cursor,
        wait: Duration,
        timeout: Duration,
    ) -> Result<Page, Error> {
        let mut params = self.filters.params(cursor, PAGE_ENTRIES_MAX);
        params.wait_ms = milliseconds(wait);
        client
            .command(READ)
            .timeout(wait + timeout)
            .call(&params)
            .await
    }
}

/// Whether the server may yet answer the same read.
pub(crate) fn is_passing(error: &Error) -> bool {
    match error.status() {
        Some(status) => {
            let code = status.code();
            status.is_rejected() || code == Code::UNAVAILABLE || code == Code::DEADLINE_EXCEEDED
        }
        None => error.code() != Code::INTERNAL,
    }
}

fn print(output: &mut Output, entries: &[Box<RawValue>], is_text: bool) -> Result<(), Failure> {
    for entry in entries {
        match serde_json::from_str::<Entry<'_>>(entry.get()) {
            Ok(entry) if is_text => output.text(&text(&entry))?,
            _ => output.json(entry.get())?,
        }
    }
    output.flush()
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

/// An entry in one line for people.
fn text(entry: &Entry<'_>) -> String {
    let mut line = format!(
        "{} {:5} {}: {}",
        time(entry.ts),
        entry.level,
        entry.service,
        entry.message
    );

    if let Some(trace) = &entry.trace {
        let _ = write!(line, " trace={}", word_or_json(trace));
    }
    for (key, value) in entry.fields.iter().flatten() {
        let _ = match serde_json::from_str::<String>(value.get()) {
            Ok(text) => write!(line, " {key}={}", word_or_json(&text)),
            Err(_) => write!(line, " {key}={value}"),
        };
    }

    printable(&line)
}

/// The number of milliseconds as a date and time, or as it is where that has no date.
fn time(ts: &RawValue) -> String {
    let since_1970 = ts.get().parse().ok().filter(|ms| *ms <= TS_MAX);
    match since_1970 {
        Some(ms) => {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            humantime::format_rfc3339_millis(time).to_string()
        }
        None => ts.get().to_owned(),
    }
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

/// The last entries that pass the filters, and the place behind the last one there is.
///
/// The service reads forward only, so this begins at the end and looks backwards in growing steps.
async fn last_entries(
    client: &Client,
    filters: &Filters,
    count: usize,
) -> Result<(Vec<Box<RawValue>>, Cursor), Error> {
    let start = Cursor::default();
    let first = read(client, &Filters::default().params(&start, 1)).await?;
    let end = first.last;
    let mut found = VecDeque::new();
    let mut until = end;
    let mut step = count as u64;
    if !filters.is_empty() {
        // Few may match.
        step = step.max(u64::from(PAGE_ENTRIES_MAX));
    }

    let cursor_at = |after| Cursor {
        log: Some(first.log.clone()),
        after,
    };

    // Below the oldest there is nothing.
    while until > 0 && until >= first.oldest && found.len() < count {
        let from = until.saturating_sub(step);
        let mut entries = entries_between(client, filters, cursor_at(from), until).await?;
        entries.append(&mut found);
        found = entries;
        until = from;
        step = step.saturating_mul(4);
    }

    let surplus = found.len().saturating_sub(count);
    let found = found.into_iter().skip(surplus).collect();
    Ok((found, cursor_at(end)))
}

/// The entries behind the cursor up to `until` that pass the filters.
async fn entries_between(
    client: &Client,
    filters: &Filters,
    mut cursor: Cursor,
    until: u64,
) -> Result<VecDeque<Box<RawValue>>, Error> {
    let mut found = VecDeque::new();

    while cursor.after < until {
        let page = read(client, &filters.params(&cursor, PAGE_ENTRIES_MAX)).await?;
        // Not behind the cursor: the end, or an answer that leads nowhere.
        if page.next <= cursor.after {
            break;
        }

        cursor.move_to(&page);
        // A page knows no upper end.
        found.extend(page.entries.into_iter().filter(|entry| seq(entry) <= until));
    }

    Ok(found)
}

#[cfg(test)]
mod tests;
