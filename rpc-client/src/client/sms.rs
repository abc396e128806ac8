//! The SMS service, typed.
//!
//! ```no_run
//! use rpc_client::sms::{Send, SmsClient, SmsError};
//!
//! # async fn example() -> Result<(), SmsError> {
//! let sms = SmsClient::new(rpc_client::shared("127.0.0.1:8889"));
//! let sent = sms.send(&Send::new("+8613800138000", "your parcel is there")).await?;
//! println!("{} is on disk, as {} segments", sent.id, sent.segments);
//! # Ok(())
//! # }
//! ```

pub use rpc_core::api::sms::{
    Cancelled, Checked, Class, Encoding, Event, Events, Extent, Gateway, GatewayList, GatewayState,
    List, Message, MessageId, MessageList, MessageQuery, Messages, OptOut, OptOutAction,
    OptOutScope, OptOutState, Pause, Paused, Receipt, ReceiptMatch, ReceiptState, Resend, Resent,
    Revealed, Send, Sent, SmsBlockingClient, SmsClient, SmsError, SmsService, Status, Watch,
};
