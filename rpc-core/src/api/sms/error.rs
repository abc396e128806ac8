//! The codes of the SMS service.

use super::Status as MessageStatus;
use crate::rpc_error;
use crate::status::Status;

/// The reason for which the SMS service refuses a call.
#[cfg_attr(feature = "schema", rpc_error(schema, crate = crate))]
#[cfg_attr(not(feature = "schema"), rpc_error(crate = crate))]
#[derive(Debug)]
#[non_exhaustive]
pub enum SmsError {
    /// `to` is not a phone number.
    #[rpc(code = 1100, message = "`to` is not a phone number: {reason}")]
    NumberInvalid {
        /// What is wrong with the number.
        reason: String,
    },
    /// The number has opted out of messages of this class.
    #[rpc(code = 1101)]
    NumberOptedOut,
    /// Messages to this country, or to this kind of number, are not allowed.
    #[rpc(
        code = 1102,
        message = "messages to this number are not allowed: {reason}"
    )]
    DestinationRefused {
        /// What is not allowed.
        reason: String,
    },
    /// The number has reached a limit of its message class.
    #[rpc(
        code = 1103,
        message = "too many messages to this number; the next one may be sent in {retry_after_ms} ms"
    )]
    NumberLimit {
        /// Time until the next message may be sent, in milliseconds.
        retry_after_ms: u64,
    },
    /// The calling code has reached a limit of the message class.
    #[rpc(
        code = 1104,
        message = "too many messages to this calling code; the next one may be sent in {retry_after_ms} ms"
    )]
    PrefixLimit {
        /// Time until the next message may be sent, in milliseconds.
        retry_after_ms: u64,
    },
    /// The text cannot be sent as it is.
    #[rpc(code = 1106, message = "the text cannot be sent: {reason}")]
    TextRefused {
        /// What is wrong with the text.
        reason: String,
    },
    /// No gateway of the destination knows the template.
    #[rpc(code = 1107, message = "no gateway knows the template `{template}`")]
    TemplateUnknown {
        /// Name of the template.
        template: String,
    },
    /// The message may have been submitted already. If it is sent again, it may arrive twice.
    #[rpc(
        code = 1108,
        message = "the message is {status}, and may arrive twice if it is sent again; set `may_double` to allow that"
    )]
    MayDouble {
        /// Status of the message.
        status: MessageStatus,
    },
    /// It is too late for the call, because the status of the message no longer allows it.
    #[rpc(
        code = 1109,
        message = "the message is already {status}, so it cannot be cancelled or sent again"
    )]
    TooLate {
        /// Status of the message.
        status: MessageStatus,
    },
    /// No gateway accepts messages to this destination.
    #[rpc(code = 1110, message = "no gateway accepts this message: {reason}")]
    NoGateway {
        /// The reason.
        reason: String,
    },
    /// Every other failure: a deadline, a lost connection, the codes 1 to 16.
    #[rpc(other)]
    Other(Status),
}
