//! What a call says of its key.

use std::time::Duration;

use rpc_core::{CmdId, Request, Status};

/// The metadata by which a repetition is recognised.
pub const IDEMPOTENCY_KEY: &str = rpc_core::typed::IDEMPOTENCY_KEY;

/// The metadata in which a repetition says how many milliseconds ago its call was sent first.
pub const IDEMPOTENCY_AGE_MS: &str = rpc_core::typed::IDEMPOTENCY_AGE_MS;

/// Maximum length of a key in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// A call that has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyedCall {
    /// Who calls; empty where nobody is known.
    pub(super) identity: String,
    pub(super) id: KeyId,
    pub(super) fingerprint: u128,
    pub(super) params_bytes: usize,
    /// How long ago the call was sent first; `None` for the first time.
    pub(super) age: Option<Duration>,
}

/// A key among those of one identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyId {
    pub(super) cmdid: CmdId,
    pub(super) key: String,
}

impl KeyedCall {
    /// What the request says; `None` where it has no key.
    ///
    /// # Errors
    /// Code 3 for a key or an age that is none.
    pub(super) fn of(request: &Request<'_>) -> Result<Option<Self>, Status> {
        if request.meta.is_empty() {
            return Ok(None);
        }
        let mut meta = request.meta.entries();
        let Some(key) = meta.remove(IDEMPOTENCY_KEY) else {
            return Ok(None);
        };

        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "`meta.{IDEMPOTENCY_KEY}` has {} bytes and must have 1 to {KEY_BYTES_MAX}",
                key.len()
            )));
        }

        let age = meta.remove(IDEMPOTENCY_AGE_MS).map(|age| {
            age.parse().map(Duration::from_millis).map_err(|_| {
                Status::invalid_argument(format!(
                    "`meta.{IDEMPOTENCY_AGE_MS}` must be a number of milliseconds, in digits"
                ))
            })
        });
        let peer = request.scope.peer();
        let identity = peer.and_then(|peer| peer.identity()).unwrap_or_default();

        Ok(Some(Self {
            identity: identity.to_owned(),
            id: KeyId {
                cmdid: request.cmdid,
                key,
            },
            fingerprint: fingerprint(request.params.as_bytes()),
            params_bytes: request.params.as_bytes().len(),
            age: age.transpose()?,
        }))
    }

    /// Bytes that the key itself takes.
    pub(super) fn key_bytes(&self) -> usize {
        self.id.key.len() + std::mem::size_of::<KeyId>()
    }
}

/// FNV-1a of 128 bits: tells params apart that are not made to collide. Who makes them collide has the key, and
/// deceives itself.
fn fingerprint(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    bytes.iter().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use rpc_core::{Meta, RawJson};

    use super::*;

    fn request(meta: &[(&str, &str)]) -> Result<Option<KeyedCall>, Status> {
        let mut request = Request::new(100, RawJson::parse("[1]").unwrap());
        request.meta = Meta::default().with(meta.iter().copied());
        KeyedCall::of(&request)
    }

    #[test]
    fn a_key_has_1_to_128_bytes_and_an_age_is_a_number() {
        assert!(request(&[]).unwrap().is_none());
        let longest = "k".repeat(KEY_BYTES_MAX);
        let keyed = request(&[(IDEMPOTENCY_KEY, &longest), (IDEMPOTENCY_AGE_MS, "7")]);
        assert_eq!(keyed.unwrap().unwrap().age, Some(Duration::from_millis(7)));

        let too_long = "k".repeat(KEY_BYTES_MAX + 1);
        let error = request(&[(IDEMPOTENCY_KEY, &too_long)]).unwrap_err();
        assert_eq!(
            error.message(),
            "`meta.idempotency-key` has 129 bytes and must have 1 to 128"
        );
        assert!(request(&[(IDEMPOTENCY_KEY, "k"), (IDEMPOTENCY_AGE_MS, "-1")]).is_err());
    }

    #[test]
    fn fingerprints_tell_params_apart() {
        // The published value of the empty text.
        assert_eq!(fingerprint(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_ne!(fingerprint(b"{\"a\":1}"), fingerprint(b"{\"a\":2}"));
    }
}
