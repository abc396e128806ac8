//! The commands of the SMS service, as a trait: clients, server and description are made from it.

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
/// An id means that the message is on disk. It is submitted at most once unless a gateway definitely refused it; where the
/// outcome is not known, its status says `unknown`, and a receipt, a rule or a person decides.
#[cfg_attr(feature = "schema", service(schema, crate = crate))]
#[cfg_attr(not(feature = "schema"), service(crate = crate))]
pub trait Sms {
    /// Accepts a message; answers its id once it is on disk.
    #[rpc(cmdid = 1101, dedup(by_caller))]
    async fn send(&self, context: Context, send: &Send) -> Result<Sent, SmsError>;

    /// The status of messages, by `id`, `ids` or `key`.
    #[rpc(cmdid = 1102, idempotent)]
    async fn status(&self, context: Context, query: &MessageQuery) -> Result<Messages, SmsError>;

    /// Takes a message back that no gateway has yet.
    #[rpc(cmdid = 1103)]
    async fn cancel(&self, context: Context, message: &MessageId) -> Result<Cancelled, SmsError>;

    /// Messages, the newest first, filtered and page by page.
    #[rpc(cmdid = 1104, idempotent)]
    async fn list(&self, context: Context, list: &List) -> Result<MessageList, SmsError>;

    /// Changes of messages as they come, without loss from any number on.
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

    /// Sends a message again that failed, expired or was cancelled; with `may_double` one that may have arrived.
    #[rpc(cmdid = 1106)]
    async fn resend(&self, context: Context, resend: &Resend) -> Result<Resent, SmsError>;

    /// Tells what would become of a message; stores nothing.
    #[rpc(cmdid = 1107, idempotent)]
    async fn check(&self, context: Context, send: &Send) -> Result<Checked, SmsError>;

    /// The number and text of a message, for identities that are granted it by name.
    #[rpc(cmdid = 1108, idempotent)]
    async fn reveal(&self, context: Context, message: &MessageId) -> Result<Revealed, SmsError>;

    /// Takes a receipt from the program that has the provider's callbacks.
    #[rpc(cmdid = 1109, idempotent)]
    async fn receipt(&self, receipt: &Receipt) -> Result<ReceiptMatch, SmsError>;

    /// Lets a number opt out, takes that back, or looks it up.
    #[rpc(cmdid = 1110, idempotent)]
    async fn optout(&self, opt_out: &OptOut) -> Result<OptOutState, SmsError>;

    /// The gateways as they are now.
    #[rpc(cmdid = 1111, idempotent)]
    async fn gateways(&self) -> Result<GatewayList, SmsError>;

    /// Pauses a gateway, or lets it go on.
    #[rpc(cmdid = 1112, idempotent)]
    async fn pause(&self, pause: &Pause) -> Result<Paused, SmsError>;
}
