//! `rpc sms`: messages sent, looked at and decided about, as tables on a terminal and as JSON elsewhere.

mod admin;
mod list;
mod send;
mod table;
mod watch;

use clap::{Args, Subcommand};
use rpc_client::RawJson;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Target;
use crate::exit::Failure;
use crate::output::Output;

/// Send text messages, follow their status, resend or cancel them
#[derive(Subcommand)]
pub(crate) enum Sms {
    Send(send::Send),
    Check(send::Check),
    List(list::List),
    Status(list::Status),
    Watch(watch::Watch),
    Resend(admin::Resend),
    Cancel(admin::Cancel),
    Reveal(admin::Reveal),
    Optout(admin::Optout),
    Gateways(admin::Gateways),
    Pause(admin::Pause),
}

impl Sms {
    pub(crate) async fn run(self, target: &Target) -> Result<(), Failure> {
        match self {
            Self::Send(send) => send.run(target).await,
            Self::Check(check) => check.run(target).await,
            Self::List(list) => list.run(target).await,
            Self::Status(status) => status.run(target).await,
            Self::Watch(watch) => watch.run(target).await,
            Self::Resend(resend) => resend.run(target).await,
            Self::Cancel(cancel) => cancel.run(target).await,
            Self::Reveal(reveal) => reveal.run(target).await,
            Self::Optout(optout) => optout.run(target).await,
            Self::Gateways(gateways) => gateways.run(target).await,
            Self::Pause(pause) => pause.run(target).await,
        }
    }
}

/// What is printed.
#[derive(Args, Clone, Copy)]
struct View {
    /// Print JSON even on a terminal
    #[arg(long)]
    json: bool,
    /// Print tables even into a pipe or a file
    #[arg(long = "text", conflicts_with = "json")]
    as_text: bool,
}

impl View {
    fn is_text(self) -> bool {
        self.as_text || !self.json && Output::is_terminal()
    }

    /// Prints one object: its fields in lines, or JSON.
    fn record(self, json: &str) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.is_text() {
            for line in table::record(json) {
                output.text(&line)?;
            }
        } else {
            output.json(json)?;
        }
        output.flush()
    }

    /// Prints objects of one kind: a table, or a line of JSON each.
    fn rows(self, columns: &[table::Column], rows: &[Box<RawValue>]) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.is_text() {
            for line in table::table(columns, rows) {
                output.text(&line)?;
            }
        } else {
            for row in rows {
                output.json(row.get())?;
            }
        }
        output.flush()
    }
}

/// Makes a call whose answer is one object, and prints that.
async fn call_and_show<P: Serialize>(
    target: &Target,
    cmdid: rpc_client::CmdId,
    params: &P,
    view: View,
) -> Result<(), Failure> {
    let data = target.client().command(cmdid).call_raw(params).await?;
    view.record(data.unwrap_or(RawJson::NULL).as_str())
}
