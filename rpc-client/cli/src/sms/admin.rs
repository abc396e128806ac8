//! `rpc sms` for operators: messages sent again, taken back or revealed; opt-outs; gateways.

use clap::Args;
use rpc_client::sms::{
    MessageId, OptOut, OptOutAction, OptOutScope, Pause as PauseParams, Resend as ResendParams,
    SmsService,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::table::GATEWAYS;
use super::{View, call_and_show};
use crate::Target;
use crate::exit::Failure;

/// Send a message again if it failed, expired or was cancelled
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms resend 01KDVDNA0000000000000004HM --gateway other
  rpc sms resend 01KDVDNA0000000000000004HM --may-double   its status is unknown, so it may arrive twice")]
pub(crate) struct Resend {
    /// The message
    #[arg(value_name = "ID")]
    id: String,
    /// Accept that the message may arrive twice; required if its status is unknown or undelivered
    #[arg(long)]
    may_double: bool,
    /// The gateway to use, if not the previous one
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    #[command(flatten)]
    view: View,
}

impl Resend {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = ResendParams {
            id: self.id,
            may_double: self.may_double,
            gateway: self.gateway,
        };
        call_and_show(target, SmsService::RESEND, &params, self.view).await
    }
}

/// Cancel a message that was not given to a gateway yet
#[derive(Args)]
pub(crate) struct Cancel {
    /// The message
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    view: View,
}

impl Cancel {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = MessageId { id: self.id };
        call_and_show(target, SmsService::CANCEL, &params, self.view).await
    }
}

/// Show the number and text of a message
///
/// Your identity must be listed in `reveal` of `[sms.grants]`. Each use is written to the audit log.
#[derive(Args)]
pub(crate) struct Reveal {
    /// The message
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    view: View,
}

impl Reveal {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = MessageId { id: self.id };
        call_and_show(target, SmsService::REVEAL, &params, self.view).await
    }
}

/// Add, remove or show the opt-out of a number
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms optout get +8613800138000
  rpc sms optout add +8613800138000 --scope marketing
  rpc sms optout remove +8613800138000")]
pub(crate) struct Optout {
    /// add, remove or get
    action: OptOutAction,
    /// Phone number
    #[arg(value_name = "NUMBER")]
    to: String,
    /// Messages that the number opts out of: all or marketing [default: all]
    #[arg(long)]
    scope: Option<OptOutScope>,
    #[command(flatten)]
    view: View,
}

impl Optout {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = OptOut {
            to: self.to,
            action: self.action,
            scope: self.scope,
        };
        call_and_show(target, SmsService::OPTOUT, &params, self.view).await
    }
}

/// Show the gateways, and the messages that wait for them
#[derive(Args)]
pub(crate) struct Gateways {
    #[command(flatten)]
    view: View,
}

impl Gateways {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Answer {
            gateways: Vec<Box<RawValue>>,
        }

        let params = serde_json::json!({});
        let answer: Answer = target.client().call(SmsService::GATEWAYS, &params).await?;
        self.view.rows(&GATEWAYS, &answer.gateways)
    }
}

/// Pause a gateway; the pause lasts until `rpc sms pause NAME --off`, even if the daemon restarts
#[derive(Args)]
#[command(after_help = "\
Examples:
  rpc sms pause twilio
  rpc sms pause twilio --off")]
pub(crate) struct Pause {
    /// The gateway
    #[arg(value_name = "NAME")]
    gateway: String,
    /// End the pause
    #[arg(long)]
    off: bool,
}

impl Pause {
    pub(super) async fn run(self, target: &Target) -> Result<(), Failure> {
        let params = PauseParams {
            gateway: self.gateway,
            paused: !self.off,
        };
        target
            .client()
            .command(SmsService::PAUSE)
            .call_raw(&params)
            .await?;
        Ok(())
    }
}
