//! `rpc sms watch`: changes of messages as they come.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use rpc_client::sms::{Extent, SmsService, Status as MessageStatus, Watch as Params};
use rpc_client::{Client, Error};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::View;
use super::table::cell;
use crate::Target;
use crate::exit::{Failure, describe};
use crate::log::is_passing;
use crate::output::{Output, complain};

/// Time between attempts while the server is away.
const PAUSE: Duration = Duration::from_millis(200);

/// Print each change of a message's status as it happens
///
/// On a terminal, changes are printed as human-readable lines; elsewhere as JSON. `rpc sms watch` continues after a
/// restart of the server without missing a change. If the outbox was replaced, it says so and continues with the first
/// change of the new one. Ctrl-C ends it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms watch --status unknown --status failed
  rpc sms watch --id 01KDVDNA0000000000000004HM --after 0
  rpc sms watch --after 17 --count 1 | jq -r .to")]
pub(crate) struct Watch {
    /// Only changes of this message
    #[arg(long)]
    id: Option<String>,
    /// Only changes to this status; may be given several times
    #[arg(long)]
    status: Vec<MessageStatus>,
    /// Begin after the change with this number; 0 begins with the oldest that is kept. By default only new changes are
    /// printed
    #[arg(long, value_name = "EVENT")]
    after: Option<u64>,
    /// Stop after this number of changes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    view: View,
}

/// Changes as the server sent them.
#[derive(Deserialize)]
struct Item {
    outbox: String,
    events: Vec<Box<RawValue>>,
    next: u64,
}

/// The way of a watch so far.
struct Progress {
    /// The outbox, once it is known.
    outbox: Option<String>,
    after: Option<u64>,
    left: u64,
    is_away: bool,
}

impl Watch {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let mut progress = Progress {
            outbox: None,
            after: self.after,
            left: self.count.unwrap_or(u64::MAX),
            is_away: false,
        };

        while progress.left > 0 {
            match self.follow(&client, &mut progress).await {
                Ok(()) => {}
                Err(Failure::Call(error)) if is_passing(&error) => {
                    progress.note_loss(&error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::Call(error)) => {
                    let Some(lost) = progress.find_place(&error) else {
                        return Err(error.into());
                    };
                    complain(&format!("rpc: {}: {lost}", client.address()));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Prints changes until the stream ends, or as many are printed as are wanted.
    async fn follow(&self, client: &Client, progress: &mut Progress) -> Result<(), Failure> {
        let params = Params {
            id: self.id.clone(),
            status: self.status.clone(),
            outbox: progress.outbox.clone(),
            after: progress.after,
        };
        let mut output = Output::new();
        let command = client.command(SmsService::WATCH);
        let mut items = command.stream::<_, Item>(&params).await?;

        while let Some(item) = items.next().await {
            let item = item?;
            for event in &item.events {
                self.print(&mut output, event)?;
                progress.left -= 1;
                if progress.left == 0 {
                    return output.flush();
                }
            }
            output.flush()?;
            progress.note_item(client, item);
        }

        // A server that drains ends its streams.
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    fn print(&self, output: &mut Output, event: &RawValue) -> Result<(), Failure> {
        if self.view.is_text() {
            output.text(&text(event.get()))
        } else {
            output.json(event.get())
        }
    }
}

impl Progress {
    fn note_item(&mut self, client: &Client, item: Item) {
        if self.is_away {
            let address = client.address();
            complain(&format!(
                "rpc: {address}: back, continuing after the last change"
            ));
        }
        self.is_away = false;
        self.outbox = Some(item.outbox);
        self.after = Some(item.next);
    }

    /// Finds a place in the outbox that there is, where the server says that this one is in none; returns what that means.
    /// A number that was given by hand is not corrected.
    fn find_place(&mut self, error: &Error) -> Option<String> {
        let Extent { outbox, last } = Extent::of(error.status()?)?;
        let (known, after) = (self.outbox.as_ref()?, self.after?);

        let lost = if *known == outbox {
            let from = last.checked_add(1).filter(|from| *from <= after)?;
            self.after = Some(last);
            format!(
                "the outbox ends with change {last}: changes {from} to {after} are lost; continuing after change {last}"
            )
        } else {
            self.after = Some(0);
            format!(
                "the server has another outbox now; changes of the old outbox after change {after} are lost; continuing \
                 with the first change of the new outbox"
            )
        };
        (self.outbox, self.is_away) = (Some(outbox), false);
        Some(lost)
    }

    fn note_loss(&mut self, error: &Error) {
        if self.is_away {
            return;
        }

        let missed = match self.after {
            Some(_) => "",
            None => {
                "; changes in the meantime are missed, because there is no earlier change to continue from"
            }
        };
        complain(&format!(
            "rpc: {}; trying again until it is back{missed}",
            describe(error)
        ));
        self.is_away = true;
    }
}

/// A change in one line for people.
fn text(json: &str) -> String {
    let event: Value = serde_json::from_str(json).unwrap_or_default();
    let field = |name: &str| cell(name, &event[name]);
    let from = event["from"].as_str().unwrap_or("new");

    let mut line = format!(
        "{:>6}  {}  {}  {from} -> {}",
        field("event"),
        field("at"),
        field("id"),
        field("to")
    );
    for name in ["gateway", "attempt", "error"] {
        let value = field(name);
        if !value.is_empty() {
            let _ = write!(line, "  {name}: {value}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_line_that_says_what_led_where() {
        let event = r#"{"event":17,"id":"01","from":"sending","to":"unknown","at":0,"gateway":"one","attempt":1,
            "error":"no answer in time"}"#;
        assert_eq!(
            text(event),
            "    17  1970-01-01T00:00:00Z  01  sending -> unknown  gateway: one  attempt: 1  error: no answer in time"
        );
        let first = r#"{"event":1,"id":"01","to":"queued","at":0}"#;
        assert_eq!(
            text(first),
            "     1  1970-01-01T00:00:00Z  01  new -> queued"
        );
    }
}
