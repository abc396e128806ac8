//! Calls with a key: run, or answered by what is known of the key.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use rpc_core::{Outcome, Status};
use tokio::time::Instant;
use tracing::Instrument;

use super::Shared;
use super::key::KeyedCall;
use super::keys::{KeyLookup, Run, conflict, may_have_run};
use super::store::{KeptOutcome, KeyStore, Known};
use crate::peer_log::LogThrottle;

/// Each call with a key has a line where its store fails.
static FAILURES: LazyLock<LogThrottle> =
    LazyLock::new(|| LogThrottle::new("failures of the store of keys", tracing::Level::ERROR, 10));

/// What a call that was new in memory came to.
enum Answer {
    /// It ran.
    Ran(KeptOutcome),
    /// The durable store has answered in its place.
    Stored(KeptOutcome),
}

impl Shared {
    /// Runs the call, or answers it by what is known of its key.
    pub(super) async fn answer(
        self: Arc<Self>,
        mut keyed: KeyedCall,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) -> Outcome {
        let age = keyed.age;
        if self.durable.is_some() {
            // What is not known in memory may be known to the store.
            keyed.age = None;
        }
        let verdict = self.keys().begin(&keyed, Instant::now());
        keyed.age = age;

        let result = match verdict {
            KeyLookup::Run(Run { result, done }) => {
                let shared = Arc::clone(&self);
                let run = async move {
                    let kept = shared.run(keyed, call).await;
                    // Its callers may be gone.
                    let _ = done.send(kept);
                };
                self.tasks.spawn(run.in_current_span());
                result
            }
            KeyLookup::Attach(result) => {
                count(&self.counts.attached);
                result
            }
            KeyLookup::Replay(kept) => {
                count(&self.counts.replayed);
                return kept.into_outcome();
            }
            KeyLookup::Conflict(status) => {
                count(&self.counts.conflicts);
                return Err(status);
            }
            KeyLookup::Refuse(status) => {
                count(&self.counts.refused);
                return Err(status);
            }
        };

        match result.await {
            Ok(kept) => kept.into_outcome(),
            // The task was dropped with its runtime.
            Err(_) => Err(Status::unavailable("the server is shutting down")),
        }
    }

    /// Runs a call whose key is not known in memory, unless the durable store knows it.
    async fn run(
        &self,
        keyed: KeyedCall,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) -> KeptOutcome {
        let answer = match &self.durable {
            None => {
                count(&self.counts.ran);
                Answer::Ran(KeptOutcome::of(call.await))
            }
            Some(store) => self.run_noted(&**store, &keyed, call).await,
        };

        match answer {
            Answer::Ran(kept) => {
                self.keys().finish(&keyed, &kept, Instant::now());
                kept
            }
            Answer::Stored(kept) => {
                self.keys().forget(&keyed);
                kept
            }
        }
    }

    /// The same with a note of its beginning and of its outcome in the store.
    async fn run_noted(
        &self,
        store: &dyn KeyStore,
        keyed: &KeyedCall,
        call: impl Future<Output = Outcome> + Send + 'static,
    ) -> Answer {
        let refused = |status| {
            count(&self.counts.refused);
            Answer::Stored(KeptOutcome::Failed(status))
        };

        match store.begin(keyed).await {
            Ok(Known::New) => {}
            Ok(Known::Begun { fingerprint } | Known::Ended { fingerprint, .. })
                if fingerprint != keyed.fingerprint =>
            {
                count(&self.counts.conflicts);
                return Answer::Stored(KeptOutcome::Failed(conflict(keyed)));
            }
            Ok(Known::Ended { outcome, .. }) => {
                count(&self.counts.replayed);
                return Answer::Stored(outcome);
            }
            Ok(Known::Begun { .. }) => return refused(has_begun()),
            Ok(Known::Lost) => return refused(may_have_run()),
            Err(status) => {
                FAILURES.write(|| {
                    tracing::error!(store = store.id(), error = %status, "the store of keys cannot record a call, \
                        which therefore does not run");
                });
                return refused(status.with_rejected());
            }
        }

        count(&self.counts.ran);
        let kept = KeptOutcome::of(call.await);
        let noted = if kept.did_not_run() {
            store.forget(keyed).await
        } else {
            store.finish(keyed, &kept).await
        };

        if let Err(status) = noted {
            FAILURES.write(|| {
                tracing::error!(store = store.id(), error = %status, "the store of keys cannot record the result of a call");
            });
        }
        Answer::Ran(kept)
    }
}

/// Without `rejected`: it may have run in part.
fn has_begun() -> Status {
    Status::failed_precondition(
        "this call was sent before; it has begun and has no result: it runs at another server, or was running when its \
         server was stopped; check before you send it as a new call",
    )
}

fn count(count: &AtomicU64) {
    // Relaxed: a number by itself.
    count.fetch_add(1, Ordering::Relaxed);
}
