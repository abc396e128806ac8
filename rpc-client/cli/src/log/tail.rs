//! `rpc log tail`: the end of the log, and what comes.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use rpc_client::{Client, Code, Config, Error};
use rpc_core::api::log::{Read as Params, TAIL};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::cursor::Cursor;
use super::filters::Filters;
use super::page;
use super::read::last_entries;
use super::show::{Display, Shown};
use crate::Target;
use crate::exit::{Failure, describe, is_no_address};
use crate::output::complain;

/// Time between attempts while the server is away, and between streams that lead nowhere; also what a last word to it
/// may take.
const PAUSE: Duration = Duration::from_millis(200);

/// Print the last entries, and with -f each new one as it comes
///
/// On a terminal, entries are printed as human-readable lines; elsewhere as they are stored, a line of JSON for each.
/// With -f, `rpc log tail` continues after a restart of the server without missing an entry. Ctrl-C ends it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc log tail
  rpc log tail -f --level warn --service order
  rpc log tail -n 0 -f --json | jq .fields")]
pub(crate) struct Tail {
    /// Number of last entries to print
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Continue with each new entry as it comes
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    display: Display,
}

/// An item of the stream, with its entries as they are stored.
#[derive(Deserialize)]
struct Item {
    log: String,
    entries: Vec<Box<RawValue>>,
    next: u64,
    #[serde(default)]
    lost: u64,
}

impl Tail {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        self.filters.check()?;
        let client = target.client();
        let timeout = target.timeout.unwrap_or(Duration::from_millis(
            Config::default().timeouts.call_timeout_ms,
        ));

        let mut interrupted = pin!(tokio::signal::ctrl_c());
        tokio::select! {
            result = self.show(&client, timeout) => result,
            _ = &mut interrupted => {
                // The call that was given up is cancelled at the server, where it would go on.
                let _ = tokio::time::timeout(PAUSE, client.flush()).await;
                Ok(())
            }
        }
    }

    async fn show(&self, client: &Client, timeout: Duration) -> Result<(), Failure> {
        let mut shown = Shown::new(&self.display);
        let end = Params {
            limit: Some(1),
            ..Params::default()
        };
        let end = page(client, &end).await?;

        let params = self.filters.read();
        let before = end.last.saturating_add(1);
        shown.print(&last_entries(client, params, before, self.lines).await?)?;
        if !self.follow {
            return Ok(());
        }

        let mut following = Following {
            tail: self,
            client,
            timeout,
            cursor: Cursor {
                log: Some(end.log),
                after: end.last,
            },
            is_away: false,
        };
        loop {
            following.stream(&mut shown).await?;
            // A server that ends streams again and again does not keep this busy.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Following, from one stream to the next.
struct Following<'t> {
    tail: &'t Tail,
    client: &'t Client,
    timeout: Duration,
    cursor: Cursor,
    /// Whether the server was lost, and has not answered since.
    is_away: bool,
}

impl Following<'_> {
    /// Shows the items of a stream until it is lost.
    async fn stream(&mut self, shown: &mut Shown) -> Result<(), Failure> {
        let params = self.tail.filters.tail(&self.cursor);
        let command = self.client.command(TAIL);
        let mut items = match command.stream::<_, Item>(&params).await {
            Ok(items) => items,
            Err(error) => return self.lose(error),
        };

        // The first item comes at once.
        let Ok(mut item) = tokio::time::timeout(self.timeout, items.next()).await else {
            self.note_away("the server does not answer");
            return Ok(());
        };
        loop {
            match item {
                Some(Ok(item)) => self.show(shown, item)?,
                Some(Err(error)) => return self.lose(error),
                None => return Ok(()),
            }
            item = items.next().await;
        }
    }

    fn show(&mut self, shown: &mut Shown, item: Item) -> Result<(), Failure> {
        let (address, after) = (self.client.address(), self.cursor.after);
        if std::mem::take(&mut self.is_away) {
            complain(&format!(
                "rpc: {address}: back, continuing after entry {after}"
            ));
        }
        match item.lost {
            0 => {}
            1 => complain(&format!(
                "rpc: {address}: an entry after entry {after} was deleted before it was read"
            )),
            lost => complain(&format!(
                "rpc: {address}: {lost} entries after entry {after} were deleted before they were read"
            )),
        }

        shown.print(&item.entries)?;
        self.cursor = Cursor {
            log: Some(item.log),
            after: item.next,
        };
        Ok(())
    }

    /// Finds out whether and where to go on behind a failure.
    fn lose(&mut self, error: Error) -> Result<(), Failure> {
        if is_passing(&error) {
            self.note_away(&describe(&error));
            return Ok(());
        }

        let Some(lost) = self.cursor.find_place(&error) else {
            return Err(error.into());
        };
        complain(&format!("rpc: {}: {lost}", self.client.address()));
        self.is_away = false;
        Ok(())
    }

    fn note_away(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_away, true) {
            complain(&format!("rpc: {reason}; trying again until it is back"));
        }
    }
}

/// Whether the server may yet answer the same call.
pub(crate) fn is_passing(error: &Error) -> bool {
    match error.status() {
        Some(status) => {
            let code = status.code();
            status.is_rejected() || code == Code::UNAVAILABLE || code == Code::DEADLINE_EXCEEDED
        }
        None => error.code() != Code::INTERNAL && !is_no_address(error),
    }
}
