//! `rpc sms send`, `rpc sms check`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use rpc_client::RawJson;
use rpc_client::sms::{Class, Send as Params, SmsService};

use super::{View, call_and_show};
use crate::Target;
use crate::call::{key_value, refuse_repetition};
use crate::exit::Failure;
use crate::{duration, milliseconds};

/// Send a message and print its id once it is on disk
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms send +8613800138000 'your parcel is there'
  rpc sms send +8613800138000 'your code is 4711' --class otp --idempotency-key login-4211
  rpc sms send +8613800138000 --template login_code --var code=4711
  rpc sms send +8613800138000 'good morning' --in 8h --expires-in 10h --tag campaign=spring")]
pub(crate) struct Send {
    #[command(flatten)]
    message: Message,
    /// Key that makes a repetition safe: another `send` with the same key sends nothing, and prints the id of the first
    /// message
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    view: View,
}

/// Show what would happen to a message, without sending it
#[derive(Args)]
#[command(after_help = "\
Example:
  rpc sms check +8613800138000 'how many segments is this?'")]
pub(crate) struct Check {
    #[command(flatten)]
    message: Message,
    #[command(flatten)]
    view: View,
}

/// A message as it is given on the command line.
#[derive(Args)]
struct Message {
    /// Phone number, for example +8613800138000
    #[arg(value_name = "NUMBER")]
    to: String,
    /// The text of the message
    #[arg(required_unless_present = "template", conflicts_with = "template")]
    text: Option<String>,
    /// The template that the provider fills in, instead of a text
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// A variable of the template; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = key_value, requires = "template")]
    vars: Vec<(String, String)>,
    /// Class of the message: otp, transactional or marketing
    #[arg(long)]
    class: Option<Class>,
    /// The sender that the recipient sees
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// The gateway to use instead of those of the route
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Priority from 0 to 9; messages with a higher one are sent first
    #[arg(long, value_name = "N")]
    priority: Option<u8>,
    /// Send the message only after this time, for example 30m or 8h
    #[arg(long = "in", value_name = "TIME", value_parser = duration)]
    later: Option<Duration>,
    /// Do not send the message after this time, for example 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires_in: Option<Duration>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = key_value)]
    tags: Vec<(String, String)>,
}

impl Message {
    fn params(self) -> Result<Params, Failure> {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let then = |time: Duration| milliseconds(since_1970.saturating_add(time));

        Ok(Params {
            to: self.to,
            text: self.text,
            template: self.template,
            vars: unique("--var", self.vars)?,
            sender: self.sender,
            class: self.class,
            gateway: self.gateway,
            priority: self.priority,
            not_before: self.later.map(then),
            expires_at: self.expires_in.map(then),
            tags: unique("--tag", self.tags)?,
        })
    }
}

fn unique(option: &str, pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    refuse_repetition(option, pairs.iter().map(|(name, _)| name.as_str()))?;
    Ok(pairs.into_iter().collect())
}

impl Send {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = self.message.params()?;
        let client = target.client();
        let mut command = client.command(SmsService::SEND);
        if let Some(key) = self.idempotency_key {
            command = command.idempotency_key(key);
        }

        let data = command.call_raw(&params).await?;
        self.view.record(data.unwrap_or(RawJson::NULL).as_str())
    }
}

impl Check {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = self.message.params()?;
        call_and_show(target, SmsService::CHECK, &params, self.view).await
    }
}
