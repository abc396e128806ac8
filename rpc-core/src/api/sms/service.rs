//! The commands of the SMS service, as a trait, from which `#[service]` generates clients, server and descriptions.

use futures::stream::Stream;

use super::{
    Cancelled, Checked, Events, GatewayList, List, MessageId, MessageList, MessageQuery, Messages,
    OptOut, OptOutState, Pause, Paused, Receipt, ReceiptMatch, Resend, Resent, Revealed, Send,
    Sent, SmsError, Watch,
};
use crate::scope::Context;
use crate::service;

/// The SMS service.
///
/// A message that has an id is on disk. It is submitted to a gateway at most once, unless a gateway has definitely
/// refused it. If the outcome is not known, its status is `unknown`, and a receipt, a rule or a person decides what
/// becomes of it.
#[cfg_attr(feature = "schema", service(schema, crate = crate))]
#[cfg_attr(not(feature = "schema"), service(crate = crate))]
pub trait Sms {
    /// Accepts a message, and replies with its id once it is on disk.
    #[rpc(cmdid = 1101, dedup(by_caller))]
    async fn send(&self, context: Context, send: &Send) -> Result<Sent, SmsError>;

    /// Reports the status of messages, by `id`, `ids` or `key`.
    #[rpc(cmdid = 1102, idempotent)]
    async fn status(&self, context: Context, query: &MessageQuery) -> Result<Messages, SmsError>;

    /// Cancels a message that no gateway has yet.
    #[rpc(cmdid = 1103)]
    async fn cancel(&self, context: Context, message: &MessageId) -> Result<Cancelled, SmsError>;

    /// Lists messages, the newest first, with filters and in pages.
    #[rpc(cmdid = 1104, idempotent)]
    async fn list(&self, context: Context, list: &List) -> Result<MessageList, SmsError>;

    /// Streams changes of messages as they occur. The stream can begin after any change, without loss.
    #[rpc(
        cmdid = 1105,
        idempotent,
        no_timeout,
        resumable(cursor = "outbox", param = "outbox", cursor = "next", param = "after")
    )]
    fn watch(
        &self,
        context: Context,
        watch: Watch,
    ) -> impl Stream<Item = Result<Events, SmsError>> + std::marker::Send;

    /// Sends a message again that has failed, has expired or was cancelled; with `may_double`, also a message that may
    /// have arrived.
    #[rpc(cmdid = 1106)]
    async fn resend(&self, context: Context, resend: &Resend) -> Result<Resent, SmsError>;

    /// Checks whether a message would be accepted, and how it would be sent. Stores nothing.
    #[rpc(cmdid = 1107, idempotent)]
    async fn check(&self, context: Context, send: &Send) -> Result<Checked, SmsError>;

    /// Shows the number and text of a message to identities that have the grant `reveal`.
    #[rpc(cmdid = 1108, idempotent)]
    async fn reveal(&self, context: Context, message: &MessageId) -> Result<Revealed, SmsError>;

    /// Accepts a receipt from a program that receives the provider's callbacks.
    #[rpc(cmdid = 1109, idempotent)]
    async fn receipt(&self, receipt: &Receipt) -> Result<ReceiptMatch, SmsError>;

    /// Adds, removes or shows the opt-out of a number.
    #[rpc(cmdid = 1110, idempotent)]
    async fn optout(&self, opt_out: &OptOut) -> Result<OptOutState, SmsError>;

    /// Lists the gateways and their current state.
    #[rpc(cmdid = 1111, idempotent)]
    async fn gateways(&self) -> Result<GatewayList, SmsError>;

    /// Pauses a gateway, or ends its pause.
    #[rpc(cmdid = 1112, idempotent)]
    async fn pause(&self, pause: &Pause) -> Result<Paused, SmsError>;
}
