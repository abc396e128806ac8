//! Names of numbers that tell nothing of them.

use ring::hmac;

use crate::number::Number;

/// Bytes of a name: half of the HMAC, which is enough for 2^64 numbers.
const NAME_BYTES: usize = 16;

/// Names numbers by an HMAC with a key that only this outbox has.
#[derive(Clone)]
pub(super) struct Numbers(pub(super) hmac::Key);

impl Numbers {
    pub(super) fn name(&self, number: &Number) -> [u8; NAME_BYTES] {
        let tag = hmac::sign(&self.0, number.e164().as_bytes());
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&tag.as_ref()[..NAME_BYTES]);
        name
    }
}
