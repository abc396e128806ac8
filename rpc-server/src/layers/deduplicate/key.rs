//! The key of a call, and the calls that have one.

use std::time::{Duration, SystemTime};

use rpc_core::{CmdId, Fingerprint, Request, Status};

/// The metadata by which a repetition is recognised.
pub const IDEMPOTENCY_KEY: &str = rpc_core::typed::IDEMPOTENCY_KEY;

/// The metadata in which a repetition says how many milliseconds ago its call was sent first.
pub const IDEMPOTENCY_AGE_MS: &str = rpc_core::typed::IDEMPOTENCY_AGE_MS;

/// Maximum length of a key in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// How much later than the first try a repetition may have been under way: a connection whose bytes are not acknowledged
/// for so long is given up.
pub(super) const UNDER_WAY_MAX: Duration = Duration::from_secs(10);

/// A call that has a key.
///
/// It is for a command that keeps its keys in a store of its own, which outlives the process for example. For all others
/// there is [`Deduplicate`](super::Deduplicate).
///
/// ```
/// use rpc_core::Meta;
/// use rpc_server::layers::KeyedCall;
/// use rpc_server::{RawJson, Request};
///
/// let mut request = Request::new(100, RawJson::NULL);
/// assert_eq!(KeyedCall::of(&request)?, None);
///
/// request.meta = Meta::default().with([("idempotency-key", "order-4711")]);
/// let call = KeyedCall::of(&request)?.expect("it has a key");
/// assert_eq!((call.key(), call.identity()), ("order-4711", ""));
/// # Ok::<(), rpc_server::Status>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedCall {
    /// The caller's identity; empty for anonymous callers.
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
    /// The identity that calls; empty where the caller has none.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The command.
    pub fn cmdid(&self) -> CmdId {
        self.id.cmdid
    }

    /// The key, 1 to [`KEY_BYTES_MAX`] bytes.
    pub fn key(&self) -> &str {
        &self.id.key
    }

    /// A hash of the params (FNV-1a of 128 bits over their bytes), the same in every version.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// How long ago the call was sent first, by its caller; `None` for the first time.
    pub fn age(&self) -> Option<Duration> {
        self.age
    }

    /// Whether the call may have come first before this instant, with 10 s for requests under way: where it is not known
    /// to a store that knows all keys since then, that says nothing. False for a call that is sent for the first time.
    pub fn may_be_older_than(&self, known_since: SystemTime) -> bool {
        let Some(age) = self.age else {
            return false;
        };
        let sent_first = SystemTime::now().checked_sub(age.saturating_add(UNDER_WAY_MAX));
        sent_first.is_none_or(|sent_first| sent_first < known_since)
    }

    /// What the request says; `None` where it has no key.
    ///
    /// # Errors
    /// Code 3 for a key of another length than 1 to [`KEY_BYTES_MAX`], and for an age that is not a number.
    pub fn of(request: &Request<'_>) -> Result<Option<Self>, Status> {
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
            // Who makes params collide has the key, and deceives itself.
            fingerprint: Fingerprint::of(request.params.as_bytes()).number(),
            params_bytes: request.params.as_bytes().len(),
            age: age.transpose()?,
        }))
    }

    /// Bytes that the key itself takes.
    pub(super) fn key_bytes(&self) -> usize {
        self.id.key.len() + std::mem::size_of::<KeyId>()
    }
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
}
