//! The codes of the SMS service.

use super::Status as MessageStatus;
use crate::rpc_error;
use crate::status::Status;

/// The reason that the SMS service does not do what it is asked for.
#[cfg_attr(feature = "schema", rpc_error(schema, crate = crate))]
#[cfg_attr(not(feature = "schema"), rpc_error(crate = crate))]
#[derive(Debug)]
#[non_exhaustive]
pub enum SmsError {
    /// `to` is not a phone number.
    #[rpc(code = 1100, message = "`to` is not a phone number: {reason}")]
    NumberInvalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The number has opted out of such messages.
    #[rpc(code = 1101)]
    NumberOptedOut,
    /// Messages to this country, or to this kind of number, are not sent.
    #[rpc(
        code = 1102,
        message = "messages to this number are not allowed: {reason}"
    )]
    DestinationRefused {
        /// What is not allowed.
        reason: String,
    },
    /// The number has had as many messages of the class as it may.
    #[rpc(
        code = 1103,
        message = "too many messages to this number; the next one may be sent in {retry_after_ms} ms"
    )]
    NumberLimit {
        /// When the next one may be sent, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The calling code has had as many messages of the class as it may.
    #[rpc(
        code = 1104,
        message = "too many messages to this calling code; the next one may be sent in {retry_after_ms} ms"
    )]
    PrefixLimit {
        /// When the next one may be sent, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The text cannot be sent as it is.
    #[rpc(code = 1106, message = "the text cannot be sent: {reason}")]
    TextRefused {
        /// What is wrong with it.
        reason: String,
    },
    /// No gateway of the destination knows the template.
    #[rpc(code = 1107, message = "no gateway knows the template `{template}`")]
    TemplateUnknown {
        /// Its name.
        template: String,
    },
    /// The message may have been submitted, and sending it again may deliver it twice.
    #[rpc(
        code = 1108,
        message = "the message is {status}, and may arrive twice if it is sent again; set `may_double` to allow that"
    )]
    MayDouble {
        /// Its status.
        status: MessageStatus,
    },
    /// The message is past the point at which this could be done.
    #[rpc(code = 1109, message = "it is too late: the message is {status}")]
    TooLate {
        /// Its status.
        status: MessageStatus,
    },
    /// No gateway takes messages to this destination.
    #[rpc(code = 1110, message = "no gateway accepts this message: {reason}")]
    NoGateway {
        /// Why.
        reason: String,
    },
    /// All else: a deadline, a lost connection, the codes 1 to 16.
    #[rpc(other)]
    Other(Status),
}
