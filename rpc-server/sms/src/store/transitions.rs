//! The transitions of an outbox's messages.

use super::StoreError;
use super::types::{
    Accepted, AttemptEnd, ClaimRules, Claimed, GatewaySwitch, NewMessage, OptOut, OptOutScope,
    Receipt, Resend, Swept, Viewer,
};
use crate::message::MessageId;
use crate::number::Number;
use crate::states::State;

/// The transitions of an outbox, whatever engine holds it. Each is one step: it happens as a whole or not at all. Several
/// of them may share one commit. Times are in milliseconds since 1970.
///
/// All fail with [`Refused`](StoreError::Refused) where they are not allowed, and have then changed nothing.
pub trait Transitions: Send {
    /// Accepts a message, or finds the one that has its key.
    fn accept(&mut self, message: &NewMessage, now: u64) -> Result<Accepted, StoreError>;

    /// Refuses a message that would not be accepted now, whatever its key; changes nothing.
    fn check(&mut self, message: &NewMessage, now: u64) -> Result<(), StoreError>;

    /// Records the next attempts of a gateway, in the order of priority and acceptance, at most `limit`. Messages that
    /// expired, opted out, or have to wait for the end of quiet hours are not among them.
    fn claim(
        &mut self,
        gateway: &str,
        limit: usize,
        rules: &ClaimRules,
        now: u64,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Records how an attempt ended.
    fn finish(&mut self, end: &AttemptEnd, now: u64) -> Result<State, StoreError>;

    /// Takes a message back.
    fn cancel(&mut self, id: MessageId, viewer: &Viewer, now: u64) -> Result<State, StoreError>;

    /// Queues a message for a new attempt; answers the number of the attempt to come.
    fn resend(&mut self, resend: &Resend, viewer: &Viewer, now: u64) -> Result<u32, StoreError>;

    /// Records a receipt; `false` if it matches nothing yet, in which case it is kept for a while.
    fn receipt(&mut self, receipt: &Receipt, now: u64) -> Result<bool, StoreError>;

    /// Lets a number opt out, or takes that back.
    fn opt_out(
        &mut self,
        number: &Number,
        scope: Option<OptOutScope>,
        now: u64,
    ) -> Result<Option<OptOut>, StoreError>;

    /// Keeps whether a gateway is paused.
    fn switch(&mut self, gateway: &str, to: GatewaySwitch) -> Result<(), StoreError>;

    /// Does what is due: messages whose time has come, that expired, or are to be erased. At most `limit` messages.
    fn sweep(&mut self, now: u64, limit: usize) -> Result<Swept, StoreError>;
}
