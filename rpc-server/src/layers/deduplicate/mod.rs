//! Recognises the repetition of a call by its key, and answers it without running the handler again.

mod key;
mod keys;
#[cfg(test)]
mod model;
mod run;
mod store;

use std::future::{Future, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::Either;
use rpc_core::{Layer, Outcome, Request, Service};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::instance::instance;
use keys::Keys;

pub use key::{IDEMPOTENCY_AGE_MS, IDEMPOTENCY_KEY, KEY_BYTES_MAX, KeyedCall};
pub use store::{KeptOutcome, KeyStore, Known};

/// Runs a call that has the metadata `idempotency-key` once, however often it is sent.
///
/// A repetition of a call that runs waits for that one's result; one of a call that has ended is answered by its
/// result. The same key with other params is code 6. A call runs on if its caller leaves. Outcomes that say that the
/// call did not run (codes 8 and 14, `rejected`) are not kept, so that it may be sent again; all others are, also 4 and
/// 13: what has run in part is not run again. The rule is in docs/protocol.md, "Repeated calls".
///
/// Keys belong to an identity and a command. They are kept in memory, as long as [`DeduplicateConfig`] says; clones share
/// them; a [`KeyStore`] of your own keeps them [beyond the life of the process](Deduplicate::durable). A repetition that says how old it is (`idempotency-age-ms`) is refused with code 9 where its key could have been
/// here and is lost: the server is younger, or has dropped keys of that age.
///
/// [`Router::serve`](crate::Router::serve) puts it around methods with `dedup`. For any other command:
///
/// ```
/// use rpc_core::{Descriptor, RetryCategory, Status};
/// use rpc_server::layers::Deduplicate;
/// use rpc_server::{Params, Route, Router};
///
/// async fn send(Params(text): Params<String>) -> Result<u64, Status> {
///     Ok(text.len() as u64)
/// }
///
/// let descriptor = Descriptor::new("sms", "send").retry(RetryCategory::Dedup);
/// let route = Route::new(send).layer(Deduplicate::default()).describe(descriptor);
/// let router = Router::new().route(2001, route).unwrap();
/// # let _ = router;
/// ```
#[derive(Clone, Default)]
pub struct Deduplicate(Arc<Shared>);

struct Shared {
    store: String,
    /// Keeps keys beyond the life of the process, where there is one.
    durable: Option<Box<dyn KeyStore>>,
    /// Held for a few operations on maps.
    keys: Mutex<Keys>,
    tasks: TaskTracker,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    ran: AtomicU64,
    attached: AtomicU64,
    replayed: AtomicU64,
    conflicts: AtomicU64,
    refused: AtomicU64,
}

/// How many keys are kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeduplicateConfig {
    /// Time that a result is kept after its call has ended, in milliseconds.
    pub age_max_ms: u64,
    /// Keys of one identity. At the limit the oldest result is dropped; where all of its calls run, further ones are
    /// refused with code 8.
    pub keys_per_identity: usize,
    /// Bytes of one identity's keys with their results, or with the params of calls that run. At the limit as for
    /// `keys_per_identity`.
    pub bytes_per_identity: usize,
    /// Keys of all identities together. At the limit the oldest result of the identity that holds the most is dropped.
    pub keys_max: usize,
    /// Bytes of all identities together. At the limit as for `keys_max`.
    pub bytes_max: usize,
}

impl Default for DeduplicateConfig {
    fn default() -> Self {
        Self {
            age_max_ms: 600_000,
            keys_per_identity: 10_000,
            bytes_per_identity: 8 << 20,
            keys_max: 100_000,
            bytes_max: 64 << 20,
        }
    }
}

/// What became of the calls with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeduplicateStats {
    /// Calls that ran.
    pub ran: u64,
    /// Repetitions that waited for a call that ran.
    pub attached: u64,
    /// Repetitions that were answered by the result of a call that had ended.
    pub replayed: u64,
    /// Calls whose key belonged to a call with other params.
    pub conflicts: u64,
    /// Calls that were not run, because their key may have been here or there was no room for it.
    pub refused: u64,
    /// Keys that are kept now.
    pub keys: usize,
    /// Bytes that they and their results have.
    pub bytes: usize,
}

impl Deduplicate {
    /// A store of keys in memory, with these limits.
    pub fn new(config: DeduplicateConfig) -> Self {
        Self(Arc::new(Shared::new(config, None)))
    }

    /// Keeps keys in this store, and in memory, within these limits, those of calls that run and what was asked for
    /// last. `describe` tells the name of the store, which is the same after a restart.
    pub fn durable(config: DeduplicateConfig, store: impl KeyStore) -> Self {
        Self(Arc::new(Shared::new(config, Some(Box::new(store)))))
    }

    /// The name of the store: a repetition is recognised where it is the same. That of keys in memory begins with the
    /// process's [`instance`].
    pub fn store(&self) -> &str {
        &self.0.store
    }

    /// What became of the calls with a key.
    pub fn stats(&self) -> DeduplicateStats {
        // Relaxed: each is a number by itself.
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts {
            ran,
            attached,
            replayed,
            conflicts,
            refused,
        } = &self.0.counts;
        let keys = self.0.keys();

        DeduplicateStats {
            ran: get(ran),
            attached: get(attached),
            replayed: get(replayed),
            conflicts: get(conflicts),
            refused: get(refused),
            keys: keys.len(),
            bytes: keys.bytes(),
        }
    }

    /// What runs on though its callers are gone.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new(DeduplicateConfig::default(), None)
    }
}

impl Shared {
    fn new(config: DeduplicateConfig, durable: Option<Box<dyn KeyStore>>) -> Self {
        // Two stores of one process are two: a command is in one of them.
        static STORES: AtomicU64 = AtomicU64::new(0);
        let store = match &durable {
            Some(store) => store.id().to_owned(),
            None => format!("{}-{}", instance(), STORES.fetch_add(1, Ordering::Relaxed)),
        };

        Self {
            store,
            durable,
            keys: Mutex::new(Keys::new(config, Instant::now())),
            tasks: TaskTracker::new(),
            counts: Counts::default(),
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // Each operation leaves it whole.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Service> Layer<S> for Deduplicate {
    type Service = Deduplicated<S>;

    fn layer(&self, inner: S) -> Deduplicated<S> {
        Deduplicated {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

/// A service within a [`Deduplicate`].
pub struct Deduplicated<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: Service> Service for Deduplicated<S> {
    fn call(&self, mut request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let keyed = match KeyedCall::of(&request) {
            Ok(Some(keyed)) => keyed,
            Ok(None) => return Either::Left(Either::Left(self.inner.call(request))),
            Err(status) => return Either::Left(Either::Right(ready(Err(status)))),
        };

        // It runs on for the callers that may still come.
        request.scope = request.scope.uncancelled();
        let call = self.inner.call(request);
        Either::Right(Arc::clone(&self.shared).answer(keyed, call))
    }
}

impl std::fmt::Debug for Deduplicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deduplicate")
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}
