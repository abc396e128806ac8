//! The SMS service: text messages accepted to disk, sent by gateways, and followed to the phone.

mod error;
mod gateway;
mod message;
mod private;
mod service;

pub use error::SmsError;
pub use gateway::{
    Gateway, GatewayList, GatewayState, OptOut, OptOutAction, OptOutScope, OptOutState, Pause,
    Paused, Receipt, ReceiptMatch, ReceiptState,
};
pub use message::{
    Cancelled, Checked, Class, Encoding, Event, Events, Extent, List, Message, MessageId,
    MessageList, MessageQuery, Messages, OUTBOX_BYTES_MAX, Resend, Resent, Revealed, Send, Sent,
    Status, Watch,
};
pub use service::{Sms, SmsBlockingClient, SmsClient, SmsServer, SmsService};
