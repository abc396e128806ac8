//! `rpc sms list`, `rpc sms status`.

use clap::Args;
use rpc_client::sms::{Class, List as Params, MessageQuery, SmsService, Status as MessageStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::View;
use super::table::MESSAGES;
use crate::Target;
use crate::exit::Failure;
use crate::log::moment;

/// Most messages that the server gives in one page.
const PAGE_MAX: u64 = 500;

/// List messages, the newest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms list --status failed
  rpc sms list --status unknown --all              messages that need a decision
  rpc sms list --to +8613800138000 --since 1h
  rpc sms list --all --tag campaign=spring | jq -r .status | sort | uniq -c")]
pub(crate) struct List {
    /// Only messages with this status: scheduled, queued, sending, sent, delivered, undelivered, unknown, failed,
    /// expired or cancelled; may be given several times
    #[arg(long)]
    status: Vec<MessageStatus>,
    /// Only messages to this number
    #[arg(long, value_name = "NUMBER")]
    to: Option<String>,
    /// Only messages of this gateway
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Only messages of this class: otp, transactional or marketing
    #[arg(long)]
    class: Option<Class>,
    /// Only messages with this tag
    #[arg(long, value_name = "NAME=VALUE")]
    tag: Option<String>,
    /// Only messages accepted since this time: a duration before now, for example 10m or 2h, or a date and time, for
    /// example 2026-01-05T10:20:30Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only messages accepted before this time, in the form of --since
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Maximum number of messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// All messages, without a limit
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    view: View,
}

/// A page of messages as the server sent them.
#[derive(Deserialize)]
struct Page {
    messages: Vec<Box<RawValue>>,
    next: Option<String>,
}

impl List {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let client = target.client();
        let mut left = if self.all { u64::MAX } else { self.limit };
        let mut params = Params {
            status: self.status,
            to: self.to,
            gateway: self.gateway,
            class: self.class,
            tag: self.tag,
            since: self.since,
            until: self.until,
            after: None,
            limit: None,
        };

        // A table has one width, so that it is printed at its end; lines go as they come.
        let mut rows = Vec::new();
        while left > 0 {
            params.limit = u32::try_from(left.min(PAGE_MAX)).ok();
            let page: Page = client.call(SmsService::LIST, &params).await?;
            left = left.saturating_sub(page.messages.len() as u64);

            rows.extend(page.messages);
            if !self.view.is_text() {
                self.view.rows(&MESSAGES, &rows)?;
                rows.clear();
            }
            match page.next {
                Some(next) => params.after = Some(next),
                None => break,
            }
        }

        if self.view.is_text() {
            self.view.rows(&MESSAGES, &rows)?;
        }
        Ok(())
    }
}

/// Show the status of messages
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms status 01KDVDNA0000000000000004HM
  rpc sms status --idempotency-key login-4211")]
pub(crate) struct Status {
    /// The ids of the messages
    #[arg(value_name = "ID", required_unless_present = "idempotency_key")]
    ids: Vec<String>,
    /// The message that was sent with this key
    #[arg(long, value_name = "KEY", conflicts_with = "ids")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    view: View,
}

impl Status {
    pub(super) async fn run(mut self, target: &Target) -> Result<(), Failure> {
        // One id alone is answered with an error if there is no such message.
        let one = (self.ids.len() == 1).then(|| self.ids.remove(0));
        let several = (!self.ids.is_empty()).then_some(self.ids);
        let params = MessageQuery {
            id: one,
            ids: several,
            key: self.idempotency_key,
        };

        let page: Page = target.client().call(SmsService::STATUS, &params).await?;
        match page.messages.as_slice() {
            [message] => self.view.record(message.get()),
            messages => self.view.rows(&MESSAGES, messages),
        }
    }
}
